"""Pictures and maps on disk. Kinds: round trips within half a quantisation step, refusal of what does not fit."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core import mapfiles as maps

SIZE = (9, 13)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_rgb_comes_back_bit_for_bit(tmp_path: Path, rng: np.random.Generator):
    rgb = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    maps.write_rgb(tmp_path / "deep" / "er" / "a.png", rgb)
    np.testing.assert_array_equal(maps.read_rgb(tmp_path / "deep" / "er" / "a.png"), rgb)


def test_rgb_is_stored_red_first(tmp_path: Path):
    """A swap of red and blue on both ways would pass the round trip."""
    maps.write_rgb(tmp_path / "a.png", np.full((2, 2, 3), (200, 100, 50), np.uint8))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[0, 0], [50, 100, 200])


def test_mask_comes_back_within_half_a_step(tmp_path: Path, rng: np.random.Generator):
    mask = rng.random(SIZE, dtype=np.float32)
    mask[0, :3] = 0, 1, 0.5
    maps.write_mask(tmp_path / "a.png", mask)
    np.testing.assert_allclose(maps.read_mask(tmp_path / "a.png"), mask, atol=0.5 / 255 + 1e-6)
    assert maps.read_mask(tmp_path / "a.png")[0, :2].tolist() == [0, 1]


def test_depth_comes_back_within_half_a_step_and_keeps_its_holes(tmp_path: Path, rng: np.random.Generator):
    depth = rng.uniform(0.3, 6.5, SIZE).astype(np.float32)
    depth[2:4] = np.nan
    maps.write_depth(tmp_path / "a.png", depth)
    np.testing.assert_allclose(maps.read_depth(tmp_path / "a.png"), depth, atol=0.5 * maps.DEPTH_UNIT_M + 1e-6)


@pytest.mark.parametrize("wrong", [6.56, 100.0, -0.1, np.inf])
def test_depth_that_the_format_cannot_hold_is_refused(tmp_path: Path, wrong: float):
    depth = np.full(SIZE, 2, np.float32)
    depth[1, 1] = wrong
    with pytest.raises(ValueError, match=r"a\.png: expected depths of 0 to 6\.55 m, got "):
        maps.write_depth(tmp_path / "a.png", depth)
    assert not (tmp_path / "a.png").exists()


def test_normals_come_back_unit_and_close_and_keep_their_holes(tmp_path: Path, rng: np.random.Generator):
    normal = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    known = rng.random(SIZE) > 0.3
    maps.write_normal(tmp_path / "a.png", normal, known)
    back = maps.read_normal(tmp_path / "a.png")
    assert (back[~known] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(back[known], axis=-1), 1, atol=1e-6)
    # Half a step of 1/127.5 on each axis: sqrt(3) * 0.5 / 127.5 rad.
    angle = np.arccos(np.clip((back * normal)[known].sum(-1), -1, 1))
    assert angle.max() < 0.0071


def test_normals_are_stored_x_y_z_as_red_green_blue(tmp_path: Path):
    normal = np.zeros((1, 1, 3), np.float32)
    normal[..., 2] = -1
    maps.write_normal(tmp_path / "a.png", normal, np.ones((1, 1), bool))
    np.testing.assert_array_equal(maps.read_rgb(tmp_path / "a.png")[0, 0], [128, 128, 0])


def test_labels_come_back_bit_for_bit(tmp_path: Path, rng: np.random.Generator):
    labels = rng.integers(0, 256, SIZE, dtype=np.uint8)
    maps.write_labels(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(maps.read_labels(tmp_path / "a.png"), labels)


def test_a_folder_gives_the_maps_it_has_and_makes_nothing_up(tmp_path: Path):
    maps.write_mask(tmp_path / "mask" / "000007.png", np.ones(SIZE, np.float32))
    maps.write_labels(tmp_path / "label" / "000007.png", np.full(SIZE, 4, np.uint8))
    read = maps.read_maps(tmp_path, 7, geometry_trust=0.25)
    assert read.mask is not None and read.labels is not None
    assert (read.depth, read.normal, read.keypoints) == (None, None, None)
    assert (read.label_set, read.geometry_trust) == ("sapiens28", 0.25)
    assert maps.read_maps(tmp_path, 8).mask is None and maps.read_maps(tmp_path, 8).label_set is None


READERS = {
    "rgb": maps.read_rgb,
    "mask": maps.read_mask,
    "depth": maps.read_depth,
    "normal": maps.read_normal,
    "label": maps.read_labels,
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("content", [b"", b"no picture at all", None])
def test_what_is_no_picture_is_named(tmp_path: Path, kind: str, content: bytes | None):
    """None: the first bytes of a real one."""
    maps.write_rgb(tmp_path / "whole.png", np.zeros((40, 40, 3), np.uint8))
    data = (tmp_path / "whole.png").read_bytes()[:30] if content is None else content
    (tmp_path / "b.png").write_bytes(data)
    with pytest.raises(ValueError, match=rf"b\.png: expected a picture, got {len(data)} bytes"):
        READERS[kind](tmp_path / "b.png")


@pytest.mark.parametrize("kind", ["mask", "depth", "normal", "label"])
def test_maps_of_another_kind_are_named(tmp_path: Path, kind: str):
    """Sixteen-bit colour is none of the four."""
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((*SIZE, 3), np.uint16))
    with pytest.raises(ValueError, match=r"b\.png: expected a map of .*, got uint16 of shape \(9, 13, 3\)"):
        READERS[kind](tmp_path / "b.png")
