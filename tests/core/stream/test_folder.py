"""Folders of pictures. Kinds: round trip, behaviour on broken and odd content."""

import cv2
import numpy as np
import pytest

from fmgs_core.stream import SourceConfig, open_source
from fmgs_core.stream.folder import natural_key


@pytest.fixture
def save(tmp_path):
    def picture(name: str, rgb: np.ndarray):
        assert cv2.imwrite(str(tmp_path / name), rgb[..., ::-1])

    return picture


def test_natural_order():
    names = ["10.png", "9.png", "a10.png", "a9.png", "b.png", "001.png", "1_2.png"]
    assert sorted(names, key=natural_key) == ["a9.png", "a10.png", "b.png", "001.png", "1_2.png", "9.png", "10.png"]


def test_every_picture_in_natural_order(tmp_path, make, save, warnings):
    for i in (0, 2, 10, 1):
        save(f"img_{i}.png", make.gradient(index=i))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    source = open_source(tmp_path, on_warning=warnings.append)
    assert (source.length, source.fps, source.live, source.camera_is_estimated) == (4, 30, False, True)
    frames = make.read_all(source)
    np.testing.assert_array_equal([f.rgb for f in frames], [make.gradient(index=i) for i in (0, 1, 2, 10)])
    assert [f.stamp_ns for f in frames] == [0, 33333333, 66666667, 100000000]
    assert warnings == []


def test_the_rate_can_be_said(tmp_path, make, save):
    for i in range(3):
        save(f"{i}.png", make.gradient())
    frames = make.read_all(open_source(tmp_path, SourceConfig(fps_override=10.0)))
    assert [f.stamp_ns for f in frames] == [0, 100_000_000, 200_000_000]


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_unreadable_pictures_are_left_out_by_name(tmp_path, make, save, warnings, content: bytes):
    for i in (0, 2):
        save(f"{i}.png", make.gradient())
    (tmp_path / "1.png").write_bytes(content)
    frames = make.read_all(open_source(tmp_path, on_warning=warnings.append))
    assert [f.stamp_ns for f in frames] == [0, 66666667], "the gap stays"
    assert len(warnings) == 1 and "1.png is left out" in warnings[0] and f"{len(content)} bytes" in warnings[0]


def test_sizes_may_change(tmp_path, make, save, warnings):
    save("0.png", make.gradient(48, 64))
    save("1.png", make.gradient(96, 64))
    frames = make.read_all(open_source(tmp_path, on_warning=warnings.append))
    assert [(f.camera.width, f.camera.height) for f in frames] == [(64, 48), (64, 96)]
    assert len(warnings) == 1 and "1.png is 64 x 96 px after 64 x 48 px" in warnings[0]


def test_nothing_readable_is_refused(tmp_path):
    (tmp_path / "0.png").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="expected at least one readable picture, got none"):
        open_source(tmp_path, on_warning=lambda _: None)


def test_a_folder_without_pictures_says_what_is_there(tmp_path):
    with pytest.raises(ValueError, match=r"expected pictures .* got nothing"):
        open_source(tmp_path)
    (tmp_path / "thesis.docx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected pictures .* got thesis\.docx"):
        open_source(tmp_path)


def test_grey_alpha_and_sixteen_bits_become_rgb(tmp_path, make, save):
    rgb = make.gradient()
    cv2.imwrite(str(tmp_path / "0.png"), rgb[..., 0])
    cv2.imwrite(str(tmp_path / "1.png"), np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 9, np.uint8)]))
    cv2.imwrite(str(tmp_path / "2.png"), rgb[..., ::-1].astype(np.uint16) * 256)
    grey, alpha, deep = (f.rgb for f in make.read_all(open_source(tmp_path)))
    np.testing.assert_array_equal(grey, rgb[..., :1].repeat(3, -1))
    np.testing.assert_array_equal(alpha, rgb)
    np.testing.assert_array_equal(deep, rgb)
