"""Video files. Kinds: round trip, behaviour when writing fails."""

from pathlib import Path

import av
import numpy as np
import pytest

from fmgs_core.export.video import VideoWriter


def picture(height: int, width: int, shift: int = 0) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.round(np.stack([40 + 160 * x, 220 - 150 * y, 30 + shift + 60 * x * y], -1)).astype(np.uint8)


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 64), (48, 63), (33, 35)])
def test_pictures_come_back(tmp_path, height: int, width: int):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 15.0) as video:
        for i in range(6):
            video.write(picture(height, width, 25 * i))
    frames = read(path)
    assert len(frames) == 6
    assert {f.shape for f in frames} == {(height + height % 2, width + width % 2, 3)}
    for i, frame in enumerate(frames):
        # crf 18 with halved chroma: measured 1.8 levels in the mean; with BT.601's coefficients it is 5 to 6.
        assert np.abs(frame[:height, :width].astype(int) - picture(height, width, 25 * i)).mean() < 3
    if height % 2:
        # The padding is the last row once more; 10: it shares its chroma with that row.
        assert np.abs(frames[0][-1].astype(int) - frames[0][-2]).max() < 10


def test_what_players_need(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 30000 / 1001) as video:
        for _ in range(5):
            video.write(picture(48, 64))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 5)
        assert float(stream.average_rate) == pytest.approx(29.97, abs=0.01)
        assert stream.codec_context.colorspace == 1, "BT.709"


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old one")
    with VideoWriter(path, 15.0) as video:
        video.write(picture(48, 64))
        assert path.read_bytes() == b"the old one"
    assert len(read(path)) == 1 and list(tmp_path.iterdir()) == [path]


def test_a_failed_run_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old one")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 15.0) as video:
        video.write(picture(48, 64))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [path]


def test_no_picture_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"out\.mp4: expected at least one picture, got none"):
        VideoWriter(tmp_path / "out.mp4", 15.0).close()
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"expected uint8 RGB of \(64, 48\), got uint8 \(48, 62, 3\)"):
        with VideoWriter(tmp_path / "out.mp4", 15.0) as video:
            video.write(picture(48, 64))
            video.write(picture(48, 62))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_rates(tmp_path, fps: float):
    with pytest.raises(ValueError, match=r"VideoWriter\.fps: expected a positive number"):
        VideoWriter(tmp_path / "out.mp4", fps)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match="expected a file name in an existing folder"):
        VideoWriter(tmp_path / "nowhere/out.mp4", 15.0)
