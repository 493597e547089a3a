"""The memory of the stream: person crops with their learnable poses, kept within a budget by how much they add."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.body.template import BodyModel
from fmgs_core.training.cuts import Cut, KnownMaps, known_maps, person_box
from fmgs_core.training.sharpness import blur_trust, sharpness
from fmgs_core.training.targets import Backdrop
from fmgs_core.types import BodyState, Camera, Frame, PriorMaps

NUM_DESCRIPTOR_JOINTS = 22  # the body without hands and face


@dataclass(frozen=True)
class MemoryConfig:
    """How many keyframes are remembered, and how large they are."""

    budget: int = 120
    """Training keyframes kept; about 2 MB each with all maps and the background."""
    held_out: int = 6
    """Keyframes kept apart to measure the avatar on, never trained on."""
    held_out_every: int = 12
    """Every so many new frames go to the held-out set until it is full, then replace its most redundant one."""
    crop_max_px: int = 448
    """Person crops are shrunk to this longest side."""
    min_novelty_m: float = 0.004
    """A frame whose joints are all this close to a remembered one (RMS, camera axes, root-aligned) adds nothing."""

    least_trust: float = 0.1
    """Visits of a keyframe that is blurred by motion, as a share of those of a sharp one; 1 treats all alike."""

    def __post_init__(self):
        if not 0 < self.least_trust <= 1:
            raise ValueError(f"MemoryConfig.least_trust: expected more than 0 up to 1, got {self.least_trust}")
        for name, least in (("budget", 2), ("held_out", 0), ("held_out_every", 2), ("crop_max_px", 32), ("min_novelty_m", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"MemoryConfig.{name}: expected at least {least}, got {getattr(self, name)}")


@dataclass
class Keyframe:
    """A person crop with what the priors say of it. The pose is a parameter; all else but the maps stays as it was seen."""

    stamp_ns: int
    camera: Camera
    """Of the crop."""
    cut: Cut
    """Of the crop in the frame."""
    rgb: UInt8[Tensor, "h w 3"]
    mask: Float[Tensor, "h w"]
    maps: KnownMaps
    """Those that came with the frame, or in their place what a slower model has said of it since."""
    descriptor: Float[np.ndarray, "22 3"]
    pose: Float[Tensor, "J 3"]
    transl: Float[Tensor, "3"]
    gain: Float[Tensor, "3"] | None = None
    """Of the picture's exposure per channel, against that of the frame the background started with; None: the same."""
    sharpness: float = 0.0
    """[1/px]; see training/sharpness.py."""
    trust: float = 1.0
    """Share of the visits that it would get if it were as sharp as its likes; kept by the memory."""
    room: int = 0
    """Which background of the plate stands behind the person."""
    visits: int = 0
    """Training steps taken on it."""
    optimizer: torch.optim.Optimizer | None = field(default=None, repr=False)
    backdrop: Backdrop | None = field(default=None, repr=False)


def make_keyframe(
    frame: Frame,
    maps: PriorMaps,
    state: BodyState,
    joints: Float[np.ndarray, "J 3"],
    crop_max_px: int,
    device: str | torch.device = "cpu",
    num_classes: int = len(SAPIENS28_NAMES),
) -> Keyframe:
    """Cuts the person out of a frame.

    Args:
        maps: must hold a mask; see known_maps for the others.
        joints: the posed joints in the world [m].

    Raises:
        ValueError: no mask, one that is not a probability, or a map that cannot be used.
    """
    if maps.mask is None:
        raise ValueError("keyframe: expected prior maps with a person mask, got none")
    if not (maps.mask.min() >= 0 and maps.mask.max() <= 1):
        raise ValueError(f"PriorMaps.mask: expected values in [0, 1], got {maps.mask.min()} to {maps.mask.max()}")
    cut = Cut.around(
        (frame.camera.width, frame.camera.height), person_box(maps.mask, frame.camera.project(joints)), crop_max_px
    )
    mask = cut.of(maps.mask, smooth=True).astype(np.float32).clip(0, 1)  # ones come out as 1.0000001
    rgb = cut.of(frame.rgb, smooth=True)
    x0, y0, x1, y1 = cut.box
    return Keyframe(
        stamp_ns=frame.stamp_ns,
        camera=frame.camera.cropped(x0, y0, x1 - x0, y1 - y0).resized(*cut.size),
        cut=cut,
        rgb=torch.from_numpy(rgb).to(device),
        mask=torch.from_numpy(mask).to(device),
        maps=known_maps(maps, cut, mask > 0.5, device, num_classes),
        sharpness=sharpness(rgb, mask),
        descriptor=pose_descriptor(joints, frame.camera),
        pose=torch.from_numpy(state.pose.copy()).to(device),
        transl=torch.from_numpy(state.transl.copy()).to(device),
    )


def pose_descriptor(joints: Float[np.ndarray, "J 3"], camera: Camera) -> Float[np.ndarray, "22 3"]:
    """Root-aligned joints in camera axes [m]: two frames look alike exactly when these are close, by yaw or by pose."""
    n = min(NUM_DESCRIPTOR_JOINTS, len(joints))
    return (joints[:n] - joints[0]) @ camera.T_camera_world[:3, :3].T


class KeyframeMemory:
    """At most `budget` keyframes. When it is full, one of the closest pair goes, so that coverage only grows."""

    def __init__(self, budget: int, least_trust: float = 1.0):
        self._budget, self._least_trust = budget, least_trust
        self._keyframes: list[Keyframe] = []
        self._distance = np.full((budget + 1, budget + 1), np.inf)

    def __len__(self) -> int:
        return len(self._keyframes)

    def __getitem__(self, index: int) -> Keyframe:
        return self._keyframes[index]

    def __iter__(self) -> Iterator[Keyframe]:
        return iter(self._keyframes)

    def distances(self, descriptor: Float[np.ndarray, "22 3"]) -> Float[np.ndarray, " n"]:
        """RMS joint distance [m] to every keyframe."""
        if not self._keyframes:
            return np.zeros(0)
        others = np.stack([k.descriptor for k in self._keyframes])
        return np.sqrt(((others - descriptor) ** 2).sum(-1).mean(-1))

    def novelty(self, descriptor: Float[np.ndarray, "22 3"]) -> float:
        """Distance to the nearest keyframe [m]; infinite for the first."""
        return float(self.distances(descriptor).min(initial=np.inf))

    def add(self, keyframe: Keyframe) -> Keyframe | None:
        """Remembers a keyframe; returns the one that had to go, if any (never the new one)."""
        n = len(self._keyframes)
        self._distance[n, :n] = self._distance[:n, n] = self.distances(keyframe.descriptor)
        self._keyframes.append(keyframe)
        dropped = None if n < self._budget else self._drop(self._most_redundant())
        self._judge()
        return dropped

    def _judge(self) -> None:
        n, sharpnesses = len(self._keyframes), np.array([k.sharpness for k in self._keyframes])
        trusts = blur_trust(sharpnesses, self._distance[:n, :n], self._least_trust)
        for keyframe, trust in zip(self._keyframes, trusts.tolist(), strict=True):
            keyframe.trust = trust

    def _most_redundant(self) -> int:
        """Of the closest pair without the newest, the one whose second neighbour is nearer; ties go to the older.

        The newest counts as a neighbour: else, on a person who turns, the one before it would always stay, its
        predecessor always go, and nothing of the turn be kept behind them.
        """
        old = self._distance[: self._budget, : self._budget]
        a, b = np.unravel_index(int(old.argmin()), old.shape)
        second = np.sort(self._distance[[a, b]], axis=1)[:, 1]
        return int(a if second[0] <= second[1] else b)

    def _drop(self, index: int) -> Keyframe:
        keep = [i for i in range(len(self._keyframes)) if i != index]
        self._distance[: len(keep), : len(keep)] = self._distance[np.ix_(keep, keep)]
        self._distance[len(keep) :, :] = self._distance[:, len(keep) :] = np.inf
        return self._keyframes.pop(index)


class ShapeChange:
    """A body that grows by a factor moves away from the camera by the same factor, so that the picture still shows it where
    it was: height and depth are one unobservable number."""

    def __init__(self, body: BodyModel, old: Float[np.ndarray, " B"], new: Float[np.ndarray, " B"]):
        self.old = old
        """The shape it starts from."""
        self._scale = body.height(new) / body.height(old)
        self._old_root, self._new_root = root_joint(body, old), root_joint(body, new)

    def reanchored(self, transl: Float[np.ndarray, "3"], camera: Camera) -> Float[np.ndarray, "3"]:
        """The translation [m] that goes with the new shape."""
        T = camera.T_camera_world
        camera_root = self._scale * (T[:3, :3] @ (self._old_root + transl) + T[:3, 3])
        world_root = T[:3, :3].T @ (camera_root - T[:3, 3])
        return (world_root - self._new_root).astype(np.float32)


def root_joint(body: BodyModel, betas: Float[np.ndarray, " B"]) -> Float[np.ndarray, "3"]:
    """Rest position of joint 0 [m]."""
    weights, around, directions = _around_root(body)
    return np.asarray(weights @ (around + directions @ betas)).ravel()


@lru_cache(maxsize=4)
def _around_root(
    body: BodyModel,
) -> tuple[scipy.sparse.csr_matrix, Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 B"]]:
    """Weights (1, n) of the vertices that joint 0 is a mean of, where those are, and their directions of shape."""
    row = body.J_regressor[0]
    return row[:, row.indices], body.v_template[row.indices], body.shapedirs[row.indices]


def face_neighbors(faces: Int[np.ndarray, "K 3"]) -> Int[np.ndarray, "K 3"]:
    """The face across each edge; a border edge gives the face itself."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    order = np.lexsort(edges.T)
    same = (edges[order][1:] == edges[order][:-1]).all(1)
    a, b = order[:-1][same], order[1:][same]
    neighbors = np.repeat(np.arange(len(faces)), 3)
    neighbors[a], neighbors[b] = b // 3, a // 3
    return neighbors.reshape(-1, 3)
