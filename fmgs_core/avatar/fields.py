"""What is learned per face, behind one interface: attributes come out, how they are stored is the field's business."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

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


class FreeField(torch.nn.Module):
    """Independent parameters for every face.

    Args:
        num_faces: K, Gaussians.
        num_classes: C, width of the class scores.
    """

    def __init__(self, num_faces: int, num_classes: int):
        super().__init__()
        if num_faces < 1 or num_classes < 1:
            raise ValueError(f"FreeField: expected at least one face and one class, got {num_faces} and {num_classes}")
        self.normal_offset = torch.nn.Parameter(torch.zeros(num_faces))
        self.rotation = torch.nn.Parameter(torch.zeros(num_faces, 3))
        self.log_scale = torch.nn.Parameter(torch.zeros(num_faces, 2))
        opacity_logit = torch.logit(torch.tensor(INITIAL_OPACITY))
        self.opacity_logit = torch.nn.Parameter(torch.full((num_faces,), float(opacity_logit)))
        self.color_logit = torch.nn.Parameter(torch.zeros(num_faces, 3))
        self.logits = torch.nn.Parameter(torch.zeros(num_faces, num_classes))

    def forward(self) -> FaceAttributes:
        return FaceAttributes(
            normal_offset=self.normal_offset,
            rotation=self.rotation,
            log_scale=self.log_scale,
            opacity=torch.sigmoid(self.opacity_logit),
            color=torch.sigmoid(self.color_logit),
            logits=self.logits,
        )
