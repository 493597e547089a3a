"""Requests and replies: fixed layouts, big-endian, nothing nested and nothing executable.

Request, one ZeroMQ frame: "FMGS", protocol 1, ticket (8), version (8), offset (8), length (4), avatar id (the rest).
Reply, two frames: "FMGS", kind (1), ticket (8); then of DATA the bytes, of GONE the newest version (8), of BAD a reason.
A client has one request under way at a time; the ticket tells its reply from a late one to an earlier request.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

CHUNK_BYTES = 512 * 1024
"""Largest piece of one reply: 4 ms of a gigabit link, and what a break costs at most."""
_MAGIC = b"FMGS"
_REQUEST = struct.Struct(">4sBQQQI")
_REPLY = struct.Struct(">4sBQ")
_NEWEST = struct.Struct(">Q")
MAX_REQUEST_BYTES = _REQUEST.size + 64
"""The longest request."""


class Kind(Enum):
    """What a reply carries."""

    DATA = 0
    GONE = 1
    BAD = 2


@dataclass(frozen=True)
class Request:
    """`length` bytes of a version from `offset` on."""

    ticket: int
    avatar_id: str
    version: int
    offset: int
    length: int

    def packed(self) -> bytes:
        return _REQUEST.pack(_MAGIC, 1, self.ticket, self.version, self.offset, self.length) + self.avatar_id.encode()


@dataclass(frozen=True)
class Reply:
    """What comes back."""

    kind: Kind
    ticket: int
    payload: bytes | memoryview

    @staticmethod
    def gone(ticket: int, newest: int) -> "Reply":
        return Reply(Kind.GONE, ticket, _NEWEST.pack(newest))

    @property
    def newest(self) -> int:
        """Version that a GONE names."""
        return _NEWEST.unpack(self.payload)[0]

    @property
    def reason(self) -> str:
        """Of a BAD; only so much as fits a line."""
        return bytes(self.payload[:200]).decode(errors="replace")

    def frames(self) -> list[bytes | memoryview]:
        return [_REPLY.pack(_MAGIC, self.kind.value, self.ticket), self.payload]


def parsed_request(frame: bytes) -> Request:
    """Raises:
    ValueError: not a request of this protocol.
    """
    if not _REQUEST.size <= len(frame) <= MAX_REQUEST_BYTES:
        raise ValueError(f"request: expected {_REQUEST.size} to {MAX_REQUEST_BYTES} bytes, got {len(frame)}")
    magic, protocol, ticket, version, offset, length = _REQUEST.unpack_from(frame)
    if (magic, protocol) != (_MAGIC, 1):
        raise ValueError(f"request: expected {_MAGIC!r} and protocol 1, got {magic!r} and {protocol}")
    return Request(ticket, frame[_REQUEST.size :].decode(), version, offset, length)


def parsed_reply(frames: Sequence[bytes]) -> Reply:
    """Raises:
    ValueError: not a reply of this protocol.
    """
    sizes = [len(frame) for frame in frames]
    if len(frames) != 2 or sizes[0] != _REPLY.size:
        raise ValueError(f"reply: expected a header of {_REPLY.size} bytes and a payload, got frames of {sizes[:8]} bytes")
    magic, kind, ticket = _REPLY.unpack(frames[0])
    if magic != _MAGIC or kind not in {k.value for k in Kind} or (kind == Kind.GONE.value and sizes[1] != _NEWEST.size):
        raise ValueError(f"reply: expected one of this protocol, got header {frames[0]!r} and {sizes[1]} bytes")
    return Reply(Kind(kind), ticket, frames[1])
