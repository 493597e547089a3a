"""A person of flat colours on a grey wall, with everything a prior and a tracker would find: sessions without networks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from fmgs_core.body.default import default_body
from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.config import SessionConfig
from fmgs_core.geometry import look_at
from fmgs_core.session.events import Event, FrameTracked, Progress
from fmgs_core.tracking.tracker import TrackedBody, TrackingStatus
from fmgs_core.types import BodyState, Camera, Frame, PriorMaps

BODY = default_body()
FRAME_NS = 100_000_000
WALL = 110
# Small crops and few steps; sessions are about order and loss of things, not about quality.
CONFIG = SessionConfig(
    gaussians=0, template_maps=False, iterations_per_frame=1, final_iterations=2, budget_s=5.0, progress_every_s=1e-9
)


def camera(side: int = 48) -> Camera:
    K = np.array([[1.4 * side, 0, side / 2], [0, 1.4 * side, side / 2], [0, 0, 1]])
    return Camera(K, side, side, look_at(np.array([0.0, 0.0, 3.0]), np.zeros(3)))


@cache
def person(index: int, side: int = 48) -> "Shot":
    """The person turned by 0.4 rad more with every index."""
    neutral = BODY.neutral_state()
    pose = neutral.pose.copy()
    pose[0] = (0, 0.4 * index, 0)
    pose[16], pose[17] = (0, 0, -1.0), (0, 0, 1.0)
    state = replace(neutral, pose=pose)
    drawing = draw_mesh(posed_vertices(BODY, state), BODY.faces, camera(side))
    mask = (drawing.face >= 0).astype(np.float32)
    colors = np.where(np.arange(BODY.num_faces)[:, None] % 2, (200, 60, 40), (40, 60, 200))
    rgb = np.where(mask[..., None] > 0, colors[drawing.face], WALL).astype(np.uint8)
    return Shot(rgb, camera(side), mask, state)


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture and what is found in it."""

    rgb: np.ndarray
    camera: Camera
    mask: np.ndarray | None = None
    state: BodyState | None = None
    status: TrackingStatus = TrackingStatus.TRACKING
    confidence: float = 0.9
    inflation: np.ndarray | None = None


def nobody(side: int = 48, status: TrackingStatus = TrackingStatus.LOST) -> Shot:
    return Shot(np.full((side, side, 3), WALL, np.uint8), camera(side), status=status, confidence=0.0)


def stranger(index: int) -> Shot:
    """Noise where the person was, in a pose that is hardly believed."""
    noise = np.random.default_rng(index).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    return replace(person(index), rgb=noise, confidence=0.2)


@dataclass
class Script:
    """Source, prior and pose source in one: what each frame shows is written down beforehand."""

    shots: Sequence[Shot]
    source_breaks_at: int | None = None
    prior_breaks_at: int | None = None
    on_read: Callable[[int], None] = lambda index: None
    name: str = "script"
    fps: float | None = 10.0
    live: bool = False
    camera_is_estimated: bool = True
    dropped: int = 0
    given: int = field(default=0, init=False)

    @property
    def length(self) -> int | None:
        return len(self.shots)

    @property
    def ended(self) -> bool:
        return self.given >= len(self.shots)

    def read(self) -> Frame | None:
        if self.given == self.source_breaks_at:
            raise ValueError("a page is torn out")
        if self.ended:
            return None
        self.on_read(self.given)
        shot, stamp_ns = self.shots[self.given], self.given * FRAME_NS
        self.given += 1
        return Frame(stamp_ns, shot.rgb, shot.camera)

    def read_latest(self, max_age_s: float) -> Frame | None:
        return self.read()

    def predict(self, frame: Frame) -> PriorMaps:
        index = frame.stamp_ns // FRAME_NS
        if index == self.prior_breaks_at:
            raise ValueError("the network forgot its weights")
        return PriorMaps(mask=self.shots[index].mask)

    def update(self, frame: Frame, maps: PriorMaps) -> TrackedBody:
        shot = self.shots[frame.stamp_ns // FRAME_NS]
        return TrackedBody(shot.state, shot.status, shot.confidence, False, shot.inflation)

    def close(self) -> None: ...

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None: ...


class ManualClock:
    """Time that passes only by `advance`."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class StreamClock:
    """Seconds for sessions at pace live: one passes with each Progress, once all of the script's frames were taken in.

    So the budget ends after a fixed number of steps however slow the machine is.
    """

    script: Script
    now_s: float = 0.0
    _tracked: int = 0

    def __call__(self) -> float:
        self.now_s += 1e-6  # a beat needs some time to pass
        return self.now_s

    def hear(self, event: Event) -> None:
        self._tracked += isinstance(event, FrameTracked)
        frames = len(self.script.shots) if self.script.source_breaks_at is None else self.script.source_breaks_at
        self.now_s += isinstance(event, Progress) and self._tracked >= frames


def turning(count: int) -> Iterator[Shot]:
    return (person(i) for i in range(count))
