"""The avatar that is drawn: from a file or the newest snapshot, kept while its successor is fetched. No ROS needed."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from fmgs_core.avatar.completion import complete
from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot, load_avatar
from fmgs_core.body.template import BodyModel
from fmgs_core.transport import Announcement, SnapshotClient, SnapshotUnreachable, TransportError

_STOP_CHECK_S = 0.1


@dataclass(frozen=True, eq=False)
class Drawable:
    """An avatar and where it is from. Nobody writes it any more."""

    avatar: Avatar
    name: str
    """For people."""
    version: int
    """Of the trainer's snapshots; 0 for a file."""
    key: tuple[str, int] | Path


class AvatarMaker:
    """Makes avatars that can be drawn. The divided mesh is kept: snapshots of one run share it, and it takes 0.7 s of the
    0.9 s that 55 thousand Gaussians take anew."""

    def __init__(self, body: BodyModel, device: str = "cpu", fill_unseen: bool = True):
        self._body, self._device, self._fill = body, device, fill_unseen
        self._divided: BodyModel | None = None

    def make(self, snapshot: AvatarSnapshot) -> Avatar:
        """Raises:
        ValueError: it sits on another body.
        """
        gaussians = len(snapshot.tensors.get("observed", ()))
        same = self._divided is not None and len(self._divided.kept_faces) == gaussians
        avatar = snapshot.avatar(self._divided if same and self._divided else self._body, self._device)
        self._divided = avatar.body
        if self._fill:
            complete(avatar)
        return avatar


class AvatarKeeper:
    """`run` is the work of a thread; the other methods may be called from any other.

    A file holds until another file, or nothing, is asked for; otherwise the newest announcement is fetched, over and over
    while the trainer does not answer. What was drawable stays so until its successor is.

    Args:
        on_problem: told once when something begins to go wrong.
        on_new: told of each new avatar.
    """

    def __init__(
        self,
        maker: AvatarMaker,
        *,
        retry_s: float = 1.0,
        on_problem: Callable[[str], None] = lambda problem: None,
        on_new: Callable[[Drawable], None] = lambda drawable: None,
    ):
        self._maker, self._retry_s = maker, retry_s
        self._on_problem, self._on_new = on_problem, on_new
        self._files: queue.SimpleQueue[tuple[Path | None, Future[str]]] = queue.SimpleQueue()
        self._announced: Announcement | None = None
        self._retry_at_s, self._wake = 0.0, threading.Event()
        self.current: Drawable | None = None
        self.problem: str | None = None
        """Why the newest avatar is not the one that is drawn; None while it is."""
        self.holds_file = False

    def announce(self, announcement: Announcement) -> None:
        """The newest announcement wins; it is remembered while a file is drawn."""
        self._announced, self._retry_at_s = announcement, 0.0
        self._wake.set()

    def load(self, path: Path | None) -> "Future[str]":
        """Asks for a file, or with None for the trainer's snapshots again. The future says what is drawn, or raises
        ValueError."""
        future: Future[str] = Future()
        self._files.put((path, future))
        self._wake.set()
        return future

    def run(self, client: SnapshotClient, stop: threading.Event) -> None:
        """Until stopped; a fetch under way ends when the client is closed."""
        while not stop.is_set():
            self._wake.wait(_STOP_CHECK_S)
            self._wake.clear()
            while not self._files.empty():
                self._load(*self._files.get())
            if self._is_due():
                self._fetch(client, stop)

    def load_now(self, path: Path) -> None:
        """Before `run`: draws a file.

        Raises:
            ValueError: no such file, or one that does not fit the body.
        """
        drawable = Drawable(self._maker.make(load_avatar(path)), f"file {path}", 0, path)
        self.holds_file = True
        self._take(drawable)

    def _load(self, path: Path | None, future: "Future[str]") -> None:
        if path is None:
            self.holds_file = False
            future.set_result("drawing the trainer's snapshots")
            return
        try:
            self.load_now(path)
        except (ValueError, OSError) as error:
            future.set_exception(error)
        else:
            future.set_result(f"drawing {path}")

    def _is_due(self) -> bool:
        announced = self._announced
        if announced is None or self.holds_file or time.monotonic() < self._retry_at_s:
            return False
        return self.current is None or self.current.key != (announced.avatar_id, announced.version)

    def _fetch(self, client: SnapshotClient, stop: threading.Event) -> None:
        announced = self._announced
        assert announced is not None
        try:
            avatar = self._maker.make(client.fetch(announced))
        except (TransportError, ValueError) as error:
            if not stop.is_set():
                self._set_back(announced, error)
            return
        name = f"version {announced.version} of avatar {announced.avatar_id[:8]}"
        self._take(Drawable(avatar, name, announced.version, (announced.avatar_id, announced.version)))

    def _set_back(self, announced: Announcement, error: Exception) -> None:
        """Only silence is worth another try; a version that is gone, or wrong, stays so."""
        if isinstance(error, SnapshotUnreachable):
            self._retry_at_s = time.monotonic() + self._retry_s
        elif self._announced is announced:
            self._announced = None
        if self.problem is None:
            self._on_problem(str(error))
        self.problem = str(error)

    def _take(self, drawable: Drawable) -> None:
        self.current, self.problem = drawable, None
        self._on_new(drawable)
