"""Sapiens as a model of maps: one crop of a frame through an engine for each task, decoded at the frame's pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fmgs_core.priors import Box, DeviceMaps
from fmgs_core.priors.engines.engine import Engine
from fmgs_core.priors.sapiens import decode
from fmgs_core.priors.sapiens.crop import Crop, at_frame_pixels, cropped_pixels, framed, person_crop, points_in_frame
from fmgs_core.priors.sapiens.heat_maps import keypoints_in_input, layout_of
from fmgs_core.priors.sapiens.labels import LABEL_SET, sapiens28_table
from fmgs_core.priors.sapiens.tasks import Task
from fmgs_core.types import Frame, Keypoints, PriorMaps

# What maps hold outside of the crop (PriorMaps).
_UNKNOWN = {"mask": 0.0, "normal": 0.0, "depth": float("nan"), "labels": 255.0}


@dataclass(frozen=True)
class SapiensConfig:
    """Settings of `SapiensModel`."""

    box_padding: float = 1.25
    """The person's box is enlarged by this, as the pose networks were trained with."""
    normal_signs: decode.Signs = (1, -1, -1)
    """Network axes to the camera's. Sapiens' normals are read as x right, y up, z to the camera."""
    min_facing: float = 0.5
    """Normals whose |z| is not above this are dropped: at grazing angles they are guesses."""
    erosion_px: int = 4
    """Normals closer than this to the person's outline are dropped; needs a segmentation or matting."""
    geometry_trust: float = 1.0
    """Passed on: how far the maps may be believed."""

    def __post_init__(self):
        if not 1 <= self.box_padding <= 4:
            raise ValueError(f"SapiensConfig.box_padding: expected a value in [1, 4], got {self.box_padding}")
        if len(self.normal_signs) != 3 or any(sign not in (-1, 1) for sign in self.normal_signs):
            raise ValueError(f"SapiensConfig.normal_signs: expected three of 1 and -1, got {self.normal_signs}")
        for name in ("min_facing", "geometry_trust"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"SapiensConfig.{name}: expected a value in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.erosion_px <= 100:
            raise ValueError(f"SapiensConfig.erosion_px: expected 0 to 100, got {self.erosion_px}")


@dataclass(frozen=True)
class MapTensors:
    """As PriorMaps, on the engines' device; None for what no engine gives."""

    mask: Float[Tensor, "h w"] | None = None
    normal: Float[Tensor, "h w 3"] | None = None
    depth: Float[Tensor, "h w"] | None = None
    labels: UInt8[Tensor, "h w"] | None = None
    points: Float[Tensor, "n 3"] | None = None
    """x, y [px], confidence."""


class SapiensModel:
    """A MapModel of up to one engine for each task. All tasks see the same crop with the same normalisation.

    Raises:
        ValueError: no engines, engines that differ in device or input size, or an output that its task cannot have.
    """

    def __init__(self, engines: Mapping[Task, Engine], config: SapiensConfig = SapiensConfig(), family: str = "sapiens"):
        if not engines:
            raise ValueError("SapiensModel.engines: expected at least one task, got none")
        self.config, self._engines = config, dict(engines)
        self.device = _common("device", {task: engine.device for task, engine in engines.items()})
        shape = _common("input", {task: engine.input.shape for task, engine in engines.items()})
        self._input_hw = _input_hw(shape)
        self._table = _class_table(self._engines)
        runners = ", ".join(dict.fromkeys(engine.name for engine in engines.values()))
        self.name = f"{family} {'+'.join(task.value for task in engines)}, {runners}"

    def maps(self, frame: Frame, person: Box) -> PriorMaps:
        """Maps of the frame's size, unknown outside of the crop.

        Raises:
            ValueError: an empty box, or an engine that gives NaN or infinity.
        """
        rgb = torch.from_numpy(np.ascontiguousarray(frame.rgb)).to(self.device)
        found = self.look(rgb, person)
        return PriorMaps(
            mask=_numpy(found.mask),
            keypoints=_keypoints(found.points),
            normal=_numpy(found.normal),
            depth=_numpy(found.depth),
            labels=_numpy(found.labels),
            label_set=None if found.labels is None else LABEL_SET,
            geometry_trust=self.config.geometry_trust,
        )

    def device_maps(self, frame: Frame, person: Box) -> DeviceMaps:
        """Normals, depth and labels of `maps`, left on the device."""
        found = self.look(torch.from_numpy(np.ascontiguousarray(frame.rgb)).to(self.device), person)
        label_set = None if found.labels is None else LABEL_SET
        trust = self.config.geometry_trust
        return DeviceMaps(found.normal, found.depth, found.labels, label_set, trust, _keypoints(found.points))

    @torch.no_grad()  # not inference_mode: a loss could not keep such maps for its backward pass
    def look(self, rgb: UInt8[Tensor, "h w 3"], person: Box) -> MapTensors:
        """The same without leaving the device; `rgb` lies there already."""
        crop = person_crop(person, self._input_hw, self.config.box_padding)
        pixels = cropped_pixels(rgb, crop)
        raw = {task: _finite(task, engine.run(pixels)) for task, engine in self._engines.items()}
        return self._decoded(raw, crop, rgb.shape[1], rgb.shape[0])

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()

    def _decoded(self, raw: Mapping[Task, Tensor], crop: Crop, width: int, height: int) -> MapTensors:
        region = crop.region(width, height)
        dense = {task: at_frame_pixels(maps, crop, region) for task, maps in raw.items() if task is not Task.POSE}
        pieces = {name: framed(values, region, width, height, _UNKNOWN[name]) for name, values in self._pieces(dense).items()}
        return MapTensors(**pieces, points=_points(raw[Task.POSE][0], crop) if Task.POSE in raw else None)

    def _pieces(self, dense: Mapping[Task, Tensor]) -> dict[str, Tensor]:
        """Maps of the region by their names in MapTensors."""
        pieces = {}
        if Task.SEG in dense:
            pieces["labels"] = decode.labels_from(dense[Task.SEG], self._table)
            pieces["mask"] = decode.person_from(dense[Task.SEG])
        if Task.MATTING in dense:
            pieces["mask"] = dense[Task.MATTING][0].clamp(0, 1)
        person = pieces["mask"] > 0.5 if "mask" in pieces else None
        if Task.DEPTH in dense:
            pieces["depth"] = decode.depth_from(dense[Task.DEPTH], person)
        if Task.NORMAL in dense:
            inner = None if person is None else decode.eroded(person, self.config.erosion_px)
            pieces["normal"] = decode.normals_from(dense[Task.NORMAL], self.config.normal_signs, self.config.min_facing, inner)
        return pieces


def _keypoints(points: Float[Tensor, "n 3"] | None) -> Keypoints | None:
    return None if points is None else Keypoints(layout_of(len(points)), _numpy(points))


def _points(heat_maps: Float[Tensor, "n h w"], crop: Crop) -> Float[Tensor, "n 3"]:
    points = keypoints_in_input(heat_maps, crop.input_hw)
    return torch.cat([points_in_frame(points[:, :2], crop), points[:, 2:]], 1)


def _common(what: str, values: Mapping[Task, object]) -> Any:
    """The one value of all tasks, since they share one crop."""
    if len(set(values.values())) > 1:
        each = ", ".join(f"{task.value} {value}" for task, value in values.items())
        raise ValueError(f"SapiensModel.engines: expected one {what} for all tasks, got {each}")
    return next(iter(values.values()))


def _input_hw(shape: tuple[int | None, ...]) -> tuple[int, int]:
    if len(shape) != 4 or shape[1] != 3 or shape[2] is None or shape[3] is None:
        raise ValueError(f"SapiensModel.engines: expected inputs of fixed size (batch, 3, height, width), got {shape}")
    return shape[2], shape[3]


def _class_table(engines: Mapping[Task, Engine]) -> tuple[int, ...]:
    """Class ids of the segmentation's channels, () without one, after a look at the other tasks' channels too."""
    channels = {task: engine.output.shape[1] or 0 for task, engine in engines.items()}
    for task, expected in ((Task.NORMAL, 3), (Task.DEPTH, 1), (Task.MATTING, 1)):
        if channels.get(task, expected) != expected:
            raise ValueError(f"SapiensModel.engines: expected {expected} channels for {task.value}, got {channels[task]}")
    if Task.POSE in channels:
        layout_of(channels[Task.POSE])
    return sapiens28_table(channels[Task.SEG]) if Task.SEG in channels else ()


def _finite(task: Task, raw: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
    if not raw.isfinite().all():
        raise ValueError(f"{task.value} engine: expected finite outputs, got NaN or infinity")
    return raw


def _numpy(values: Tensor | None) -> Any:
    return None if values is None else values.cpu().numpy()
