"""Opening the storage files of a rosbag2 recording, with or without metadata.yaml, whole or cut."""

import io
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from fmgs_core.stream.folder import natural_key
from fmgs_core.stream.source import OnWarning

try:
    from rosbags.rosbag2 import Reader
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("reading bags needs rosbags: pip install fmgs_ros[cpu]", name="rosbags") from missing

SUFFIXES = (".mcap", ".db3")
_MAGIC = b"\x89MCAP0\r\n"
# Opcodes of the MCAP specification (mcap.dev/spec): the first and the last that stand in a data section.
_FIRST_OPCODE, _LAST_DATA_OPCODE = 0x01, 0x0E
_RECORD_HEADER = struct.Struct("<BQ")
# A footer that points to no summary, so that a reader scans the data section.
_FOOTER = _RECORD_HEADER.pack(0x02, 20) + bytes(20) + _MAGIC


def open_readers(path: Path, stack: ExitStack, on_warning: OnWarning) -> list[Reader]:
    """Open readers of a bag folder, or of one .mcap or .db3 file, in the order they were recorded.

    A folder without metadata.yaml is read file by file (a recorder that was killed writes none), and so is one whose files
    do not open by it. Of a cut .mcap the complete part is read.

    Raises:
        ValueError: not a bag, or not one file of it can be read; names the file, what was expected and what was found.
    """
    if (path / "metadata.yaml").is_file():
        try:
            return [stack.enter_context(Reader(path))]
        except Exception as error:  # rosbags lets the errors of SQLite, of its decompressors and of struct through
            on_warning(f"{path.name}: does not open as metadata.yaml says ({_reason(error)}); its files are read one by one")
    return [_open_file(file, stack, on_warning) for file in _storage_files(path)]


def _storage_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted((p for p in path.iterdir() if p.suffix in SUFFIXES), key=lambda p: natural_key(p.name))
    if not files:
        raise ValueError(f"{path}: expected a bag with {' or '.join(SUFFIXES)} files, got none that can be read")
    return files


def _open_file(path: Path, stack: ExitStack, on_warning: OnWarning) -> Reader:
    kind = "an mcap" if path.suffix == ".mcap" else "an sqlite3"
    expected = f"{path}: expected {kind} bag"
    if path.stat().st_size == 0:
        raise ValueError(f"{expected}, got an empty file")
    try:
        return stack.enter_context(Reader(path))
    except Exception as error:
        mended = _MendedMcap(path) if _starts_as_mcap(path) else None
        if mended is None:
            raise ValueError(
                f"{expected}, got one that does not open (another kind of file, or cut): {_reason(error)}"
            ) from error
        cause = error
    try:
        reader = stack.enter_context(Reader(mended))  # pyright: ignore[reportArgumentType]
    except Exception as error:
        raise ValueError(f"{expected}, got a damaged one: {_reason(cause)}; its complete part: {_reason(error)}") from error
    on_warning(f"{path.name}: cut or not closed ({_reason(cause)}); the complete part is read, {mended.length} bytes")
    return reader


def _starts_as_mcap(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


class _MendedMcap:
    """Stands in for the path of a cut mcap file: opens as its complete records with a footer behind them."""

    suffix = ".mcap"

    def __init__(self, path: Path):
        self._path, self.name = path, path.name
        with path.open("rb") as file:
            self.length = _complete_length(file, path.stat().st_size)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False

    def open(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Spliced(self._path.open("rb"), self.length, _FOOTER))

    def __str__(self) -> str:
        return str(self._path)


def _complete_length(file: io.BufferedReader, size: int) -> int:
    """Bytes up to the end of the last complete record of the data section."""
    position = len(_MAGIC)
    while position + _RECORD_HEADER.size <= size:
        file.seek(position)
        opcode, length = _RECORD_HEADER.unpack(file.read(_RECORD_HEADER.size))
        end = position + _RECORD_HEADER.size + length
        # A file system may leave zeros behind the last write of a crash; no record has opcode zero.
        if not _FIRST_OPCODE <= opcode <= _LAST_DATA_OPCODE or end > size:
            break
        position = end
    return position


class _Spliced(io.RawIOBase):
    """The first `length` bytes of a file, then `tail`, without a copy of the file."""

    def __init__(self, file: io.BufferedReader, length: int, tail: bytes):
        self._file, self._length, self._tail, self._position = file, length, tail, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length + len(self._tail)}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        data = self._read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _read_at(self, position: int, count: int) -> bytes:
        if position >= self._length:
            return self._tail[position - self._length :][:count]
        self._file.seek(position)
        return self._file.read(min(count, self._length - position))


def message_count(readers: Iterable[Reader], topic: str) -> int:
    return sum(c.msgcount for reader in readers for c in reader.connections if c.topic == topic)
