"""What is learned per face, behind one interface: attributes come out, how they are stored is the field's business."""

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

PER_FACE = ("normal_offset", "tangent_offset", "rotation", "log_scale", "opacity_logit", "color_logit", "logits")
"""Tensors of a field that have a row for each Gaussian; all others stand for the whole surface."""
INITIAL_OPACITY = 0.88  # sigmoid(2): nearly opaque, yet far enough from saturation to learn


@dataclass(frozen=True)
class FaceAttributes:
    """Attributes of the K Gaussians in the template's rest pose (FMGS-Avatar sec. 3.2)."""

    normal_offset: Float[Tensor, " K"]
    """dd: displacement of the centre along the face normal [m]."""
    rotation: Float[Tensor, "K 3"]
    """dr: axis-angle applied on the right of the face frame [rad]."""
    log_scale: Float[Tensor, "K 2"]
    """ds: the face's own scale is multiplied by exp(ds)."""
    opacity: Float[Tensor, " K"]
    """In [0, 1]."""
    color: Float[Tensor, "K 3"]
    """RGB in [0, 1]."""
    logits: Float[Tensor, "K C"]
    """Class scores, pre-softmax."""
    skin_weights: Float[Tensor, "K J"] | None = None
    """Rows sum to 1; None where the template's own carry the Gaussians."""
    tangent_offset: Float[Tensor, "K 2"] | None = None
    """Displacement of the centre along the face's tangents [m]; None where Gaussians stay above their faces."""

    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def detached(self) -> "FaceAttributes":
        """The same values cut off from their history."""
        return replace(self, **{name: value.detach() for name, value in self.tensors().items()})


_KINDS = {"geometry": ("free", "hash", "unbound"), "skinning": ("template", "field")}


@dataclass(frozen=True)
class FieldConfig:
    """How each kind of attribute is stored: "free" per face, or as the paper's "hash" grid with a network behind it.

    Opacity, which the paper leaves open, is always per face.
    """

    geometry: Literal["free", "hash", "unbound"] = "free"
    """dd, ds, dr. "unbound", for comparison: displaced in all three directions, turned at random at the start, and seen from
    both sides; all that is left of the face is that its bones carry the Gaussian."""
    appearance: Literal["free", "hash"] = "free"
    """Colour; hashed it depends on pose and view."""
    semantics: Literal["free", "hash"] = "free"
    skinning: Literal["template", "field"] = "template"
    """Whose weights carry the Gaussians."""

    def __post_init__(self):
        for name in (f.name for f in fields(self)):
            allowed = _KINDS.get(name, ("free", "hash"))
            if getattr(self, name) not in allowed:
                raise ValueError(f"FieldConfig.{name}: expected one of {allowed}, got {getattr(self, name)!r}")

    @property
    def asks(self) -> bool:
        """Whether attributes depend on pose or view."""
        return "hash" in (self.geometry, self.appearance)

    @property
    def two_sided(self) -> bool:
        """Whether Gaussians have no outside, so that none may be left out for turning its back to a camera."""
        return self.geometry == "unbound"


@dataclass(frozen=True)
class FieldQuery:
    """What attributes may depend on. No gradient goes through it: a pose is judged by where it puts the surface."""

    pose: Float[Tensor, "J 3"]
    """Axis-angle [rad]."""
    joints: Float[Tensor, "J 3"]
    """Of the rest shape [m]: this is how the shape comes in."""
    directions: Float[Tensor, "K 3"]
    """Unit vectors from the camera to each face, in the rest pose."""


class FreeField(torch.nn.Module):
    """Independent parameters for every face.

    Args:
        num_faces: K, Gaussians.
        num_classes: C, width of the class scores.
    """

    def __init__(self, num_faces: int, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        if num_faces < 1 or num_classes < 1:
            raise ValueError(f"FreeField: expected at least one face and one class, got {num_faces} and {num_classes}")
        self.normal_offset = torch.nn.Parameter(torch.zeros(num_faces))
        self.rotation = torch.nn.Parameter(torch.zeros(num_faces, 3))
        self.log_scale = torch.nn.Parameter(torch.zeros(num_faces, 2))
        opacity_logit = torch.logit(torch.tensor(INITIAL_OPACITY))
        self.opacity_logit = torch.nn.Parameter(torch.full((num_faces,), float(opacity_logit)))
        self.color_logit = torch.nn.Parameter(torch.zeros(num_faces, 3))
        self.logits = torch.nn.Parameter(torch.zeros(num_faces, num_classes))

    def forward(self, query: FieldQuery | None = None) -> FaceAttributes:
        """Attributes; the same for every query."""
        return FaceAttributes(
            normal_offset=self.normal_offset,
            rotation=self.rotation,
            log_scale=self.log_scale,
            opacity=torch.sigmoid(self.opacity_logit),
            color=torch.sigmoid(self.color_logit),
            logits=self.logits,
        )
