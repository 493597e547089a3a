"""What goes wrong in real recordings, done to a ground-truth stream on purpose: what the fit sees changes, the truth does not.

Deterministic by seed and frame number. Half-turn leaves frames out; the others change every frame, a third or a quarter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float

from fmgs_core.body.skinning import posed_joints
from fmgs_core.body.template import BodyModel
from fmgs_core.priors import Prior
from fmgs_core.stream.replay import Frames, ReplaySource
from fmgs_core.stream.sequence import SequenceSplit
from fmgs_core.stream.source import Clock, SourceConfig
from fmgs_core.types import Frame, Image, PriorMaps

DISTURBANCES = ("none", "exposure", "blur", "occlusion", "masked-occlusion", "half-turn", "masks")
"""exposure: gain and white balance drift, then step. blur: a third of the frames. occlusion: something stands before a third
of them and the mask leaves it out; masked-occlusion: the mask takes it for the person. half-turn: only frames in which the
person faces the camera. masks: a quarter of them wrong."""

EXPOSURE_GAINS = 0.6, 1.4  # at the ends of the drift, before the step and before their geometric mean is made 1
EXPOSURE_STEP = 0.75  # factor on the gain of the last third
WHITE_BALANCE = 0.05  # of red up and blue down, and back, in log gain
BLUR_PX = 9, 15
GROWN_PX = 6
_SHARES = {"blur": 3, "occlusion": 3, "masked-occlusion": 3, "masks": 4}
# Joints of CONVENTIONS.md: upper and lower end of the parts that are cut off.
_LIMBS = ((18, 20), (19, 21), (4, 7), (5, 8), (16, 18), (17, 19))


def exposure_gains(count: int) -> Float[np.ndarray, "n 3"]:
    """Factor per frame and channel on stored values; a factor on light is a factor on them too (gamma is a power).

    Their geometric mean is 1, so that the truth's brightness stays the one to find.
    """
    time = np.linspace(0, 1, count)
    log_gain = (1 - time) * np.log(EXPOSURE_GAINS[0]) + time * np.log(EXPOSURE_GAINS[1])
    log_gain += np.where(time >= 2 / 3, np.log(EXPOSURE_STEP), 0)
    tint = WHITE_BALANCE * np.sin(2 * np.pi * time)[:, None] * [1.0, 0.0, -1.0]
    log_gains = log_gain[:, None] + tint
    return np.exp(log_gains - log_gains.mean(0))


def exposed(rgb: Image, gain: Float[np.ndarray, "3"]) -> Image:
    """As a camera of another exposure stores it, clipped where it is overexposed."""
    return np.rint(rgb * gain).clip(0, 255).astype(np.uint8)


def motion_blurred(rgb: Image, mask: Float[np.ndarray, "h w"], room: Image, length_px: int, angle: float) -> Image:
    """The person moved along a straight line [rad from the x axis] while the shutter was open, before a room that stood still.

    Args:
        mask: the person's coverage before the motion.
    """
    kernel, half = np.zeros((length_px, length_px), np.float32), (length_px - 1) / 2
    for at in np.linspace(-half, half, 8 * length_px):
        kernel[round(half + at * np.sin(angle)), round(half + at * np.cos(angle))] += 1
    kernel /= kernel.sum()
    behind = room.astype(np.float32)
    person = rgb - behind * (1 - mask[..., None])
    change = cv2.filter2D(person, -1, kernel) - person
    change -= behind * (cv2.filter2D(mask, -1, kernel) - mask)[..., None]
    return np.rint(rgb + change).clip(0, 255).astype(np.uint8)


def occluder_region(mask: Float[np.ndarray, "h w"], rng: np.random.Generator) -> Bool[np.ndarray, "h w"]:
    """An upright pole or a box over part of the person, no higher or lower than the person reaches."""
    x0, y0, x1, y1 = _box(mask)
    height, width = y1 - y0, x1 - x0
    pole = rng.random() < 0.5
    h = height if pole else round(rng.uniform(0.2, 0.35) * height)
    w = round(rng.uniform(0.08, 0.14) * height if pole else rng.uniform(0.5, 1.0) * width)
    left = round(rng.uniform(x0, max(x0, x1 - w)))
    top = round(rng.uniform(y0, max(y0, y1 - h)))
    region = np.zeros(mask.shape, bool)
    region[top : top + h, left : left + w] = True
    return region


def occluded(rgb: Image, region: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> Image:
    """Something of one colour with a little grain."""
    picture, color = rgb.copy(), rng.integers(30, 226, 3)
    grain = rng.normal(0, 6, (int(region.sum()), 1))
    picture[region] = np.rint(color + grain).clip(0, 255).astype(np.uint8)
    return picture


def wrong_mask(
    mask: Float[np.ndarray, "h w"],
    true_mask: Float[np.ndarray, "h w"],
    joints_px: Float[np.ndarray, "J 2"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "h w"]:
    """One of: a limb cut off, a blob of the room added at the outline, grown or shrunk all round.

    Args:
        true_mask: says where the person is; `mask` may be a network's.
    """
    kind = rng.integers(4)
    if kind >= 2:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GROWN_PX + 1, 2 * GROWN_PX + 1))
        return cv2.dilate(mask, kernel) if kind == 2 else cv2.erode(mask, kernel)
    _, top, _, bottom = _box(true_mask)
    wrong = mask.copy()
    if kind == 0:
        wrong[_along_a_limb(mask.shape, joints_px, bottom - top, rng)] = 0
    else:
        wrong[_at_the_outline(true_mask, bottom - top, rng)] = 1
    return wrong


def _along_a_limb(
    shape: tuple[int, ...], joints_px: Float[np.ndarray, "J 2"], height_px: int, rng: np.random.Generator
) -> Bool[np.ndarray, "h w"]:
    area = np.zeros(shape, np.uint8)
    a, b = joints_px[list(_LIMBS[rng.integers(len(_LIMBS))])].round().astype(int).tolist()
    return cv2.line(area, a, b, (1,), max(1, round(0.12 * height_px))) > 0


def _at_the_outline(mask: Float[np.ndarray, "h w"], height_px: int, rng: np.random.Generator) -> Bool[np.ndarray, "h w"]:
    rows, columns = np.nonzero((mask > 0.5) & (cv2.erode(mask, np.ones((3, 3))) <= 0.5))
    at, area = rng.integers(len(rows)), np.zeros(mask.shape, np.uint8)
    axes = [max(1, round(rng.uniform(0.06, 0.12) * height_px)) for _ in range(2)]
    return cv2.ellipse(area, (int(columns[at]), int(rows[at])), axes, rng.uniform(0, 180), 0, 360, (1,), -1) > 0


def _box(mask: Float[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask > 0.5)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@dataclass(frozen=True)
class DisturbanceConfig:
    kind: str = "none"
    """One of DISTURBANCES."""
    seed: int = 0

    def __post_init__(self):
        if self.kind not in DISTURBANCES:
            raise ValueError(f"DisturbanceConfig.kind: expected one of {DISTURBANCES}, got {self.kind!r}")


class Disturbed:
    """A split as a disturbed stream: its frames, and what a prior says of them.

    Raises:
        ValueError: half-turn of a person who never faces the camera.
    """

    def __init__(self, split: SequenceSplit, body: BodyModel, config: DisturbanceConfig):
        self._split, self._body, self._config = split, body, config
        self.indices = [i for i in range(len(split)) if config.kind != "half-turn" or _faces_camera(split, i)]
        if not self.indices:
            raise ValueError(f"{split.name}: expected frames in which the person faces the camera for half-turn, got none")
        chosen = np.random.default_rng(config.seed).permutation(len(split))
        self.hit = frozenset(chosen[: round(len(split) / _SHARES[config.kind])].tolist() if config.kind in _SHARES else ())
        """Numbers of the frames that are disturbed, of the kinds that disturb some. The person must be seen in them."""
        self._index_of = {int(split.stamps_ns[i]): i for i in self.indices}
        self._gains = exposure_gains(len(split))
        room = split.background()
        self._room = np.zeros_like(split.frame(self.indices[0]).rgb) if room is None else room

    def frame(self, index: int) -> Frame:
        frame, rng = self._split.frame(index), self._rng(index)
        if self._config.kind == "exposure":
            return replace(frame, rgb=exposed(frame.rgb, self._gains[index]))
        if index not in self.hit:
            return frame
        mask = self._split.mask(index)
        if self._config.kind == "blur":
            length, angle = int(rng.integers(BLUR_PX[0], BLUR_PX[1] + 1)), rng.uniform(0, np.pi)
            return replace(frame, rgb=motion_blurred(frame.rgb, mask, self._room, length, angle))
        if self._config.kind in ("occlusion", "masked-occlusion"):
            return replace(frame, rgb=occluded(frame.rgb, occluder_region(mask, rng), rng))
        return frame

    def maps(self, frame: Frame, maps: PriorMaps) -> PriorMaps:
        """What a prior that found `maps` in this frame is made to say."""
        index = self._index_of[frame.stamp_ns]
        if index not in self.hit or maps.mask is None:
            return maps
        true_mask, rng = self._split.mask(index), self._rng(index)
        if self._config.kind == "masks":
            joints = frame.camera.project(posed_joints(self._body, self._split.states[index]))
            return replace(maps, mask=wrong_mask(maps.mask, true_mask, joints, rng).astype(np.float32))
        if self._config.kind in ("occlusion", "masked-occlusion"):
            return _without(maps, occluder_region(true_mask, rng), float(self._config.kind == "masked-occlusion"))
        return maps

    def source(self, config: SourceConfig, name: str, fps: float) -> ReplaySource:
        """Paced by the frames' own stamps: frames left out leave a gap."""
        length = len(self.indices)
        return ReplaySource(name, self._frames(), config, fps=fps, length=length, estimated=lambda: False, clock=Clock())

    def _frames(self) -> Frames:
        for index in self.indices:
            yield self.frame(index)

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self._config.seed, index))


class DisturbedPrior:
    """A prior that looks at disturbed frames, and whose maps are disturbed as well."""

    def __init__(self, prior: Prior, disturbed: Disturbed):
        self._prior, self._disturbed = prior, disturbed
        self.close: Callable[[], None] = prior.close

    def predict(self, frame: Frame) -> PriorMaps:
        return self._disturbed.maps(frame, self._prior.predict(frame))


def _faces_camera(split: SequenceSplit, index: int) -> bool:
    root, _ = cv2.Rodrigues(split.states[index].pose[0].astype(np.float64))
    return float((split.cameras[index].T_camera_world[:3, :3] @ root)[2, 2]) < 0


def _without(maps: PriorMaps, region: Bool[np.ndarray, "h w"], mask_value: float) -> PriorMaps:
    """Nothing is known of the body in the region; the mask says one thing of all of it."""

    def cleared(values: np.ndarray | None, unknown: float) -> np.ndarray | None:
        if values is None:
            return None
        values = values.copy()
        values[region] = unknown
        return values

    return replace(
        maps,
        mask=cleared(maps.mask, mask_value),
        normal=cleared(maps.normal, 0.0),
        depth=cleared(maps.depth, np.nan),
        labels=cleared(maps.labels, 255.0),
    )
