"""A reader beside a live session that draws every tracked pose with the newest avatar, and notes how old the view is."""

import threading
from collections.abc import Callable

import numpy as np

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.body.template import BodyModel
from fmgs_core.concurrency import Latest
from fmgs_core.rendering.pictures import color_picture, draw
from fmgs_core.session.events import Event, SnapshotTaken
from fmgs_core.session.observer import PoseSource
from fmgs_core.tracking.tracker import TrackedBody, TrackingStatus
from fmgs_core.types import BodyState, Camera, Channel, Frame, PriorMaps


class Viewer:
    """Stands between a session and its tracker as `poses`, hears its events, and draws in a thread of its own.

    Args:
        age_s: seconds since the frame of this stamp was released.
    """

    def __init__(self, body: BodyModel, poses: PoseSource, age_s: Callable[[int], float]):
        self._body, self._poses, self._age_s = body, poses, age_s
        self._tracked: Latest[tuple[int, BodyState, Camera]] = Latest()
        self._snapshot: AvatarSnapshot | None = None
        self._shown: AvatarSnapshot | None = None
        self._avatar: Avatar | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="fmgs-viewer", daemon=True)
        self.views: list[tuple[int, float]] = []
        """Stamp [ns] of the frame whose pose it shows, and its age [s] when the view was complete."""

    def update(self, frame: Frame, maps: PriorMaps) -> TrackedBody:
        """The tracker's; called in the session's observer thread."""
        tracked = self._poses.update(frame, maps)
        if tracked.status is TrackingStatus.TRACKING and tracked.state is not None:
            self._tracked.put((frame.stamp_ns, tracked.state, frame.camera))
        return tracked

    def hear(self, event: Event) -> None:
        """Called in the session's own thread."""
        if isinstance(event, SnapshotTaken):
            self._snapshot = event.snapshot

    def __enter__(self) -> "Viewer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Raises what stopped the drawing, if something did."""
        self._tracked.close()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while (taken := self._tracked.take()) is not None:
                if self._snapshot is not None:
                    self._draw(self._snapshot, *taken)
        except Exception as error:  # handed over to the thread that closes the viewer
            self._failure = error

    def _draw(self, snapshot: AvatarSnapshot, stamp_ns: int, state: BodyState, camera: Camera) -> None:
        color_picture(draw(self._newest(snapshot), state, camera, frozenset({Channel.RGB})))
        self.views.append((stamp_ns, self._age_s(stamp_ns)))

    def _newest(self, snapshot: AvatarSnapshot) -> Avatar:
        """One avatar takes over what snapshots bring until it has grown: making a new one for each would cost ten views."""
        if self._avatar is None or self._avatar.observed.shape != snapshot.tensors["observed"].shape:
            self._avatar = snapshot.avatar(self._body)
        elif snapshot is not self._shown:
            if not np.array_equal(self._avatar.betas, snapshot.tensors["betas"].numpy()):
                self._avatar.set_betas(snapshot.tensors["betas"].numpy())
            self._avatar.load_state_dict({name: value for name, value in snapshot.tensors.items() if name != "betas"})
        self._shown = snapshot
        return self._avatar
