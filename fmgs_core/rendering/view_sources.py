"""Where the camera of a live picture stands: fixed, or around a person who moves."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from fmgs_core.body.skinning import posed_joints
from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import look_at
from fmgs_core.rendering.views import facing_yaw
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState, Camera


@dataclass(frozen=True)
class Lens:
    """Size and field of view of a drawn picture: square pixels, principal point in the middle."""

    width: int = 640
    """Columns of the drawn pictures."""
    height: int = 640
    """Rows of the drawn pictures."""
    fov_deg: float = 37.0
    """Vertical field of view [degrees]; narrow, so that a body is not distorted."""

    def __post_init__(self):
        for name in ("width", "height"):
            if not 16 <= getattr(self, name) <= 4096:
                raise ValueError(f"Lens.{name}: expected 16 to 4096 pixels, got {getattr(self, name)}")
        if not 1 <= self.fov_deg <= 120:
            raise ValueError(f"Lens.fov_deg: expected 1 to 120 degrees, got {self.fov_deg}")

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        focal = self.height / 2 / math.tan(math.radians(self.fov_deg) / 2)
        return np.array([[focal, 0, self.width / 2], [0, focal, self.height / 2], [0, 0, 1]])

    def camera(self, T_camera_world: Float[np.ndarray, "4 4"] = T_CAMERA_WORLD_UNPOSED) -> Camera:
        """One that stands there; by default at the origin of a world that was put at the camera."""
        return Camera(self.K, self.width, self.height, T_camera_world)


@dataclass(frozen=True)
class AroundConfig:
    """A camera that looks at the person from a direction and a distance."""

    yaw_deg: float = 0.0
    """Direction that it stands in, about the vertical [degrees]: 0 in front, 90 to the left. Of the person when it follows,
    of the world when it does not."""
    elevation_deg: float = 5.0
    """How far above the horizontal it stands [degrees]."""
    framing: float = 1.3
    """Height of the picture over the height of the person."""
    period_s: float = 0.0
    """Time to go once around [s], towards the person's left first; 0 stands still."""
    smoothing_s: float = 0.4
    """Time in which it makes up for 63 % of a step of the person [s]; 0 is rigid."""

    def __post_init__(self):
        if not -360 <= self.yaw_deg <= 360:
            raise ValueError(f"AroundConfig.yaw_deg: expected -360 to 360 degrees, got {self.yaw_deg}")
        if not -80 <= self.elevation_deg <= 80:
            raise ValueError(f"AroundConfig.elevation_deg: expected -80 to 80 degrees, got {self.elevation_deg}")
        if not 0.1 <= self.framing <= 20:
            raise ValueError(f"AroundConfig.framing: expected 0.1 to 20, got {self.framing}")
        if self.period_s != 0 and not 0.5 <= self.period_s <= 3600:
            raise ValueError(f"AroundConfig.period_s: expected 0 or 0.5 to 3600 s, got {self.period_s}")
        if not 0 <= self.smoothing_s <= 60:
            raise ValueError(f"AroundConfig.smoothing_s: expected 0 to 60 s, got {self.smoothing_s}")


class AroundView:
    """Keeps the person in the middle of the picture; smooth in place and, when it turns with the person, in heading.

    Args:
        turns_with_body: whether yaw counts from where the person faces, or from the world's +z.
    """

    def __init__(self, body: BodyModel, config: AroundConfig, lens: Lens, *, turns_with_body: bool):
        self._body, self._config, self._lens, self._turns = body, config, lens, turns_with_body
        self._start_s = self._last_s = math.nan
        self._center, self._heading = np.zeros(3), 0j

    def camera(self, state: BodyState, time_s: float) -> Camera:
        """The view at a time [s]. A time before the last one starts over, without smoothing."""
        center = root_position(self._body, state)
        heading = complex(math.cos(yaw := facing_yaw(state)), math.sin(yaw)) if self._turns else 1 + 0j
        share = self._share(time_s)
        self._center = self._center + share * (center - self._center)
        self._heading += share * (heading - self._heading)
        self._last_s = time_s
        return self._lens.camera(look_at(self._center + self._offset(state, time_s), self._center))

    def _share(self, time_s: float) -> float:
        """Of the way to where the person is, that the camera goes at once."""
        if not time_s >= self._last_s:
            self._start_s = time_s
            return 1.0
        if self._config.smoothing_s == 0:
            return 1.0
        return 1 - math.exp((self._last_s - time_s) / self._config.smoothing_s)

    def _offset(self, state: BodyState, time_s: float) -> Float[np.ndarray, "3"]:
        """From the person to the camera [m, world]."""
        config = self._config
        turned = 2 * math.pi * (time_s - self._start_s) / config.period_s if config.period_s else 0.0
        yaw = math.radians(config.yaw_deg) + math.atan2(self._heading.imag, self._heading.real) + turned
        up = math.radians(config.elevation_deg)
        height_m = _height(self._body, state.betas.tobytes())
        distance = config.framing * height_m * self._lens.K[1, 1] / self._lens.height
        return distance * np.array([math.sin(yaw) * math.cos(up), math.sin(up), math.cos(yaw) * math.cos(up)])


def root_position(body: BodyModel, state: BodyState) -> Float[np.ndarray, "3"]:
    """The posed pelvis [m, world]: posing turns the body about it."""
    return _rest_root(body, state.betas.tobytes()) + state.transl.astype(np.float64)


@lru_cache(maxsize=8)
def _rest_root(body: BodyModel, betas: bytes) -> Float[np.ndarray, "3"]:
    return posed_joints(body, _standing(body, betas))[0].astype(np.float64)


@lru_cache(maxsize=8)
def _height(body: BodyModel, betas: bytes) -> float:
    return body.height(_standing(body, betas).betas)


def _standing(body: BodyModel, betas: bytes) -> BodyState:
    neutral = body.neutral_state()
    return BodyState(np.frombuffer(betas, np.float32).copy(), neutral.pose, neutral.transl, neutral.expression)
