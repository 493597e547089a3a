"""Keyframes and their memory. Kinds: property, closed form, behaviour on synthetic descriptors."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_joints
from fmgs_core.geometry import look_at
from fmgs_core.training.cuts import CROP_MARGIN, person_box
from fmgs_core.training.keyframes import (
    Keyframe,
    KeyframeMemory,
    ShapeChange,
    face_neighbors,
    make_keyframe,
    pose_descriptor,
    root_joint,
)
from fmgs_core.training.targets import MASK_TRUST_AT_EDGE, KnownPixels, make_backdrop
from fmgs_core.types import BodyState, Camera, Frame, PriorMaps

from .scene import camera, observation, state

NO_JOINTS = np.full((1, 2), np.nan)


def mask_of(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = (200, 300)) -> np.ndarray:
    mask = np.zeros(size, np.float32)
    mask[y0:y1, x0:x1] = 1
    return mask


# -- the box


def test_box_of_a_mask_has_its_margin():
    pad = CROP_MARGIN * 80 + 4
    expected = (np.floor(100 - pad), np.floor(60 - pad), np.ceil(140 + pad), np.ceil(140 + pad))
    assert person_box(mask_of(100, 60, 140, 140), NO_JOINTS) == expected


def test_box_covers_joints_beyond_the_mask():
    """An arm that the mask has lost stays in the picture."""
    x0, _, x1, _ = person_box(mask_of(100, 60, 140, 140), np.array([[60.0, 100.0], [200.0, 100.0]]))
    assert x0 < 56 and x1 > 204


@given(
    st.tuples(st.integers(0, 299), st.integers(0, 199), st.integers(1, 300), st.integers(1, 200)),
    st.lists(st.tuples(st.floats(-2000, 2000) | st.just(float("nan")), st.floats(-2000, 2000)), max_size=3),
)
def test_box_lies_inside_the_picture_and_holds_at_least_a_pixel(corners: tuple, joints: list):
    mask = mask_of(*corners)
    box = x0, y0, x1, y1 = person_box(mask, np.array(joints, float).reshape(-1, 2))
    assert 0 <= x0 < x1 <= 300 and 0 <= y0 < y1 <= 200 and all(type(v) is int for v in box)
    rows, columns = np.nonzero(mask)
    if len(rows):
        assert x0 <= columns.min() and columns.max() < x1 and y0 <= rows.min() and rows.max() < y1


def test_box_without_any_evidence_is_the_picture():
    assert person_box(np.zeros((200, 300), np.float32), NO_JOINTS) == (0, 0, 300, 200)


# -- cutting out


def keyframe_of(of: BodyState, by: Camera, crop_max_px: int = 448) -> Keyframe:
    frame, maps = observation(0, of, by)
    return make_keyframe(frame, maps, of, posed_joints(default_body(), of), crop_max_px)


@pytest.mark.parametrize("crop_max_px", [448, 40])
def test_crop_camera_sees_what_the_full_camera_sees(crop_max_px: int):
    """A world point lands at the same place of the same picture, whichever camera projects it."""
    full, keyframe = camera(), keyframe_of(state(), camera(), crop_max_px)
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (50, 3))
    x0, y0, x1, y1 = keyframe.cut.box
    scale = np.array([keyframe.camera.width / (x1 - x0), keyframe.camera.height / (y1 - y0)])
    np.testing.assert_allclose(keyframe.camera.project(points), (full.project(points) - [x0, y0]) * scale, atol=1e-9)
    assert max(keyframe.camera.width, keyframe.camera.height) <= crop_max_px
    assert keyframe.rgb.shape[:2] == keyframe.mask.shape == (keyframe.camera.height, keyframe.camera.width)


def test_a_crop_that_is_small_enough_is_not_resampled():
    frame, maps = observation(0, state(), camera())
    keyframe = keyframe_of(state(), camera())
    x0, y0, x1, y1 = keyframe.cut.box
    np.testing.assert_array_equal(keyframe.rgb, frame.rgb[y0:y1, x0:x1])
    assert maps.mask is not None and maps.labels is not None
    np.testing.assert_array_equal(keyframe.mask, maps.mask[y0:y1, x0:x1])
    np.testing.assert_array_equal(dense(keyframe, keyframe.maps.labels), maps.labels[y0:y1, x0:x1])


def dense(keyframe: Keyframe, known: KnownPixels | None, elsewhere: float = 255) -> np.ndarray:
    """A list of known pixels as a picture."""
    assert known is not None
    picture = np.full((keyframe.mask.numel(), *known.values.shape[1:]), elsewhere, known.values.numpy().dtype)
    picture[known.pixels] = known.values
    return picture.reshape(*keyframe.mask.shape, *known.values.shape[1:])


def test_maps_are_kept_where_the_person_is_and_the_prior_knows():
    """Unknown: NaN depth, a normal that is none, a label outside the classes; and whatever lies beside the person."""
    size = 64
    mask = np.zeros((size, size), np.float32)
    mask[10:50, 20:40] = 1
    normal = np.full((size, size, 3), np.array([0, 0, -1], np.float32))
    depth, labels = np.arange(size * size, dtype=np.float32).reshape(size, size), np.full((size, size), 27, np.uint8)
    normal[12, 22], depth[13, 23], labels[14, 24], labels[15, 25] = 0, np.nan, 255, 28
    frame = Frame(0, np.zeros((size, size, 3), np.uint8), camera().resized(size, size))
    maps = PriorMaps(mask=mask, normal=normal, depth=depth, labels=labels, label_set="sapiens28")
    keyframe = make_keyframe(frame, maps, state(), np.zeros((55, 3), np.float32), 448)
    x0, y0, x1, y1 = keyframe.cut.box
    for known, missing in (
        (keyframe.maps.normal, {(12, 22)}),
        (keyframe.maps.depth, {(13, 23)}),
        (keyframe.maps.labels, {(14, 24), (15, 25)}),
    ):
        assert known is not None
        rows, columns = np.divmod(known.pixels.numpy(), x1 - x0)
        expected = {(y, x) for y, x in zip(*np.nonzero(mask > 0.5), strict=True)} - missing
        assert set(zip(rows + y0, columns + x0, strict=True)) == expected
    assert keyframe.maps.depth is not None
    np.testing.assert_array_equal(keyframe.maps.depth.values, depth[y0:y1, x0:x1].ravel()[keyframe.maps.depth.pixels])


def test_a_map_that_knows_nothing_is_absent():
    frame, maps = observation(0, state(), camera())
    unknown = replace(maps, labels=np.full((96, 96), 255, np.uint8), depth=np.full((96, 96), np.nan, np.float32))
    keyframe = make_keyframe(frame, unknown, state(), np.zeros((55, 3), np.float32), 448)
    assert keyframe.maps.labels is None and keyframe.maps.depth is None and keyframe.maps.normal is not None


@pytest.mark.parametrize("crop_max_px", [100, 50, 40])
def test_shrunk_maps_are_sampled_at_pixel_centres(crop_max_px: int):
    """A depth that is linear in x: the crop's pixel centre, taken back to the frame, must hold its own depth to half a
    pixel of the frame, and with no bias over the row."""
    size = 200
    K = np.array([[200.0, 0, 100], [0, 200, 100], [0, 0, 1]])
    by = Camera(K, size, size, camera().T_camera_world)
    x = np.broadcast_to(np.arange(size, dtype=np.float32) + 0.5, (size, size))
    maps = PriorMaps(mask=np.ones((size, size), np.float32), depth=x.copy(), normal=np.stack([x / size] * 3, -1))
    frame = Frame(0, np.zeros((size, size, 3), np.uint8), by)
    keyframe = make_keyframe(frame, maps, state(), np.zeros((55, 3), np.float32), crop_max_px)
    width = keyframe.camera.width
    centres = (np.arange(width) + 0.5) * size / width
    depth, normal = dense(keyframe, keyframe.maps.depth, np.nan)[0], dense(keyframe, keyframe.maps.normal, np.nan)[0, :, 0]
    faint = np.isnan(normal)  # shorter than half a normal: unknown
    for values, expected in ((depth, centres), (normal[~faint].astype(np.float32) * size, centres[~faint])):
        assert np.abs(values - expected).max() <= 0.5 + 0.1  # half precision of 200 is 0.1
        assert abs((values - expected).mean()) <= 0.5 + 1e-2


def test_storage_is_bytes_and_half_floats():
    """A memory of 120 keyframes of 448 px should stay within a few hundred megabytes."""
    keyframe = keyframe_of(state(), camera())
    normal, depth, labels = keyframe.maps.normal, keyframe.maps.depth, keyframe.maps.labels
    assert normal is not None and depth is not None and labels is not None
    kinds = (keyframe.rgb.dtype, labels.values.dtype, normal.values.dtype, depth.values.dtype, keyframe.mask.dtype)
    assert kinds == (torch.uint8, torch.uint8, torch.float16, torch.float32, torch.float32)
    whole = keyframe.rgb.nbytes + keyframe.mask.nbytes
    listed = sum(known.pixels.nbytes + known.values.nbytes for known in (normal, depth, labels))
    person = int((keyframe.mask > 0.5).sum())
    assert whole == (3 + 4) * keyframe.mask.numel() and listed <= (6 + 4 + 1 + 3 * 4) * person


def test_depth_of_a_large_unit_stays_finite():
    """Relative depth has no unit: in millimetres, half precision would make everything beyond 65 m infinite."""
    frame, maps = observation(0, state(), camera())
    assert maps.depth is not None
    far = replace(maps, depth=maps.depth.astype(np.float64) * 1e5)
    depth = make_keyframe(frame, far, state(), posed_joints(default_body(), state()), 448).maps.depth
    assert depth is not None and depth.values.max() > 2e5 and torch.isfinite(depth.values).all()


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.1, np.inf])
def test_a_mask_that_is_no_probability_is_refused(value: float):
    frame, maps = observation(0, state(), camera())
    assert maps.mask is not None
    mask = maps.mask.copy()
    mask[40, 40] = value
    with pytest.raises(ValueError, match=r"PriorMaps\.mask: expected values in \[0, 1\], got"):
        make_keyframe(frame, replace(maps, mask=mask), state(), np.zeros((55, 3), np.float32), 448)


def test_no_mask_is_refused():
    frame, _ = observation(0, state(), camera())
    with pytest.raises(ValueError, match="keyframe: expected prior maps with a person mask, got none"):
        make_keyframe(frame, PriorMaps(), state(), np.zeros((55, 3), np.float32), 448)


def test_the_pose_is_a_copy_of_the_state():
    tracked = state()
    keyframe = keyframe_of(tracked, camera())
    keyframe.pose.add_(1)
    keyframe.transl.add_(1)
    assert (tracked.pose == state().pose).all() and (tracked.transl == 0).all()


def test_descriptor_tells_views_apart_and_not_places():
    """It is the same from wherever the person stands, and when person and camera turn together."""
    body = default_body()
    here = pose_descriptor(posed_joints(body, state(0.0)), camera())
    there = pose_descriptor(posed_joints(body, replace(state(0.0), transl=np.array([1.0, 0, -2]))), camera())
    together = pose_descriptor(posed_joints(body, state(0.5)), camera(0.5))
    turned = pose_descriptor(posed_joints(body, state(0.5)), camera())
    np.testing.assert_allclose(there, here, atol=1e-6)
    np.testing.assert_allclose(together, here, atol=1e-6)
    assert np.abs(turned - here).max() > 0.1


def test_the_background_decides_along_the_masks_edge_only_where_it_is_known():
    mask = mask_of(20, 20, 60, 60, (80, 80))
    known = np.ones((80, 80), bool)
    known[:, 40:] = False
    room = np.zeros((80, 80, 3), np.uint8)
    trust = make_backdrop(3, room, known, torch.from_numpy(mask), torch.from_numpy(room)).mask_trust.numpy()
    assert trust[40, 20] == trust[40, 19] == trust[20, 30] == np.float32(MASK_TRUST_AT_EDGE)
    assert trust[40, 59] == trust[40, 60] == 1  # the right edge, where the room is not known
    assert trust[40, 30] == trust[5, 5] == 1


# -- the memory


def remembered(descriptor: np.ndarray, stamp: int = 0) -> Keyframe:
    return replace(TEMPLATE, stamp_ns=stamp, descriptor=descriptor)


TEMPLATE = keyframe_of(state(), camera())


def on_a_circle(angle: float) -> np.ndarray:
    """22 joints that all move along one circle: distance between two is the chord."""
    return np.broadcast_to([np.cos(angle), 0.0, np.sin(angle)], (22, 3)).copy()


def test_distance_is_the_rms_over_joints():
    memory = KeyframeMemory(3)
    memory.add(remembered(np.zeros((22, 3))))
    apart = np.zeros((22, 3))
    apart[:11, 1] = 0.3
    assert memory.novelty(apart) == pytest.approx(0.3 / np.sqrt(2))
    assert KeyframeMemory(3).novelty(apart) == np.inf


@settings(max_examples=40)
@given(budget=st.integers(1, 8), angles=st.lists(st.floats(0, 2 * np.pi), min_size=1, max_size=30))
def test_memory_keeps_its_budget_and_never_drops_the_newest(budget: int, angles: list[float]):
    memory = KeyframeMemory(budget)
    for i, angle in enumerate(angles):
        newest = remembered(on_a_circle(angle), i)
        dropped = memory.add(newest)
        assert len(memory) == min(i + 1, budget) and memory[len(memory) - 1] is newest
        assert (dropped is None) == (i < budget) and dropped is not newest
        assert all(k is not dropped for k in memory)


@pytest.mark.parametrize("order", ["turning", "shuffled", "standing first"])
def test_memory_keeps_the_turn_covered(order: str):
    """300 views of one turn into 16 places. Even spacing is 22.5 degrees; greedy dropping may leave gaps of twice that,
    where the newest 16, or a random 16, would leave 300 and about 75."""
    turn = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    rng = np.random.default_rng(0)
    angles = {
        "turning": turn,
        "shuffled": rng.permutation(turn),
        "standing first": np.concatenate([rng.normal(0, 1e-3, 200), turn]),
    }[order]
    memory = KeyframeMemory(16)
    for i, angle in enumerate(angles):
        memory.add(remembered(on_a_circle(angle), i))
    kept = sorted(np.arctan2(k.descriptor[0, 2], k.descriptor[0, 0]) % (2 * np.pi) for k in memory)
    gaps = [b - a for a, b in pairwise([*kept, kept[0] + 2 * np.pi])]
    assert np.degrees(max(gaps)) <= 45 + 1e-6


def test_memory_forgets_one_of_two_alike_and_no_other():
    memory = KeyframeMemory(4)
    for i, angle in enumerate([0.0, 1.0, 1.01, 3.0]):
        memory.add(remembered(on_a_circle(angle), i))
    dropped = memory.add(remembered(on_a_circle(4.0), 4))
    assert dropped is not None and dropped.stamp_ns in (1, 2)
    assert {k.stamp_ns for k in memory} >= {0, 3, 4}


def test_memory_distances_stay_right_after_drops():
    """The cached matrix is the one that would be computed afresh."""
    memory, rng = KeyframeMemory(5), np.random.default_rng(0)
    for i in range(20):
        memory.add(remembered(rng.normal(size=(22, 3)), i))
        fresh = np.stack([memory.distances(k.descriptor) for k in memory])
        cached = memory._distance[: len(memory), : len(memory)]
        off_diagonal = ~np.eye(len(memory), dtype=bool)
        np.testing.assert_allclose(cached[off_diagonal], fresh[off_diagonal])
        assert np.isinf(np.diag(cached)).all()


# -- shape


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_reanchoring_keeps_the_root_on_its_ray_and_the_person_its_size(seed: int):
    """The root stays at its pixel, and the body's height over its distance stays what the picture shows."""
    body, rng = default_body(), np.random.default_rng(seed)
    old, new = rng.normal(size=(2, 16)).astype(np.float32)
    by = replace(camera(), T_camera_world=look_at(rng.normal(size=3) + 6 * np.eye(3)[2], rng.normal(size=3)))
    transl = rng.normal(size=3).astype(np.float32)
    moved = ShapeChange(body, old, new).reanchored(transl, by)
    before, after = root_joint(body, old) + transl, root_joint(body, new) + moved
    pixels = by.project(np.stack([before, after]))
    np.testing.assert_allclose(pixels[0], pixels[1], atol=0.01)  # float32 translation at 6 m; measured 1e-4
    eye = -by.T_camera_world[:3, :3].T @ by.T_camera_world[:3, 3]
    apparent = [body.height(b) / np.linalg.norm(p - eye) for b, p in ((old, before), (new, after))]
    assert apparent[0] == pytest.approx(apparent[1], rel=1e-5)


def test_reanchoring_to_the_same_shape_stays():
    betas, transl = np.ones(16, np.float32), np.array([0.3, -0.2, 0.1], np.float32)
    np.testing.assert_allclose(ShapeChange(default_body(), betas, betas).reanchored(transl, camera()), transl, atol=1e-6)


def test_root_joint_is_the_skinnings():
    betas = np.linspace(-1, 1, 16).astype(np.float32)
    joints = posed_joints(default_body(), replace(default_body().neutral_state(), betas=betas))
    np.testing.assert_allclose(root_joint(default_body(), betas), joints[0], atol=1e-6)


# -- neighbours


def test_neighbours_on_a_tetrahedron_are_the_other_three():
    neighbors = face_neighbors(np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]))
    for face, row in enumerate(neighbors):
        assert sorted(row) == [f for f in range(4) if f != face]


def test_neighbours_on_an_open_strip_end_in_the_face_itself():
    """Edge order is 01, 12, 20; a border edge gives the face itself."""
    neighbors = face_neighbors(np.array([[0, 1, 2], [2, 1, 3], [2, 3, 4]]))
    np.testing.assert_array_equal(neighbors, [[0, 1, 0], [0, 1, 2], [1, 2, 2]])


def test_neighbours_of_the_body_share_two_vertices_and_are_mutual():
    faces = default_body().faces[default_body().kept_faces]
    neighbors = face_neighbors(faces)
    index = np.arange(len(faces))
    for side in range(3):
        other = neighbors[:, side]
        shared = (faces[:, :, None] == faces[other][:, None, :]).any(2).sum(1)
        assert (shared[other != index] == 2).all() and (neighbors[other] == index[:, None]).any(1).all()
    assert (neighbors == index[:, None]).mean() < 0.05  # only around the cavities
