"""Videos that the tests write. Kinds: round trip, behaviour on every kind of broken file."""

import http.server
import struct
import threading
import wave
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from fmgs_core.stream import SourceConfig, SourceError, open_source

COUNT, FPS = 30, 10


@pytest.fixture
def write(make):
    def video(
        path: Path, count: int = COUNT, codec: str = "libx264", size=(48, 64), times=None, options=None, **stream_options
    ):
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=FPS)
            stream.height, stream.width = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.options = {"qmin": "2", "qmax": "2"} if codec == "mjpeg" else {"crf": "8", "g": "6"}
            for name, value in stream_options.items():
                setattr(stream.codec_context, name, value)
            for i in range(count):
                picture = av.VideoFrame.from_ndarray(make.gradient(*size, i), format="rgb24")
                if times is not None:
                    picture.pts, picture.time_base = times[i], Fraction(1, 1000)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return video


def close_to(rgb: np.ndarray, expected: np.ndarray) -> bool:
    """H.264 at crf 8 with halved chroma stays within 8 levels on these gradients; a wrong frame or turn is 20 and more off."""
    return rgb.shape == expected.shape and np.abs(rgb.astype(int) - expected).max() <= 8


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mjpeg")])
def test_every_frame_in_order(tmp_path, make, write, warnings, suffix: str, codec: str):
    source = open_source(write(tmp_path / f"clip{suffix}", codec=codec), on_warning=warnings.append)
    assert (source.length, source.fps, source.live, source.camera_is_estimated) == (COUNT, FPS, False, True)
    frames = make.read_all(source)
    assert [f.stamp_ns for f in frames] == [i * 100_000_000 for i in range(COUNT)]
    assert all(close_to(f.rgb, make.gradient(index=i)) for i, f in enumerate(frames))
    np.testing.assert_allclose(frames[0].camera.K, [[76.8, 0, 32], [0, 76.8, 24], [0, 0, 1]])
    assert warnings == []


def test_stamps_are_the_containers(tmp_path, make, write):
    times = [0, 33, 70, 400, 401, 1000]
    frames = make.read_all(open_source(write(tmp_path / "clip.mkv", len(times), times=times, time_base=Fraction(1, 1000))))
    assert [f.stamp_ns for f in frames] == [t * 1_000_000 for t in times]


def test_a_given_focal_length_is_no_estimate(tmp_path, write):
    with open_source(write(tmp_path / "clip.mp4", 2), SourceConfig(focal_px=50.0, max_side_px=32)) as source:
        assert not source.camera_is_estimated
        assert source.read().camera.K[0, 0] == 25


@pytest.mark.parametrize(("turn", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_rotation_is_applied(tmp_path, make, write, turn: int, matrix):
    """Patches the display matrix of the track header, which is how phones say that they were held upright."""
    path = write(tmp_path / "phone.mp4", 3)
    data = path.read_bytes()
    one = 1 << 16
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    at = data.rindex(identity)
    a, b, c, d = (one * value for value in matrix)
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    frames = make.read_all(open_source(path))
    # QuickTime's (0, 1, -1, 0) shows the picture turned clockwise: three counter-clockwise quarter turns.
    assert close_to(frames[0].rgb, np.rot90(make.gradient(), turn))


def test_pixels_become_square(tmp_path, make, write):
    path = write(tmp_path / "anamorphic.mkv", 3, sample_aspect_ratio=Fraction(2, 1))
    frame = make.read_all(open_source(path))[0]
    assert frame.rgb.shape == (48, 128, 3) and frame.camera.width == 128


def test_a_size_change_inside_the_stream(tmp_path, make, write, warnings):
    """Two transport streams in one file, as a camera app leaves them that was turned while it recorded."""
    parts = [write(tmp_path / "a.ts", 5), write(tmp_path / "b.ts", 5, size=(96, 64))]
    path = tmp_path / "turned.ts"
    path.write_bytes(b"".join(p.read_bytes() for p in parts))
    with open_source(path, SourceConfig(fps_override=10.0), on_warning=warnings.append) as source:
        frames = list(iter(source.read, None))
    assert [f.rgb.shape[:2] for f in frames] == [(48, 64)] * 5 + [(96, 64)] * 5
    assert [f.camera.K[1, 1] for f in frames] == pytest.approx([76.8] * 5 + [115.2] * 5)
    assert len(warnings) == 1 and "frame 5 is 64 x 96 px after 64 x 48 px" in warnings[0]


def test_a_cut_file_gives_what_it_has(tmp_path, make, write, warnings):
    whole = write(tmp_path / "whole.mkv", 60)
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames = make.read_all(open_source(path, on_warning=warnings.append))
    assert 10 < len(frames) < 55
    assert all(close_to(f.rgb, make.gradient(index=i)) for i, f in enumerate(frames[:-1]))
    assert any("ends early" in w and f"{len(frames)} of 60" in w for w in warnings)


def test_a_cut_mp4_with_its_index_first(tmp_path, make, write, warnings):
    whole = write(tmp_path / "whole.mp4", 60, options={"movflags": "faststart"})
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    frames = make.read_all(open_source(path, on_warning=warnings.append))
    assert 5 < len(frames) < 60
    assert any(f"{len(frames)} of 60 frames could be read" in w for w in warnings)


def test_damage_in_the_middle_costs_a_few_frames(tmp_path, make, write, warnings):
    path = write(tmp_path / "clip.mkv", 60)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    assert len(make.read_all(open_source(path, on_warning=warnings.append))) > 20


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("empty.mp4", b"", "got an empty file"),
        ("text.mp4", b"this is a letter to my aunt, and no video at all\n" * 20, "does not open"),
        ("header.mp4", b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", "does not open"),
    ],
)
def test_files_that_are_no_video(tmp_path, name: str, content: bytes, got: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: expected a video file with a video stream, .*{got}"):
        open_source(tmp_path / name)


def test_an_mp4_cut_before_its_index(tmp_path, write):
    whole = write(tmp_path / "whole.mp4")
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4: expected a video file.*cut"):
        open_source(tmp_path / "cut.mp4")


def test_sound_is_no_video(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 1024, "NONE", ""))
        sound.writeframes(bytes(2048))
    with pytest.raises(ValueError, match=r"sound\.wav: expected a video file with a video stream, got audio"):
        open_source(path)


def test_what_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"an existing file or folder, got '.*nothing\.mp4'"):
        open_source(tmp_path / "nothing.mp4")


def test_a_video_over_http_is_a_live_source(tmp_path, make, write):
    write(tmp_path / "clip.ts", 20)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/clip.ts"
        with open_source(url) as source:
            frames = list(iter(source.read, None))
            assert source.live and source.ended and len(frames) + source.dropped == 20
        with pytest.raises(SourceError, match=r"missing\.ts"):
            open_source(url.replace("clip", "missing"))
        server.shutdown()


def test_the_same_file_gives_the_same_frames(tmp_path, make, write):
    path = write(tmp_path / "clip.mp4")
    first, second = (make.read_all(open_source(path)) for _ in range(2))
    assert all((a.rgb == b.rgb).all() and a.stamp_ns == b.stamp_ns for a, b in zip(first, second, strict=True))


def test_a_real_clip(make, shared, warnings):
    source = open_source(shared / "clips/iper_turn.mp4", on_warning=warnings.append)
    frames = make.read_all(source)
    assert len(frames) == source.length == 53 and source.fps == 15 and warnings == []
    assert frames[-1].stamp_ns == round(52 / 15 * 1e9)
