"""Built engines on disk: who they are for, a hash of what follows, and then the runtime's own bytes.

A serialised engine is code for one GPU and one version of the runtime. One that is damaged or of another machine must not
reach the runtime at all, which may crash on it; so the header is ours, and is checked first.
"""

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fmgs_core.atomic import replacing

_MAGIC = b"fmgs engine 1\n"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class EngineKey:
    """All that decides whether an engine may be used."""

    onnx_sha256: str
    tensorrt: str
    """Version."""
    gpu: str
    compute_capability: str
    dtype: str
    shapes: str
    """Of input and output, with the smallest, usual and largest batch."""

    def digest(self) -> str:
        """For a file name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def engine_path(onnx: Path, key: EngineKey) -> Path:
    """Beside the ONNX file; another key is another file."""
    return onnx.with_name(f"{onnx.name}.{key.digest()}.engine")


def write_engine(path: Path, key: EngineKey, payload: bytes, verified: str) -> None:
    """
    Args:
        verified: how far it was found to be from the network it is of.

    Raises:
        ValueError: the folder does not exist.
    """
    described = {"key": asdict(key), "bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest(), "verified": verified}
    header = json.dumps(described).encode()
    with replacing(path) as part, part.open("wb") as file:
        file.write(_MAGIC + _LENGTH.pack(len(header)) + hashlib.sha256(header).digest() + header)
        file.write(payload)


def read_engine(path: Path, key: EngineKey) -> tuple[bytes, str]:
    """The runtime's bytes, and how the engine was verified.

    Raises:
        ValueError: no engine file, one that is cut off or changed, or one for another key; says which part differs.
    """
    with path.open("rb") as file:
        header = _header(path, file.read(len(_MAGIC)), file.read(_LENGTH.size), file)
        _check_key(path, key, header["key"])
        payload = file.read()
    if len(payload) != header["bytes"]:
        raise _refused(path, f"expected {header['bytes']} bytes of engine, got {len(payload)}")
    if (found := hashlib.sha256(payload).hexdigest()) != header["sha256"]:
        raise _refused(path, f"expected sha256 {header['sha256'][:16]} of its contents, got {found[:16]}")
    return payload, header["verified"]


def _header(path: Path, magic: bytes, packed: bytes, file: Any) -> dict[str, Any]:
    if magic != _MAGIC or len(packed) != _LENGTH.size:
        raise _refused(path, f"expected a file that starts with {_MAGIC!r}, got {magic!r}")
    (length,) = _LENGTH.unpack(packed)
    expected = file.read(hashlib.sha256().digest_size)
    text = file.read(min(length, _LONGEST_HEADER))
    if len(text) != length or hashlib.sha256(text).digest() != expected:
        raise _refused(path, "expected the header that was written, got another one or a part of it")
    return json.loads(text)


def _check_key(path: Path, key: EngineKey, found: dict[str, str]) -> None:
    other = [f"{name} {found.get(name)!r} for {value!r}" for name, value in asdict(key).items() if found.get(name) != value]
    if other:
        raise _refused(path, f"it was built for something else: {', '.join(other)}")


def _refused(path: Path, why: str) -> ValueError:
    return ValueError(f"{path.name} is not used: {why}. Delete {path} or build it again: `fmgs models build`")
