"""The values that cross borders between stages. All frozen; conventions are those of CONVENTIONS.md.

Stream-side values (frames, prior maps, body states) are numpy; what is differentiated (splats, renderings) is torch.
"""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

Image = UInt8[np.ndarray, "h w 3"]

# World axes for a camera whose pose nobody knows: y up, the camera at the origin looking along -z, so that a person who
# faces it faces +z and has root orientation zero (CONVENTIONS.md).
T_CAMERA_WORLD_UNPOSED = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Camera:
    """Pinhole camera, OpenCV axes (x right, y down, z forward), undistorted, pixel centres at +0.5.

    Raises:
        ValueError: a matrix of the wrong shape, a focal length or size that is not positive, or a value that is not finite.
    """

    K: Float[np.ndarray, "3 3"]
    """Intrinsics in pixels: u = fx * x / z + cx with u = 0.5 at the centre of the leftmost pixel."""
    width: int
    height: int
    T_camera_world: Float[np.ndarray, "4 4"]
    """x_camera = T_camera_world @ x_world, metres."""

    def __post_init__(self):
        for name, shape in (("K", (3, 3)), ("T_camera_world", (4, 4))):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"Camera.{name}: expected finite values of shape {shape}, got {value.tolist()}")
            object.__setattr__(self, name, value)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"Camera size: expected at least 1 x 1 pixels, got {self.width} x {self.height}")
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise ValueError(
                f"Camera.K: expected positive focal lengths, got fx={self.K[0, 0]}, fy={self.K[1, 1]}"
                " (a CameraInfo with K[0] == 0 means an uncalibrated camera)"
            )

    @property
    def center(self) -> Float[np.ndarray, "3"]:
        """Where it stands [m, world]."""
        return -self.T_camera_world[:3, :3].T @ self.T_camera_world[:3, 3]

    def cropped(self, x0: int, y0: int, width: int, height: int) -> "Camera":
        """The camera of the picture region that starts at pixel (x0, y0); it may reach outside the picture."""
        K = self.K.copy()
        K[0, 2] -= x0
        K[1, 2] -= y0
        return replace(self, K=K, width=width, height=height)

    def resized(self, width: int, height: int) -> "Camera":
        """The camera of the same picture resampled to width x height."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, K=scale @ self.K, width=width, height=height)

    def project(self, points_world: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Pixel coordinates of world points; what lies behind the camera comes out as NaN."""
        p = points_world @ self.T_camera_world[:3, :3].T + self.T_camera_world[:3, 3]
        z = np.where(p[:, 2:] > 1e-6, p[:, 2:], np.nan)
        return (p @ self.K.T)[:, :2] / z


@dataclass(frozen=True)
class Frame:
    """One picture of a stream."""

    stamp_ns: int
    """Time of exposure by the source's own clock, nanoseconds."""
    rgb: Image
    """Colours as stored by the source (sRGB, no gamma step)."""
    camera: Camera

    def __post_init__(self):
        expected = (self.camera.height, self.camera.width, 3)
        if self.rgb.shape != expected or self.rgb.dtype != np.uint8:
            raise ValueError(f"Frame.rgb: expected uint8 {expected} as its camera says, got {self.rgb.dtype} {self.rgb.shape}")


@dataclass(frozen=True)
class BodyState:
    """Shape and pose of one body, SMPL-X joint order, in the world frame."""

    betas: Float[np.ndarray, " B"]
    """Shape coefficients, in standard deviations."""
    pose: Float[np.ndarray, "J 3"]
    """Axis-angle of each joint relative to its parent in the T-pose [rad]; row 0 is the root orientation in the world."""
    transl: Float[np.ndarray, "3"]
    """Added after posing [m]: the root rotates about its rest joint, then transl is added (SMPL-X convention)."""
    expression: Float[np.ndarray, " E"]
    """Expression coefficients; zeros are a neutral face."""

    def __post_init__(self):
        for name in ("betas", "pose", "transl", "expression"):
            value = np.asarray(getattr(self, name), dtype=np.float32)
            if not np.isfinite(value).all():
                raise ValueError(f"BodyState.{name}: expected finite values, got {value.tolist()}")
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Keypoints:
    """Landmarks of one person in one picture."""

    layout: str
    """Name of the landmark list: one of fmgs_core.keypoints.LAYOUTS."""
    points: Float[np.ndarray, "n 3"]
    """x [px], y [px] (pixel centres at +0.5), confidence in [0, 1]."""
    points_3d: Float[np.ndarray, "n 3"] | None = None
    """The detector's own metric guess in the axes of a camera that looks straight at the hips, metres up to one unknown
    scale; NaN where it has none, None when it has none at all."""


@dataclass(frozen=True)
class PriorMaps:
    """What a prior knows of one frame. A map that is None is absent; nothing is made up in its place."""

    mask: Float[np.ndarray, "h w"] | None = None
    """Probability in [0, 1] that the pixel shows the person."""
    keypoints: Keypoints | None = None
    face_score: float | None = None
    """Score in [0, 1] of a frontal face detector; None when it was not run."""
    normal: Float[np.ndarray, "h w 3"] | None = None
    """Unit surface normals, camera axes, facing the camera (z < 0); zeros where unknown."""
    depth: Float[np.ndarray, "h w"] | None = None
    """Relative depth, larger is farther, of unknown scale and offset; NaN where unknown."""
    labels: UInt8[np.ndarray, "h w"] | None = None
    """Class ids of label_set; 255 where unknown."""
    label_set: str | None = None
    """Name of the class list of `labels`, e.g. "sapiens28"."""
    geometry_trust: float = 1.0
    """In [0, 1]: how far normal, depth and labels may be believed; multiplies the weights of their losses."""


@dataclass(frozen=True)
class Splats:
    """2D Gaussians in the world frame, ready to be drawn."""

    means: Float[Tensor, "N 3"]
    """Centres [m]."""
    quats: Float[Tensor, "N 4"]
    """Rotation T_world_splat, wxyz, need not be normalised; the third axis is the outward normal."""
    scales: Float[Tensor, "N 2"]
    """Standard deviations along the two tangents [m], positive."""
    opacities: Float[Tensor, " N"]
    """In [0, 1]."""
    colors: Float[Tensor, "N 3"]
    """RGB in [0, 1]."""
    logits: Float[Tensor, "N C"] | None = None
    """Class scores, pre-softmax; blended first, softmax after."""


class Channel(Enum):
    """Outputs that a rendering may carry beside alpha, which it always has."""

    RGB = "rgb"
    DEPTH = "depth"
    NORMAL = "normal"
    LOGITS = "logits"


@dataclass(frozen=True)
class Rendering:
    """What one camera sees of the splats. Outputs that were not asked for are None."""

    alpha: Float[Tensor, "h w"]
    """Accumulated opacity in [0, 1]."""
    rgb: Float[Tensor, "h w 3"] | None = None
    """Colour times alpha, over black; add (1 - alpha) * background to composite."""
    depth: Float[Tensor, "h w"] | None = None
    """Alpha-weighted mean of the ray-splat intersections' camera z [m]; NaN where alpha is below 1/255."""
    normal: Float[Tensor, "h w 3"] | None = None
    """Alpha-weighted mean of the splat normals, turned towards the camera, camera axes, unit; zeros where alpha < 1/255."""
    logits: Float[Tensor, "h w C"] | None = None
    """Blended class scores; softmax or argmax comes after."""
