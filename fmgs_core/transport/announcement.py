"""What a server says of a version, and a client needs to fetch it."""

import re
from dataclasses import dataclass

from fmgs_core.transport.endpoints import host_of

MAX_COUNT = 2**63 - 1


@dataclass(frozen=True)
class Announcement:
    """One version of one avatar.

    Raises:
        ValueError: a field that no server writes.
    """

    avatar_id: str
    """Names the training run; another after a reset or a load."""
    version: int
    """From 1, one more with each publication."""
    bytes: int
    """Size of the content."""
    sha256: str
    """Of the content, 64 hexadecimal digits."""
    endpoint: str
    """tcp://HOST:PORT to fetch it from."""
    server_key: str
    """CURVE public key of the server, Z85; empty on loopback without keys."""
    iterations: int
    """Training iterations behind it."""
    frames_seen: int
    """Frames of the stream behind it."""
    gaussians: int
    """How many it has."""
    body_model: str
    """Name of the body it sits on."""

    def __post_init__(self):
        for name, least in (("version", 1), ("bytes", 1), ("iterations", 0), ("frames_seen", 0), ("gaussians", 0)):
            if not least <= getattr(self, name) <= MAX_COUNT:
                raise ValueError(f"Announcement.{name}: expected at least {least}, got {getattr(self, name)}")
        if not 0 < len(self.avatar_id.encode()) <= 64:
            raise ValueError(f"Announcement.avatar_id: expected 1 to 64 bytes, got {self.avatar_id!r}")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"Announcement.sha256: expected 64 hexadecimal digits, got {self.sha256!r}")
        if self.server_key and len(self.server_key) != 40:
            raise ValueError(f"Announcement.server_key: expected 40 characters of Z85 or none, got {self.server_key!r}")
        host_of(self.endpoint, "Announcement.endpoint")
