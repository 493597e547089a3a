"""Heights and tilts as one surface. Kinds: parity of kernel and twin, closed forms, properties."""

import pytest
import torch

from fmgs_core.avatar.binding import FaceBinding, bind_faces, face_weights
from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.subdivision import subdivided
from fmgs_core.body.template import BodyModel
from fmgs_core.training.keyframes import face_neighbors
from fmgs_core.training.surface import SurfaceEdges, edges_in_tangents, step_errors, surface_inconsistency


def edges_of(binding: FaceBinding, faces: torch.Tensor) -> SurfaceEdges:
    return SurfaceEdges.of(binding, torch.from_numpy(face_neighbors(faces.numpy())))


def plane(size: int = 6) -> tuple[FaceBinding, SurfaceEdges]:
    """A square of right triangles in the xy plane, whose faces start at different corners: tangents differ."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    vertices = torch.stack([0.01 * column, 0.01 * row, torch.zeros(size, size)], -1).float().flatten(0, 1)
    a = (row * size + column)[:-1, :-1].flatten()
    faces = torch.cat([torch.stack([a, a + 1, a + size], -1), torch.stack([a + size, a + 1, a + size + 1], -1)])
    faces[::2] = faces[::2].roll(1, dims=1)
    binding = bind_faces(vertices, faces, face_weights(torch.ones(len(vertices), 1), faces))
    return binding, edges_of(binding, faces)


def rough(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    offset = 0.005 * torch.randn(count, generator=generator)
    return offset.requires_grad_(), (0.1 * torch.randn(count, 3, generator=generator)).requires_grad_()


@pytest.mark.parametrize("body", [default_body(), subdivided(default_body(), 30_000).body], ids=["default", "subdivided"])
def test_the_kernel_says_what_its_twin_says(body: BodyModel):
    avatar = Avatar(body)
    edges, (offset, rotation) = edges_of(avatar.binding, avatar.faces), rough(len(avatar.faces))
    twin, kernel = step_errors(offset, rotation, edges).square().mean(), surface_inconsistency(offset, rotation, edges)
    torch.testing.assert_close(kernel, twin, rtol=1e-5, atol=0)
    expected, found = (torch.autograd.grad(3 * loss, (offset, rotation)) for loss in (twin, kernel))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))  # the order of sums


@pytest.mark.parametrize("body", [default_body(), subdivided(default_body(), 30_000).body], ids=["default", "subdivided"])
def test_edges_are_what_their_twin_says(body: BodyModel):
    """To the bit: sums of three, in the same order."""
    avatar = Avatar(body)
    edges = edges_of(avatar.binding, avatar.faces)
    for found, expected in zip((edges.here, edges.there), edges_in_tangents(avatar.binding, edges.neighbors), strict=True):
        assert torch.equal(found, expected) and found.abs().max() > 0.001


def test_a_tilted_plane_agrees_with_faces_turned_like_it():
    """Height 0.3 x - 0.2 y over the plane: to first order each face turns by its normal x (-0.3, 0.2, 0)."""
    binding, edges = plane()
    slope = torch.tensor([0.3, -0.2, 0.0])
    height = binding.centers @ slope
    turned = torch.linalg.cross(torch.tensor([0.0, 0, 1]).expand_as(binding.centers), -slope.expand_as(binding.centers))
    rotation = (binding.frames.mT @ turned[..., None])[..., 0]
    torch.testing.assert_close(step_errors(height, rotation, edges), torch.zeros(50, 3), atol=1e-8, rtol=0)
    assert surface_inconsistency(height, rotation, edges) < 1e-14
    assert surface_inconsistency(height, -rotation, edges) > 1e-7 < surface_inconsistency(height, 0 * rotation, edges)


def test_without_tilt_every_step_is_an_error():
    _, edges = plane()
    errors = step_errors(torch.arange(50.0), torch.zeros(50, 3), edges)
    torch.testing.assert_close(errors, edges.neighbors - torch.arange(50.0)[:, None])


def test_a_turn_about_the_normal_and_a_shift_of_all_cost_nothing():
    _, edges = plane()
    offset, rotation = rough(50)
    spun = rotation + torch.tensor([0.0, 0.0, 1.3])
    assert surface_inconsistency(offset + 0.5, spun, edges).detach() == pytest.approx(
        float(surface_inconsistency(offset, rotation, edges).detach()), rel=1e-3
    )


def test_the_border_asks_for_nothing():
    """An edge without a neighbour leads back to the face: no step, no length."""
    _, edges = plane()
    border = edges.neighbors == torch.arange(50)[:, None]
    assert int(border.sum()) == 20
    assert (step_errors(*rough(50), edges)[border] == 0).all()
