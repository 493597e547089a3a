"""Metrics against values known in closed form, against their libraries, and against poison."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from fmgs_core.evaluation import metrics
from fmgs_core.evaluation.mesh_distance import distance_to_mesh

HEIGHT, WIDTH = 48, 40


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(1).uniform(0.2, 0.8, (HEIGHT, WIDTH, 3))


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:35, 8:30] = True
    return mask


def sphere(radius: float) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def pose() -> np.ndarray:
    return np.random.default_rng(2).normal(0, 0.4, (3, 55, 3))


def rotation(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    return trimesh.transformations.rotation_matrix(angle, axis)[:3, :3]


def test_psnr_of_a_known_error(truth, mask):
    off = truth + 0.1
    assert metrics.psnr(off, truth) == pytest.approx(20.0, abs=1e-9)
    assert metrics.psnr(torch.from_numpy(off), truth, mask) == pytest.approx(20.0, abs=1e-9)
    assert metrics.psnr(truth, truth) == float("inf")


def test_psnr_inside_a_mask_sees_the_mask_only(truth, mask):
    off = np.where(mask[..., None], truth + 0.01, 0.0)
    assert metrics.psnr(off, truth, mask) == pytest.approx(40.0, abs=1e-9)
    assert metrics.psnr(off, truth) < 15


def test_psnr_of_bytes_equals_psnr_of_floats(truth):
    a, b = (np.uint8(255 * truth), np.uint8(255 * (truth + 0.05)))
    assert metrics.psnr(b, a) == pytest.approx(metrics.psnr(b / 255.0, a / 255.0), abs=1e-12)


def test_ssim_is_the_librarys_on_the_full_picture(truth):
    from pytorch_msssim import ssim

    off = np.clip(truth + np.random.default_rng(3).normal(0, 0.1, truth.shape), 0, 1)
    batch = [torch.from_numpy(p.transpose(2, 0, 1)[None].copy()).float() for p in (off, truth)]
    # 1e-5: float32 sums of 1,140 windows in another order.
    assert metrics.ssim(off, truth) == pytest.approx(float(ssim(*batch, data_range=1.0)), abs=1e-5)
    assert metrics.ssim(truth, truth) == pytest.approx(1.0, abs=1e-6)


def test_ssim_inside_a_mask_ignores_errors_farther_than_a_window(truth, mask):
    off = truth.copy()
    off[:4] = 0.0
    assert metrics.ssim(off, truth, mask) == pytest.approx(1.0, abs=1e-6)
    assert metrics.ssim(off, truth) < 0.99


def test_flip_of_a_known_pair(truth, mask):
    """Flat black against flat white has no edges, so FLIP is its colour term (Andersson et al. 2020, section 4.1.4):
    HyAB distance 100 to the power 0.7, of a maximum 41.276, above the knee at 0.4 of it, which maps to 0.95."""
    knee = 0.4 * 41.276
    black, white = np.zeros((HEIGHT, WIDTH, 3)), np.ones((HEIGHT, WIDTH, 3))
    assert metrics.flip(truth, truth, mask) == pytest.approx(0.0, abs=1e-6)
    assert metrics.flip(white, black) == pytest.approx(0.95 + 0.05 * (100**0.7 - knee) / (41.276 - knee), abs=1e-4)


def test_flip_inside_a_mask_is_the_mean_of_the_map(truth, mask):
    off = np.where(mask[..., None], truth, 0.0)
    error = metrics.flip_map(off, truth)
    assert metrics.flip(off, truth, mask) == pytest.approx(float(error[mask].mean()), abs=1e-6)
    assert metrics.flip(off, truth, mask) < metrics.flip(off, truth)


def test_iou_of_two_half_overlapping_boxes():
    a, b = np.zeros((20, 30)), np.zeros((20, 30), bool)
    a[:10, :20], b[:10, 10:30] = 0.6, True
    a[:, 29] = 0.5
    assert metrics.mask_iou(a, b) == pytest.approx(100 / 300)
    assert metrics.mask_iou(np.zeros((20, 30)), b) == 0.0


def test_normal_error_is_the_angle_between(mask):
    truth = np.zeros((HEIGHT, WIDTH, 3))
    truth[..., 2] = -1.0
    tilted = truth @ rotation((1, 0, 0), np.radians(10)).T * 0.3
    tilted[~mask] = np.nan
    everywhere = np.ones_like(mask)
    assert metrics.normal_deg(tilted, truth, mask, everywhere) == pytest.approx(10.0, abs=1e-9)


def test_depth_error_is_counted_where_both_masks_are(mask):
    truth = np.full((HEIGHT, WIDTH), 2.0)
    depth = np.where(mask, truth - 0.012, np.nan)
    assert metrics.depth_mm(depth, truth, mask, np.ones_like(mask)) == pytest.approx(12.0, abs=1e-9)


def test_miou_by_hand():
    truth = np.array([[0, 0, 0, 0], [5, 5, 22, 255]], np.uint8)
    labels = np.array([[0, 0, 0, 5], [5, 22, 22, 7]], np.uint8)
    assert metrics.miou(labels, truth) == pytest.approx((3 / 4 + 1 / 3 + 1 / 2) / 3)


def test_chamfer_between_spheres_is_the_difference_of_their_radii():
    # 0.1 mm is the exactness asked for; the facets of the two spheres are 0.15 mm below the arc and nearly cancel.
    assert metrics.chamfer_mm(*sphere(1.01), *sphere(1.0), samples=2000) == pytest.approx(10.0, abs=0.1)


def test_chamfer_of_a_surface_with_itself_is_zero_and_repeats():
    assert metrics.chamfer_mm(*sphere(1.0), *sphere(1.0), samples=500) < 1e-6
    once, again = (metrics.chamfer_mm(*sphere(1.02), *sphere(1.0), samples=100) for _ in range(2))
    assert once == again


def test_distance_to_a_mesh_is_exact_for_triangles_of_all_sizes():
    """Parity with the distance to every triangle, on slivers and triangles from 1 mm to 1 m."""
    rng = np.random.default_rng(4)
    corners = rng.uniform(-1, 1, (200, 1, 3)) + rng.normal(0, 1, (200, 3, 3)) * 10 ** rng.uniform(-3, 0, (200, 1, 1))
    faces, points = np.arange(600).reshape(200, 3), rng.uniform(-1.5, 1.5, (50, 3))
    repeated = np.repeat(points, 200, axis=0)
    nearest = trimesh.triangles.closest_point(np.tile(corners, (50, 1, 1)), repeated)
    expected = np.linalg.norm(nearest - repeated, axis=-1).reshape(50, 200).min(1)
    np.testing.assert_allclose(distance_to_mesh(points, corners.reshape(-1, 3), faces), expected, atol=1e-12)


def test_a_large_triangle_is_found_behind_many_small_ones():
    """The nearest centroids all belong to a cloud of crumbs, the nearest surface is the floor's."""
    rng = np.random.default_rng(7)
    floor = trimesh.creation.box((10, 10, 0.001)).subdivide().subdivide()
    crumbs = np.array([0.5, 0.5, 0.3]) + rng.uniform(-0.01, 0.01, (40, 3, 3))
    vertices = np.concatenate([floor.vertices, crumbs.reshape(-1, 3)])
    faces = np.concatenate([floor.faces, len(floor.vertices) + np.arange(120).reshape(40, 3)])
    assert distance_to_mesh(np.array([[0.5, 0.5, 0.1005]]), vertices, faces)[0] == pytest.approx(0.1, abs=1e-9)


def test_mpjpe_forgives_a_shift_and_nothing_else():
    truth = pose()
    assert metrics.mpjpe_mm(truth + np.array([0.3, -0.2, 1.0]), truth) == pytest.approx(0.0, abs=1e-9)
    bent = truth.copy()
    bent[:, 5, 1] += 0.022
    assert metrics.mpjpe_mm(bent, truth) == pytest.approx(1.0, abs=1e-9)
    fingers = truth.copy()
    fingers[:, 22:] += 1.0
    assert metrics.mpjpe_mm(fingers, truth) == 0.0


def test_pa_mpjpe_forgives_rotation_and_scale_but_not_a_mirror():
    truth = pose()
    moved = 1.7 * truth @ rotation((1, 2, 3), 2.0).T + [1, 2, 3]
    assert metrics.pa_mpjpe_mm(moved, truth) == pytest.approx(0.0, abs=1e-6)
    assert metrics.mpjpe_mm(moved, truth) > 100
    assert metrics.pa_mpjpe_mm(truth * [-1, 1, 1], truth) > 50


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_pa_mpjpe_is_that_of_the_best_rotation_and_scale(mirror):
    """Parity with scipy's rotation fit, also where the best orthogonal matrix would be a reflection."""
    truth = pose()[0, :22]
    estimate = 0.6 * (truth + np.random.default_rng(6).normal(0, 0.05, truth.shape)) * [mirror, 1, 1]
    a, b = estimate - estimate.mean(0), truth - truth.mean(0)
    turned = Rotation.align_vectors(b, a)[0].apply(a)
    fitted = turned * (turned * b).sum() / (a * a).sum()
    expected = 1000 * np.linalg.norm(fitted - b, axis=-1).mean()
    assert metrics.pa_mpjpe_mm(estimate, truth) == pytest.approx(expected, rel=1e-6)


def test_pa_mpjpe_does_not_depend_on_the_frame_of_the_estimate():
    truth = pose()
    noisy = truth + np.random.default_rng(5).normal(0, 0.05, truth.shape)
    error = metrics.pa_mpjpe_mm(noisy, truth)
    assert 10 < error < metrics.mpjpe_mm(noisy, truth)
    assert metrics.pa_mpjpe_mm(0.5 * noisy @ rotation((0, 1, 0), 1.0), truth) == pytest.approx(error)


def test_root_error_by_axis():
    truth = pose()
    error = metrics.root_mm(truth + np.array([0.003, -0.004, 0.012]), truth)
    assert (error.x, error.y, error.z, error.distance) == pytest.approx((3.0, 4.0, 12.0, 13.0))


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.flip])
@pytest.mark.parametrize("poisoned", ["picture", "truth"])
def test_nan_in_a_picture_is_refused_by_name(metric, poisoned, truth, mask):
    pictures = {"picture": truth.copy(), "truth": truth.copy()}
    pictures[poisoned][20, 20, 1] = np.nan
    with pytest.raises(ValueError, match=f"^{poisoned}: expected finite"):
        metric(**pictures, mask=mask)


@pytest.mark.parametrize("poisoned", [0, 1])
def test_nan_in_a_map_or_pose_is_refused_by_name(poisoned, mask):
    depths, normals, joints = ([np.ones(shape) for _ in range(2)] for shape in ((HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (55, 3)))
    for pair in (depths, normals):
        pair[poisoned][20, 20] = np.inf
    joints[poisoned][3, 1] = np.nan
    for name, measure in (
        (("depth", "truth")[poisoned], lambda: metrics.depth_mm(*depths, mask, mask)),
        (("normal", "truth")[poisoned], lambda: metrics.normal_deg(*normals, mask, mask)),
        (("joints", "truth")[poisoned], lambda: metrics.mpjpe_mm(*joints)),
        (("joints", "truth")[poisoned], lambda: metrics.root_mm(*joints)),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected finite"):
            measure()


def test_nan_outside_the_mask_does_no_harm_to_psnr(truth, mask):
    off = np.where(mask[..., None], truth + 0.1, np.nan)
    assert metrics.psnr(off, truth, mask) == pytest.approx(20.0, abs=1e-9)


def test_bad_input_is_refused_with_its_name(truth, mask):
    for bad, complaint in (
        (lambda: metrics.psnr(truth * 255, truth), r"picture: expected uint8 or colours in \[0, 1\]"),
        (lambda: metrics.psnr(truth[:-1], truth), "truth: expected the size"),
        (lambda: metrics.psnr(truth, truth, np.zeros_like(mask)), "mask: expected at least one pixel"),
        (lambda: metrics.mask_iou(mask, np.full(mask.shape, np.nan)), "truth: expected finite"),
        (lambda: metrics.mask_iou(mask, np.zeros_like(mask)), "mask: expected at least one pixel"),
        (
            lambda: metrics.miou(np.full((2, 2), 28), np.zeros((2, 2), int)),
            r"labels: expected class ids 0 to 27 or 255, got \[28\]",
        ),
        (lambda: metrics.normal_deg(truth * 0, truth, mask, mask), "normal: expected a direction"),
        (lambda: metrics.mpjpe_mm(np.zeros((21, 3)), np.zeros((22, 3))), "joints: expected joints"),
        (
            lambda: distance_to_mesh(np.zeros((1, 3)), np.full((3, 3), np.nan), np.array([[0, 1, 2]])),
            "vertices: expected finite",
        ),
    ):
        with pytest.raises(ValueError, match=complaint):
            bad()


def test_chamfer_of_the_undressed_body_against_the_dressed_one(shared):
    """Behaviour: shoes, hair and cloth stand off the neutral body by millimetres to centimetres, not by metres."""
    body = np.load(shared / "body/body_template.npz")
    dressed = trimesh.load(shared / "gt/dressed_a/canonical.ply", process=False)
    with np.load(shared / "gt/dressed_a/train/params.npz") as params:
        shaped = body["v_template"] + body["shapedirs"] @ params["betas"]
    distance = metrics.chamfer_mm(shaped, body["faces"], dressed.vertices, dressed.faces, samples=5000)
    assert 2.0 < distance < 25.0
