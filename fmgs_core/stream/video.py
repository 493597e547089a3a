"""Video files and network streams through PyAV."""

import contextlib
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np

from fmgs_core.stream.intrinsics import CameraGuess, SizeWatch
from fmgs_core.stream.live import LiveSource, Picture
from fmgs_core.stream.replay import Damage, Frames, ReplaySource, in_time_order
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig, SourceError, log_warning

try:
    import av
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("reading video needs PyAV: pip install fmgs_ros[cpu]", name="av") from missing

# A network stream that is silent this long counts as lost [s].
_NETWORK_TIMEOUT_S = 5.0
# Frames that the end of a file may lack of its announced duration before it counts as cut; containers round it up.
_MISSING_AT_THE_END = 3


class VideoSource(ReplaySource):
    """A video file. Stamps are those of the container; rotation and pixel shape are applied.

    A cut or damaged file gives the frames it has, and a warning says what was read.

    Raises:
        ValueError: not a video, empty, or without a picture; names the file, what was expected and what was found.
    """

    def __init__(
        self,
        path: str | Path,
        config: SourceConfig | None = None,
        *,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        config, path = config or SourceConfig(), Path(path)
        with _opened(path) as container:
            stream = _video_stream(container, path)
            fps, length = _rate(stream), _length(container, stream)
        guess = CameraGuess(config.focal_px)
        frames = in_time_order(_file_frames(path, guess, on_warning), path.name, config, on_warning)
        super().__init__(
            path.name, frames, config, fps=fps, length=length, estimated=lambda: guess.estimated, clock=clock or Clock()
        )


class NetworkSource(LiveSource):
    """An RTSP, HTTP (MJPEG) or similar stream, read as a live camera.

    Raises:
        SourceError: it does not open or sends no picture.
    """

    def __init__(
        self,
        url: str,
        config: SourceConfig | None = None,
        *,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        super().__init__(url, lambda: _network_pictures(url), config or SourceConfig(), on_warning=on_warning, clock=clock)


def _opened(path: Path) -> InputContainer:
    expected = f"{path}: expected a video file with a video stream"
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{expected}, got an empty file")
    try:
        return av.open(str(path))
    except (FFmpegError, OSError) as error:
        raise ValueError(f"{expected}, got one that does not open (another kind of file, or cut): {error}") from error


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        kinds = sorted({stream.type for stream in container.streams}) or ["no stream"]
        raise ValueError(f"{path}: expected a video file with a video stream, got {', '.join(kinds)}")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _rate(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _length(container: InputContainer, stream: VideoStream) -> int | None:
    """Frames by the container's own count, else by duration and rate."""
    fps = _rate(stream)
    if stream.frames:
        return stream.frames
    return round(container.duration / av.time_base * fps) if container.duration and fps else None


def _file_frames(path: Path, guess: CameraGuess, on_warning: OnWarning) -> Frames:
    sizes, damage, count = SizeWatch(path.name, on_warning), Damage(path.name, on_warning), 0
    with _opened(path) as container:
        stream = _video_stream(container, path)
        expected = _length(container, stream)
        step_ns = round(1e9 / (_rate(stream) or 30.0))
        stamp_ns = -step_ns
        for picture in _decoded(container, stream, damage):
            stamp_ns = _stamp_ns(picture, stamp_ns + step_ns)
            rgb = _upright_rgb(picture, stream.sample_aspect_ratio)
            sizes.see(f"frame {count}", rgb)
            count += 1
            yield guess.frame(stamp_ns, rgb)
    if expected is not None and count < expected - _MISSING_AT_THE_END:
        on_warning(f"{path.name}: the file ends early: {count} of {expected} frames could be read")


def _decoded(container: InputContainer, stream: VideoStream, damage: Damage) -> Generator[VideoFrame, None, None]:
    """Every picture that can be decoded. A damaged packet is left out; damage of the container itself ends the stream."""
    packets, number = container.demux(stream), 0
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            damage.bad(f"what follows packet {number}", error)
            return
        if packet is None:
            return
        number += 1
        try:
            pictures = packet.decode()
        except FFmpegError as error:
            damage.bad(f"packet {number}", error)
            continue
        damage.good()
        yield from pictures


def _stamp_ns(picture: VideoFrame, fallback_ns: int) -> int:
    if picture.pts is None or picture.time_base is None:
        return fallback_ns
    return round(picture.pts * Fraction(picture.time_base) * 1_000_000_000)


def _upright_rgb(picture: VideoFrame, aspect: Fraction | None) -> np.ndarray:
    """RGB with square pixels (`aspect` is a pixel's width over its height), turned as the display matrix says."""
    width = round(picture.width * float(aspect)) if aspect else picture.width
    rgb = picture.to_ndarray(format="rgb24", width=width, height=picture.height)
    # PyAV gives the angle of the counter-clockwise turn that shows the picture upright, np.rot90's own sense.
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _network_pictures(url: str) -> Generator[Picture, None, None]:
    """Pictures of a network stream until it ends; a loss comes out as SourceError."""
    try:
        with contextlib.closing(av.open(url, timeout=_NETWORK_TIMEOUT_S)) as container:
            if not container.streams.video:
                raise SourceError(f"{url}: expected a video stream, got none")
            stream = container.streams.video[0]
            for picture in container.decode(stream):
                stamp_ns = _stamp_ns(picture, 0) if picture.pts is not None else None
                yield stamp_ns, _upright_rgb(picture, stream.sample_aspect_ratio)
    except (FFmpegError, OSError) as error:
        raise SourceError(f"{url}: {error}") from error
