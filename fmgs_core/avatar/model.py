"""The animatable avatar: a body, its shape, the field of its Gaussians, and the light they were seen in."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.avatar.binding import FaceBinding, bind_faces, face_weights, pose_splats
from fmgs_core.avatar.fields import FaceAttributes, FieldConfig, FieldQuery, FreeField
from fmgs_core.avatar.inheritance import inherited
from fmgs_core.avatar.light import RoomLight
from fmgs_core.avatar.mixed_field import MixedField
from fmgs_core.avatar.skinning_field import TemplateSurface
from fmgs_core.avatar.view_directions import canonical_directions, head_on
from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.body.skinning import Skinning
from fmgs_core.body.subdivision import Subdivision
from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState, Camera, Splats


class Avatar(torch.nn.Module):
    """One 2D Gaussian per kept face of `body`, posed by linear blend skinning.

    The shape is a fact about the person and not about a frame, so it lives here; pose, translation and expression come
    with every call.
    """

    def __init__(
        self,
        body: BodyModel,
        betas: Float[np.ndarray, " B"] | None = None,
        num_classes: int = len(SAPIENS28_NAMES),
        device: str | torch.device = "cpu",
        fields: FieldConfig | None = None,
    ):
        super().__init__()
        self.device = torch.device(device)
        self._sit_on(body)
        self.fields = fields or FieldConfig()
        self.field = self._make_field(num_classes).to(device)
        self.light = RoomLight().to(device)
        # How much light each Gaussian has carried to the observed pictures: unseen ones keep what they were born with.
        self.register_buffer("observed", torch.zeros(len(self.faces), device=device))
        self.observed: Tensor
        self.set_betas(np.zeros(body.shapedirs.shape[-1], np.float32) if betas is None else betas)

    def _sit_on(self, body: BodyModel) -> None:
        self.body, self.skinning = body, Skinning(body, self.device)
        self.faces = torch.from_numpy(body.faces[body.kept_faces]).to(self.device)
        self._face_weights = face_weights(self.skinning.skin_weights, self.faces)

    def _make_field(self, num_classes: int) -> FreeField:
        if self.fields == FieldConfig():
            return FreeField(len(self.faces), num_classes)
        of = self.skinning
        surface = TemplateSurface(of.v_template, self.faces, of.skin_weights, self.body.parents)
        return MixedField(self.fields, surface, num_classes)

    @property
    def betas(self) -> Float[np.ndarray, " B"]:
        return self._betas

    @property
    def binding(self) -> FaceBinding:
        """Of the faces at rest, in the present shape; replaced by set_betas."""
        return self._binding

    def set_betas(self, betas: Float[np.ndarray, " B"]) -> None:
        """Re-binds the Gaussians to another shape; their attributes stay, for they are relative to the faces."""
        expected = self.body.shapedirs.shape[-1]
        if betas.shape != (expected,) or not np.isfinite(betas).all():
            raise ValueError(f"betas: expected {expected} finite values as body '{self.body.name}' has, got {betas.tolist()}")
        self._betas = np.array(betas, np.float32)
        self._rest = self._shaped(torch.zeros(self.body.exprdirs.shape[-1], device=self.device))
        self._binding = bind_faces(self._rest[0], self.faces, self._face_weights)

    def grow(self, division: Subdivision) -> Int[Tensor, " K"]:
        """Takes the finer body with its Gaussians, each of which starts as that of the face it is a part of; shape and light
        stay. About 0.2 s from 25 to 55 thousand.

        Returns:
            The Gaussian before that each one comes from.

        Raises:
            ValueError: what was divided is not this avatar's body.
        """
        parents = torch.from_numpy(division.parents).to(self.device)
        if int(parents.max()) + 1 != len(self.faces):
            raise ValueError(
                f"division: expected one of the avatar's {len(self.faces)} faces, got one of {int(parents.max()) + 1}"
            )
        state, before = self.field.state_dict(), self._binding
        self._sit_on(division.body)
        self.field = self._make_field(self.field.num_classes).to(self.device)
        self.observed = self.observed[parents]
        self.set_betas(self._betas)
        self.field.load_state_dict(inherited(state, before, self._binding, parents))
        return parents

    def _shaped(self, expression: Float[Tensor, " E"]) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "J 3"]]:
        return self.skinning.shaped(torch.as_tensor(self._betas, device=self.device), expression)

    @torch.no_grad()
    def _bound(
        self, pose: Float[Tensor, "J 3"], expression: Float[Tensor, " E"] | None
    ) -> tuple[FaceBinding, Float[Tensor, "J 3"]]:
        """Binding and rest joints [m]. Pose correctives move the rest mesh, so a body that has them is bound for every
        pose anew; the gradient does not follow them, for they move vertices by millimetres."""
        neutral = expression is None or not bool(expression.any())
        if neutral and self.body.posedirs is None:
            return self._binding, self._rest[1]
        vertices, joints = self._rest if expression is None else self._shaped(expression)
        return bind_faces(self.skinning.corrected(vertices, pose), self.faces, self._face_weights), joints

    @torch.no_grad()
    def set_surface_offset(self, offsets: Float[Tensor, " V"]) -> None:
        """Moves the Gaussians off the naked body: `offsets` are metres along the vertices' rest normals (clothes, hair)."""
        self.field.normal_offset.copy_(offsets.to(self.device)[self.faces].mean(-1))

    def attributes(
        self, pose: Float[Tensor, "J 3"], transl: Float[Tensor, "3"], camera: Camera | None = None
    ) -> FaceAttributes:
        """What the field says of every face, in a pose [rad, m] seen by a camera; without one each face is seen from its
        front. Free fields say the same of all."""
        if not self.fields.asks:
            return self.field()
        binding, joints = self._binding, self._rest[1]
        if camera is None:
            directions = head_on(binding)
        else:
            eye = torch.as_tensor(camera.center, dtype=torch.float32, device=self.device)
            directions = canonical_directions(binding, self.skinning, joints, pose, transl, eye)
        return self.field(FieldQuery(pose, joints, directions))

    @torch.no_grad()
    def at_rest(self) -> FaceAttributes:
        """What the field says in the T-pose, without a graph."""
        return self.attributes(
            torch.zeros(self.body.num_joints, 3, device=self.device), torch.zeros(3, device=self.device)
        ).detached()

    def posed(
        self,
        pose: Float[Tensor, "J 3"],
        transl: Float[Tensor, "3"],
        expression: Float[Tensor, " E"] | None = None,
        camera: Camera | None = None,
        attributes: FaceAttributes | None = None,
    ) -> Splats:
        """Splats in the world frame, differentiable in the field, the light, the pose [rad] and the translation [m].

        Args:
            camera: who looks; see `attributes`.
            attributes: what the field says, where the caller knows already.
        """
        binding, joints = self._bound(pose, expression)
        splats = pose_splats(binding, attributes or self.attributes(pose, transl, camera), self.skinning, joints, pose, transl)
        return replace(splats, colors=self.light.lit(splats.colors, splats.quats))

    @torch.no_grad()
    def drawn(self, state: BodyState, camera: Camera | None = None) -> Splats:
        """Splats of a body state as a camera sees them, without a graph. The state's own betas are ignored in favour of the
        avatar's."""
        pose, transl, expression = (
            torch.as_tensor(x, device=self.device) for x in (state.pose, state.transl, state.expression)
        )
        return self.posed(pose, transl, expression if state.expression.any() else None, camera)
