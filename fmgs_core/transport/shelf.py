"""The newest versions of one avatar, as bytes."""

import hashlib
import threading
import uuid
from dataclasses import dataclass

from fmgs_core.avatar.snapshot import AvatarSnapshot, to_bytes


@dataclass(frozen=True)
class Version:
    """One published version."""

    avatar_id: str
    number: int
    content: bytes
    sha256: str


class Shelf:
    """Written by the trainer's side, read by the server's thread; the lock is held for a few lines of Python only."""

    def __init__(self, keep: int):
        if keep < 1:
            raise ValueError(f"keep: expected at least one version, got {keep}")
        self._keep, self._lock = keep, threading.Lock()
        self._versions: list[Version] = []
        self._avatar_id, self._number = str(uuid.uuid4()), 0

    def start_anew(self) -> None:
        """Another avatar: versions of the one before are gone."""
        with self._lock:
            self._versions, self._avatar_id, self._number = [], str(uuid.uuid4()), 0

    def put(self, snapshot: AvatarSnapshot) -> Version:
        content = to_bytes(snapshot)
        sha256 = hashlib.sha256(content).hexdigest()
        with self._lock:
            self._number += 1
            version = Version(self._avatar_id, self._number, content, sha256)
            self._versions = [*self._versions, version][-self._keep :]
            return version

    def find(self, avatar_id: str, number: int) -> Version | None:
        with self._lock:
            return next((v for v in self._versions if (v.avatar_id, v.number) == (avatar_id, number)), None)

    @property
    def newest(self) -> int:
        """0 when there is none."""
        with self._lock:
            return self._versions[-1].number if self._versions else 0
