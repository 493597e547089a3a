"""H.264 video files through PyAV."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from fmgs_core.atomic import check_folder, part_path
from fmgs_core.types import Image

try:
    import av
    from av.video.reformatter import ColorRange, Colorspace
    from av.video.stream import VideoStream
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("writing video needs PyAV: pip install fmgs_ros[cpu]", name="av") from missing

# x264's scale: 18 is where differences to the original stop being visible (ffmpeg's H.264 guide), 23 its default.
DEFAULT_CRF = 18


class VideoWriter:
    """Writes RGB pictures of one size to an H.264 mp4 (yuv420p, which every player takes). A context manager.

    The file appears when it is closed; a block that fails leaves none, and one that stood there before stays. Odd sizes get
    their last row or column once more, because yuv420p halves both.

    Raises:
        ValueError: the folder does not exist, fps is not positive, a picture of another size, or none at all.
    """

    def __init__(self, path: str | Path, fps: float, *, crf: int = DEFAULT_CRF):
        self._path = Path(path)
        check_folder(self._path)
        if not 0 < fps < float("inf"):
            raise ValueError(f"VideoWriter.fps: expected a positive number, got {fps}")
        if not 0 <= crf <= 51:
            raise ValueError(f"VideoWriter.crf: expected 0 (lossless) to 51, got {crf}")
        self._fps, self._crf, self._part = fps, crf, part_path(self._path)
        self._size: tuple[int, int] | None = None
        self._closed = False
        self._container = av.open(str(self._part), "w", format="mp4")
        self._stream: VideoStream | None = None

    def write(self, rgb: Image) -> None:
        size = rgb.shape[1], rgb.shape[0]
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or self._size not in (None, size):
            raise ValueError(
                f"VideoWriter.write: expected uint8 RGB of {self._size or 'any size'}, got {rgb.dtype} {rgb.shape}"
            )
        if self._stream is None:
            self._size, self._stream = size, self._add_stream(*size)
        padded = np.pad(rgb, ((0, size[1] % 2), (0, size[0] % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(padded, format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Completes the file and gives it its name."""
        if self._closed:
            return
        if self._stream is None:
            self.abort()
            raise ValueError(f"{self._path}: expected at least one picture, got none")
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._part.replace(self._path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Gives the file up: nothing stays of it."""
        if not self._closed:
            self._closed = True
            self._container.close()
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close() if kind is None else self.abort()

    def _add_stream(self, width: int, height: int) -> VideoStream:
        # Rates such as 30000 / 1001 come as floats; mp4 wants them as a ratio of small integers.
        stream = self._container.add_stream("libx264", rate=Fraction(self._fps).limit_denominator(1001))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(self._crf)}
        # Said in the file, because players guess by size when it is not.
        stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
        stream.codec_context.color_range = ColorRange.MPEG
        return stream
