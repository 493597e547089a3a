"""Behaviour of one-frame parts on exact data: initial pose, solver, landmark table, contours and clothing."""

from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_joints, posed_vertices, vertex_normals
from fmgs_core.body.subdivision import subdivided
from fmgs_core.tracking import BodyTracker, TrackerConfig
from fmgs_core.tracking.contours import contour_points, paired, resampled
from fmgs_core.tracking.inflation import FAST_FRAMES, InflationField
from fmgs_core.tracking.landmarks import landmark_table
from fmgs_core.tracking.silhouette import Silhouette, mask_outline

from .synthetic import BODY, CAMERA, NUM_BETAS, SKELETON, TABLES, camera_pose, frame_at, keypoints_of, maps_of, state_of

IDENTITY = replace(CAMERA, T_camera_world=np.eye(4))


def mask_of(vertices_camera: np.ndarray) -> np.ndarray:
    return (draw_mesh(vertices_camera, BODY.faces, IDENTITY).face >= 0).astype(np.float32)


def joint_error_mm(tracked, truth) -> float:
    """Root-aligned mean over the 22 joints."""
    a, b = posed_joints(BODY, tracked)[:22], posed_joints(BODY, truth)[:22]
    return float(1e3 * np.linalg.norm((a - a[0]) - (b - b[0]), axis=1).mean())


@pytest.mark.parametrize("yaw", [0.0, 1.2, 2.2, np.pi, -1.6])
def test_known_pose_is_recovered_from_exact_landmarks(yaw):
    """MPJPE 25 mm: what the pose prior and the unseen twists leave; the analytic pose alone reaches 40 to 60."""
    truth = state_of(yaw, arms=0.5, transl=(0.2, 0.0, -0.3))
    tracker = BodyTracker(BODY, TrackerConfig(subject_height_m=BODY.height(truth.betas)))
    for index in range(4):
        tracked = tracker.update(frame_at(index), maps_of(keypoints_of(truth, CAMERA)))
    assert tracked.state is not None and tracked.confidence > 0.9
    assert joint_error_mm(tracked.state, truth) < 25
    # The root joint itself, in the world: sideways within 1 cm, in depth within 2 % of 3.9 m.
    offset = CAMERA.T_camera_world[:3, :3] @ (posed_joints(BODY, tracked.state)[0] - posed_joints(BODY, truth)[0])
    assert np.abs(offset[:2]).max() < 0.01 and abs(offset[2]) < 0.08


def test_surface_is_the_body_models():
    """Parity: the tracker's own skinning with folded hands against the body's, hands straight."""
    state = state_of(0.7, arms=0.4, betas=(0.5, -1.0, 0.3))
    world = posed_vertices(BODY, state)
    ours = Silhouette(BODY, SKELETON, NUM_BETAS).vertices(camera_pose(state, CAMERA))
    expected = world @ CAMERA.T_camera_world[:3, :3].T + CAMERA.T_camera_world[:3, 3]
    # The body works in float32 at 4 m, and at most four of its folded weights are kept here.
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_landmark_table_mirrors():
    """Right is left with x mirrored: in the mirrored body every landmark is its own partner."""
    for table in TABLES.values():
        assert sorted(table.mirrored) == list(range(len(table.names)))
        np.testing.assert_allclose(table.points.rest[table.mirrored], table.points.rest * (-1, 1, 1), atol=0.01)
        np.testing.assert_array_equal(table.weights[table.mirrored], table.weights)


def test_body_with_another_vertex_order_is_refused():
    order = np.random.default_rng(0).permutation(BODY.num_vertices)
    back = np.argsort(order)
    shuffled = replace(
        BODY,
        v_template=BODY.v_template[order],
        shapedirs=BODY.shapedirs[order],
        exprdirs=BODY.exprdirs[order],
        skin_weights=BODY.skin_weights[order],
        J_regressor=BODY.J_regressor[:, order],
        faces=back[BODY.faces],
    )
    with pytest.raises(ValueError, match="expected the default body or SMPL-X"):
        landmark_table(shuffled, NUM_BETAS)
    assert len(landmark_table(subdivided(BODY, 30_000).body, NUM_BETAS).detected) == 25


def test_contour_of_a_disc_has_subpixel_places_and_outward_normals():
    y, x = np.mgrid[0:80, 0:90] + 0.5
    radius = np.hypot(x - 41.3, y - 37.8)
    points, normals, inner = contour_points((20.5 - radius + 0.5).clip(0, 1).astype(np.float32), 2)
    out = (points - (41.3, 37.8)) / np.linalg.norm(points - (41.3, 37.8), axis=1, keepdims=True)
    # Linear interpolation of an antialiased edge is good to a tenth of a pixel, moments of a 7 x 7 window to 12 degrees.
    np.testing.assert_allclose(np.linalg.norm(points - (41.3, 37.8), axis=1), 20.5, atol=0.15)
    assert (normals * out).sum(1).min() > np.cos(np.radians(13))
    assert (radius[tuple(inner.T)] < 20.5).all()


def test_contour_leaves_the_border_out():
    image = np.zeros((30, 30), np.float32)
    image[:, 10:20] = 1
    points, _, _ = contour_points(image, 2)
    assert len(points) and points[:, 1].min() > 2 and points[:, 1].max() < 28


def test_pairing_wants_near_points_with_agreeing_normals():
    targets, normals = np.array([[1.0, 0], [3.0, 0], [9.0, 0]]), np.array([[-1.0, 0], [1.0, 0], [1.0, 0]])
    pairs = paired(np.array([[0.0, 0], [50.0, 0]]), np.array([[1.0, 0], [1.0, 0]]), targets, normals, 5.0, 0.6)
    assert pairs.tolist() == [1, -1]


def test_resampling_keeps_means_and_places():
    image = np.zeros((60, 80), np.float32)
    image[20:40, 30:50] = 1
    small = resampled(image, 40, 30)
    assert small.sum() * 4 == pytest.approx(image.sum(), rel=1e-6)
    rows, columns = np.nonzero(small > 0.5)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 15, 24)


def test_own_mask_has_no_gap_and_clothes_are_learned():
    """A body in 2 cm of cloth: the field must find most of it where contours pass, and the fit of the bare body none."""
    silhouette = Silhouette(BODY, SKELETON, NUM_BETAS)
    normals = vertex_normals(BODY.v_template, BODY.faces)
    pose = camera_pose(state_of(0.3), CAMERA)
    height_px = 600 * 1.84 / 3.9
    bare = mask_outline(mask_of(silhouette.vertices(pose)), CAMERA, height_px)
    assert bare is not None
    fit = silhouette.compare(pose, bare, height_px)
    assert fit.iou > 0.97 and len(fit.vertices) > 100
    dressed_body = replace(BODY, v_template=BODY.v_template + 0.02 * normals)
    dressed = mask_outline(mask_of(Silhouette(dressed_body, SKELETON, NUM_BETAS).vertices(pose)), CAMERA, height_px)
    assert dressed is not None
    before = silhouette.compare(pose, dressed, height_px).iou
    for _ in range(20):
        silhouette.dress(silhouette.compare(pose, dressed, height_px), pose, dressed)
    field = silhouette.inflation.per_vertex()
    touched = np.unique(silhouette.compare(pose, dressed, height_px).vertices)
    hands = BODY.skin_weights[touched][:, 20:22].sum(1) + BODY.skin_weights[touched][:, 25:].sum(1) > 0.2
    assert 0.014 < np.median(field[touched[~hands]]) < 0.026
    assert silhouette.compare(pose, dressed, height_px).iou > before + 0.03


def test_inflation_is_bounded_and_slows_down():
    field = InflationField(BODY.v_template.astype(float))
    vertices, valid = np.arange(BODY.num_vertices), np.ones(BODY.num_vertices, dtype=bool)
    for _ in range(FAST_FRAMES):
        field.observe(vertices, np.full(len(vertices), 1.0), valid)
    assert field.per_vertex().max() <= 0.06 + 1e-12
    before = field.per_vertex().mean()
    field.observe(vertices, np.full(len(vertices), -1.0), valid)
    assert before - field.per_vertex().mean() == pytest.approx(0.05 * 0.03, rel=1e-6)


def test_mask_of_another_size_is_refused():
    tracker = BodyTracker(BODY)
    with pytest.raises(ValueError, match="mask: expected the picture's shape"):
        tracker.update(frame_at(0), maps_of(keypoints_of(state_of(0), CAMERA), np.zeros((10, 10), np.float32)))
