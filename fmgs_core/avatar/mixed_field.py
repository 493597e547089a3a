"""Free parameters for some attributes, fields for the others, behind the interface of a free field."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from fmgs_core.avatar.fields import FaceAttributes, FieldConfig, FieldQuery, FreeField
from fmgs_core.avatar.hash_fields import (
    GEOMETRY_CODE,
    AppearanceField,
    GeometryField,
    GeometryOutput,
    SemanticField,
)
from fmgs_core.avatar.hash_grid import GridConfig
from fmgs_core.avatar.pose_encoder import PoseEncoder
from fmgs_core.avatar.skinning_field import SkinningField, TemplateSurface, UnitCube
from fmgs_core.geometry import triangle_frames

_SEED = 0
SKINNING_SAMPLES = 1024  # 3DGS-Avatar


class MixedField(FreeField):
    """What the config leaves free is stored as in a FreeField, under the same names."""

    def __init__(self, config: FieldConfig, surface: TemplateSurface, num_classes: int):
        super().__init__(len(surface.faces), num_classes)
        self.config, self._surface = config, surface
        cube, grid, generator = UnitCube(surface.vertices), GridConfig(), torch.Generator().manual_seed(_SEED)
        points = cube(surface.vertices[surface.faces].mean(1))
        if config.asks:
            self.pose_encoder = PoseEncoder(surface.parents, generator)
        if config.geometry == "hash":
            self._hash_geometry(GeometryField(points, grid, generator))
        if config.geometry == "unbound":
            self._unbind(generator)
        if config.appearance == "hash":
            code = GEOMETRY_CODE if config.geometry == "hash" else 0
            self.appearance = AppearanceField(points, grid, code, generator)
            del self.color_logit
        if config.semantics == "hash":
            self.semantics = SemanticField(points, grid, num_classes, generator)
            del self.logits
        if config.skinning == "field":
            self.skinning = SkinningField(cube, len(surface.parents), grid, generator)

    def _hash_geometry(self, geometry: GeometryField) -> None:
        """The offset of clothes and hair, given and not learned, stays per face: the field learns what is left."""
        self.geometry = geometry
        given = self.normal_offset.detach()
        del self.normal_offset, self.log_scale, self.rotation
        self.register_buffer("normal_offset", given)

    def _unbind(self, generator: torch.Generator) -> None:
        """Three-dimensional displacements, and rotations uniform over all (a unit quaternion of four normal numbers)."""
        count = len(self.rotation)
        self.tangent_offset = torch.nn.Parameter(torch.zeros(count, 2))
        w, xyz = normalize(torch.randn(count, 4, generator=generator), dim=-1).split((1, 3), -1)
        half_angle = torch.atan2(xyz.norm(dim=-1, keepdim=True), w.abs())
        with torch.no_grad():
            self.rotation.copy_(2 * half_angle * normalize(xyz, dim=-1))

    def forward(self, query: FieldQuery | None = None) -> FaceAttributes:
        """Attributes as a pose and a camera ask for them.

        Raises:
            ValueError: there is no query, and an attribute depends on it.
        """
        if query is None and self.config.asks:
            raise ValueError(f"query: expected one for {self.config}, got None")
        code = self.pose_encoder(query.pose, query.joints) if query is not None and self.config.asks else None
        geometry = self.geometry(code) if self.config.geometry == "hash" else None
        shape = self._shape(geometry)
        return FaceAttributes(
            **shape,
            opacity=torch.sigmoid(self.opacity_logit),
            color=self._color(geometry, code, query),
            logits=self.semantics() if self.config.semantics == "hash" else self.logits,
            skin_weights=self._skin_weights(shape["normal_offset"]),
            tangent_offset=self.tangent_offset if self.config.geometry == "unbound" else None,
        )

    def _shape(self, geometry: GeometryOutput | None) -> dict[str, Tensor]:
        if geometry is None:
            return {name: getattr(self, name) for name in ("normal_offset", "rotation", "log_scale")}
        offset = self.normal_offset + geometry.normal_offset
        return {"normal_offset": offset, "rotation": geometry.rotation, "log_scale": geometry.log_scale}

    def _color(self, geometry: GeometryOutput | None, code: Tensor | None, query: FieldQuery | None) -> Tensor:
        if self.config.appearance == "free":
            return torch.sigmoid(self.color_logit)
        assert query is not None
        return self.appearance(None if geometry is None else geometry.code, code, query.directions)

    def _skin_weights(self, offset: Float[Tensor, " K"]) -> Float[Tensor, "K J"] | None:
        if self.config.skinning == "template":
            return None
        triangles = self._surface.vertices[self._surface.faces]
        corrected = triangles.mean(1) + triangle_frames(triangles)[0][..., 2] * offset[:, None]
        return self.skinning(corrected, self._surface.weights[self._surface.faces].mean(1))

    def skinning_loss(self, generator: torch.Generator) -> Float[Tensor, ""]:
        """L_skin; zero where the template's own weights carry the Gaussians."""
        if self.config.skinning == "template":
            return torch.zeros((), device=self.opacity_logit.device)
        return self.skinning.loss(self._surface, SKINNING_SAMPLES, generator)
