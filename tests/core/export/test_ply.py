"""Splats as PLY. Kinds: round trip, poison (extremes, broken files), layout as other programs read it."""

import numpy as np
import pytest
import torch
import trimesh

from fmgs_core.export.ply import read_ply, write_ply
from fmgs_core.geometry import rotation_from_quaternion
from fmgs_core.types import Splats


@pytest.fixture
def splats() -> Splats:
    n = 50
    return Splats(
        means=torch.randn(n, 3),
        quats=torch.randn(n, 4),
        scales=torch.rand(n, 2) * 0.02 + 1e-4,
        opacities=torch.rand(n) * 0.98 + 0.01,
        colors=torch.rand(n, 3),
        logits=torch.randn(n, 28),
    )


def test_round_trip(tmp_path, splats: Splats):
    write_ply(tmp_path / "a.ply", splats, with_logits=True)
    back = read_ply(tmp_path / "a.ply")
    for name in ("means", "quats", "logits"):
        assert torch.equal(getattr(back, name), getattr(splats, name)), name
    # Through logarithm, logit and the harmonic's factor: a few float32 roundings.
    torch.testing.assert_close(back.scales, splats.scales, rtol=2e-6, atol=0)
    torch.testing.assert_close(back.opacities, splats.opacities, rtol=0, atol=1e-6)
    torch.testing.assert_close(back.colors, splats.colors, rtol=0, atol=1e-6)


def test_equal_splats_give_equal_bytes(tmp_path, splats: Splats):
    write_ply(tmp_path / "a.ply", splats)
    write_ply(tmp_path / "b.ply", splats)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert read_ply(tmp_path / "a.ply").logits is None


def test_layout_as_viewers_expect_it(tmp_path, splats: Splats):
    """Read by trimesh's parser, which shares no code with ours."""
    write_ply(tmp_path / "a.ply", splats)
    cloud = trimesh.load(tmp_path / "a.ply")
    data = cloud.metadata["_ply_raw"]["vertex"]["data"]
    standard = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert list(data.dtype.names) == standard.split()
    np.testing.assert_array_equal(data["x"], splats.means[:, 0])
    np.testing.assert_array_equal(data["rot_0"], splats.quats[:, 0])
    assert np.exp(data["scale_2"]).max() < 1e-5, "flat"
    sigmoid = 1 / (1 + np.exp(-data["opacity"].astype(float)))
    np.testing.assert_allclose(sigmoid, splats.opacities, atol=1e-6)
    normals = np.stack([data["nx"], data["ny"], data["nz"]], -1)
    np.testing.assert_allclose(normals, rotation_from_quaternion(splats.quats)[..., 2], atol=1e-6)
    np.testing.assert_allclose(0.5 + 0.28209479 * data["f_dc_1"], splats.colors[:, 1], atol=1e-6)


def test_extreme_opacities_stay_finite(tmp_path):
    one = torch.ones(3, 3)
    splats = Splats(one, torch.ones(3, 4), torch.full((3, 2), 0.01), torch.tensor([0.0, 0.5, 1.0]), one)
    write_ply(tmp_path / "a.ply", splats)
    data = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)[1]
    assert np.isfinite(np.frombuffer(data, "<f4")).all()
    torch.testing.assert_close(read_ply(tmp_path / "a.ply").opacities, splats.opacities, rtol=0, atol=2e-6)


def test_gradients_do_not_matter(tmp_path, splats: Splats):
    splats.means.requires_grad_()
    write_ply(tmp_path / "a.ply", splats)
    assert not read_ply(tmp_path / "a.ply").means.requires_grad


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a binary little-endian PLY"),
        (b"not a ply at all", "got b'not a ply"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "binary little-endian"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n1234", "f_dc_0"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty uchar x\nend_header\n1", "float properties"),
    ],
)
def test_files_that_are_no_splats(tmp_path, content: bytes, message: str):
    (tmp_path / "bad.ply").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.ply.*{message}"):
        read_ply(tmp_path / "bad.ply")


def test_a_cut_file(tmp_path, splats: Splats):
    write_ply(tmp_path / "a.ply", splats)
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"expected 50 vertices of 68 bytes, got 3399 bytes"):
        read_ply(tmp_path / "a.ply")
