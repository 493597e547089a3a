"""The losses. Kinds: closed forms, finite differences away from kinks."""

import math

import numpy as np
import pytest
import torch

from fmgs_core.training import losses as L


def pairs(*rows: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(rows)


def test_color_loss_of_equal_pictures_is_zero():
    picture = torch.rand(20, 24, 3)
    torch.testing.assert_close(L.color_loss(picture, picture), torch.zeros(20, 24, 3), atol=1e-6, rtol=0)


def test_color_loss_of_two_even_pictures():
    """Away from the border: 0.8 |a - b| + 0.2 (1 - (2ab + C1) / (a^2 + b^2 + C1)), for even pictures have no variance."""
    a, b = 0.6, 0.2
    loss = L.color_loss(torch.full((30, 30, 3), a), torch.full((30, 30, 3), b))
    expected = 0.8 * (a - b) + 0.2 * (1 - (2 * a * b + 1e-4) / (a * a + b * b + 1e-4))
    torch.testing.assert_close(
        loss[8:-8, 8:-8], torch.full((14, 14, 3), expected), atol=5e-5, rtol=0
    )  # E[aa] - E[a]^2 in float32


@pytest.mark.parametrize(("alpha", "mask"), [(0.3, 1.0), (0.3, 0.0), (0.8, 0.5), (0.999, 0.0), (0.001, 1.0)])
def test_mask_loss_is_the_binary_cross_entropy(alpha: float, mask: float):
    loss = L.mask_loss(torch.tensor([[alpha]]), torch.tensor([[mask]]))
    a = 1e-3 + (1 - 2e-3) * alpha
    assert float(loss) == pytest.approx(-mask * math.log(a) - (1 - mask) * math.log(1 - a), rel=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_mask_loss_pulls_finitely_where_the_logarithm_is_infinite(alpha: float):
    """A saturated pixel on the wrong side of the mask is the one that needs the pull most."""
    value = torch.tensor([[alpha]], requires_grad=True)
    L.mask_loss(value, torch.tensor([[1 - alpha]])).sum().backward()
    assert value.grad is not None and torch.isfinite(value.grad).all()
    assert float(value.grad) * (1 if alpha else -1) > 1


def test_ordinal_loss_in_numbers():
    """|tanh(10 (D1 - D2)) - sign(prior)|: right order far apart 0, undecided 1, wrong order far apart 2."""
    depth, prior = torch.tensor([3.0, 2.0, 2.0, 2.05]), torch.tensor([9.0, 4.0, 7.0, 6.0])
    loss = L.ordinal_depth_loss(depth, prior, pairs((0, 1), (1, 0), (1, 2), (2, 3), (3, 2), (1, 3)), 0.5)
    wrong = 1 + math.tanh(0.5)
    torch.testing.assert_close(loss, torch.tensor([0.0, 0.0, 1.0, wrong, wrong, 1 - math.tanh(0.5)]), atol=1e-6, rtol=0)


def test_ordinal_loss_believes_no_order_within_the_margin():
    depth, prior = torch.tensor([1.0, 5.0], requires_grad=True), torch.tensor([2.0, 1.9])
    every = pairs((0, 1), (1, 0), (0, 0))
    assert (L.ordinal_depth_loss(depth, prior, every, 0.11) == 0).all()
    inside = L.ordinal_depth_loss(depth, prior, every, 0.09)
    torch.testing.assert_close(inside, torch.tensor([2.0, 2.0, 0.0]))
    assert L.ordinal_depth_loss(depth, torch.tensor([2.0, 2.0]), every, 0.0).sum() == 0  # a tie has no order either


def test_ordinal_loss_depends_on_the_priors_order_only():
    """So the prior's unknown scale and offset, and any monotone curve, change nothing."""
    depth, prior = torch.rand(50), torch.rand(50)
    every = torch.randint(50, (200, 2))
    loss = L.ordinal_depth_loss(depth, prior, every, 0.0)
    for other in (3 * prior + 7, torch.exp(4 * prior)):
        torch.testing.assert_close(L.ordinal_depth_loss(depth, other, every, 0.0), loss)


def test_depth_order_loss_in_numbers():
    """Nothing while the order is kept, however close; tanh(10 |D1 - D2|) where it is not, and a slope of 10 at the border."""
    depth, prior = torch.tensor([3.0, 2.0, 2.0, 2.05]), torch.tensor([9.0, 4.0, 7.0, 6.0])
    every = pairs((0, 1), (1, 0), (1, 2), (2, 3), (3, 2), (1, 3))
    wrong = math.tanh(0.5)
    expected = torch.tensor([0.0, 0.0, 0.0, wrong, wrong, 0.0])
    torch.testing.assert_close(L.depth_order_loss(depth, prior, every, 0.5), expected, atol=1e-6, rtol=0)
    assert (L.depth_order_loss(depth, prior, every, 10.0) == 0).all()
    # 1 mm in the wrong order: an error of 1 mm in the slope of tanh is 3e-4.
    pair = torch.tensor([2.001, 2.0], requires_grad=True)
    L.depth_order_loss(pair, torch.tensor([1.0, 2.0]), pairs((0, 1)), 0.0).sum().backward()
    torch.testing.assert_close(pair.grad, torch.tensor([10.0, -10.0]), atol=5e-3, rtol=0)


def test_depth_order_loss_leaves_a_right_order_alone():
    """Exactly: that is what it is for. The paper's form pushes the same pairs apart."""
    depth, every = (2.0 + 0.01 * torch.arange(8.0)).requires_grad_(), pairs((0, 1), (3, 6), (5, 2), (7, 0))
    for loss, pushes in ((L.depth_order_loss, False), (L.ordinal_depth_loss, True)):
        (gradient,) = torch.autograd.grad(loss(depth, torch.arange(8.0), every, 0.5).sum(), depth)
        assert bool((gradient != 0).any()) is pushes


def test_normal_loss_is_one_minus_the_cosine():
    angle = torch.linspace(0, math.pi, 7)
    normal = torch.stack([torch.sin(angle), torch.zeros(7), torch.cos(angle)], -1)
    prior = torch.tensor([0.0, 0.0, 1.0]).expand(7, 3)
    torch.testing.assert_close(L.normal_prior_loss(normal, prior), 1 - torch.cos(angle), atol=1e-6, rtol=0)


def test_label_loss_is_the_cross_entropy():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, -1.0, 0.0]])
    expected = [math.log(4), -(-1 - math.log(math.exp(2) + 2 + math.exp(-1)))]
    torch.testing.assert_close(L.label_loss(logits, torch.tensor([3, 2])), torch.tensor(expected))


# -- normals from depth

K = np.array([[130.0, 0, 30.3], [0, 120.0, 19.6], [0, 0, 1]])


def depth_of(normal: torch.Tensor, distance: float, height: int = 40, width: int = 60) -> torch.Tensor:
    """Camera z of the plane n.x = distance over a picture of K."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    rays = torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones(height, width)], -1).float()
    return distance / (rays @ normal)


@pytest.mark.parametrize("towards", [(0.0, 0.0, -1.0), (0.5, 0.0, -1.0), (0.0, -0.4, -1.0), (-0.6, 0.3, -1.0)])
def test_the_normal_of_a_plane_is_exact(towards: tuple[float, float, float]):
    """Perspective included: chords of a plane lie in it, which slopes of its depth do not."""
    normal = torch.nn.functional.normalize(torch.tensor(towards), dim=0)
    everywhere = torch.ones(40, 60, dtype=torch.bool)
    found, known = L.normals_from_depth(depth_of(normal, float(1.2 * normal[2])), K, everywhere)
    inner = torch.zeros(40, 60)
    inner[1:-1, 1:-1] = 1
    assert torch.equal(known, inner)
    torch.testing.assert_close(found[known > 0], normal.expand(38 * 58, 3), atol=1e-4, rtol=0)  # float32 depths of 1.2 m


def test_normals_stop_at_the_silhouette_and_at_depth_steps():
    depth = torch.full((20, 30), 2.0)
    depth[:, 15:] = 2.2
    depth[4, 4] = float("nan")  # outside there is no depth
    inside = torch.ones(20, 30, dtype=torch.bool)
    inside[4, 4] = False
    found, known = L.normals_from_depth(depth, K, inside)
    expected = torch.zeros(20, 30)
    expected[1:-1, 1:-1] = 1
    expected[:, 14:16] = 0
    for row, column in ((4, 3), (4, 5), (3, 4), (5, 4)):
        expected[row, column] = 0
    expected[4, 4] = 1  # its own depth is not asked for
    assert torch.equal(known, expected) and torch.isfinite(found).all()


def test_normals_of_what_is_not_seen_pass_no_nan_back():
    depth = depth_of(torch.tensor([0.0, 0.0, 1.0]), 2.0)
    depth[:, :20] = float("nan")
    depth.requires_grad_()
    found, known = L.normals_from_depth(depth, K, torch.isfinite(depth))
    (found[..., 0] * known).sum().backward()
    assert depth.grad is not None and torch.isfinite(depth.grad).all() and (depth.grad != 0).any()


def test_self_normal_loss_is_the_sum_of_differences():
    loss = L.self_normal_loss(torch.tensor([[0.0, 0, -1], [1, 0, 0]]), torch.tensor([[0.0, 0.6, -0.8], [1, 0, 0]]))
    torch.testing.assert_close(loss, torch.tensor([0.8, 0.0]))


def test_total_variation_counts_pairs_inside_only():
    picture = torch.zeros(3, 4, 2)
    picture[1, 1] = torch.tensor([1.0, -2.0])
    inside = torch.ones(3, 4, dtype=torch.bool)
    assert float(L.total_variation(picture, inside)) == pytest.approx(4 * 3 / 17)  # 9 pairs along rows, 8 along columns
    inside[1, 2] = False
    picture[1, 2] = 100.0
    assert float(L.total_variation(picture, inside)) == pytest.approx(3 * 3 / 13)
    assert float(L.total_variation(picture, torch.zeros(3, 4, dtype=torch.bool))) == 0


# -- what splats say of each other


def test_semantic_spread_is_the_sum_over_all_pairs():
    """With its gradient, to which the means add nothing; an empty group is no division by zero."""
    groups = torch.tensor([0, 2, 0, 0, 2, 2, 2, 4])
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    members = [logits[groups == c] for c in range(5)]
    pairs_of = [(m[:, None] - m[None]).square().sum() / max(len(m), 1) for m in members]
    slow = torch.stack(pairs_of).sum() / 5 / 8
    fast = L.semantic_spread(logits, groups, 5)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (fast, slow)))


def test_isometry_in_numbers():
    """A neighbour that moves from 1 to 1.1 away: (1.21 - 1)^2. Rigid motion is free."""
    at, beside = torch.zeros(3), torch.tensor([1.0, 0, 0])
    assert float(L.isometry(at, 1.1 * beside, at, beside)) == pytest.approx(0.21**2)
    shift, turned = torch.tensor([3.0, 1, 2]), torch.tensor([0.0, 0, 1])
    assert float(L.isometry(shift, shift + turned, at, beside)) == pytest.approx(0, abs=1e-9)


def test_covariance_overlap_is_that_of_the_matrices():
    generator = torch.Generator().manual_seed(0)
    R = torch.linalg.qr(torch.randn(2, 10, 3, 3, generator=generator))[0]
    scales = 0.003 * torch.rand(2, 10, 2, generator=generator) + 1e-4
    A, B = (r[..., :2] @ torch.diag_embed(s**2) @ r[..., :2].mT for r, s in zip(R, scales, strict=True))
    expected = (A * B).sum((-2, -1)) / (A.norm(dim=(-2, -1)) * B.norm(dim=(-2, -1)))
    found = L.covariance_overlap(R[0, ..., :2], scales[0], R[1, ..., :2], scales[1])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(L.covariance_overlap(R[0, ..., :2], scales[0], R[0, ..., :2], scales[0]), torch.ones(10))


def test_smoothness_is_the_squared_distance_from_the_neighbours_mean():
    neighbors = torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    torch.testing.assert_close(L.smoothness(torch.tensor([3.0, 0, 0, 0]), neighbors), torch.tensor([9.0, 1, 1, 1]))
    assert (L.smoothness(torch.full((4, 2), 0.7), neighbors) < 1e-12).all()


def test_smoothness_gradient_of_a_whole_body_is_the_same_every_time():
    """Large gathers are scattered back by several threads; a sum in no fixed order would differ in the last bits."""
    neighbors = torch.randint(30_000, (30_000, 3))
    values = torch.randn(30_000, requires_grad=True)
    gradients = [torch.autograd.grad(L.smoothness(values, neighbors).sum(), values)[0] for _ in range(20)]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


SEEDED = torch.Generator().manual_seed(0)
CASES = {
    "color": (
        lambda x: L.color_loss(x, torch.linspace(0.1, 0.3, 300).view(10, 10, 3)).sum(),
        0.4 + 0.4 * torch.rand(10, 10, 3, generator=SEEDED),
    ),
    "mask": (
        lambda x: L.mask_loss(x, torch.linspace(0, 1, 30).view(5, 6)).sum(),
        0.1 + 0.8 * torch.rand(5, 6, generator=SEEDED),
    ),
    "depth": (
        lambda x: L.ordinal_depth_loss(x, torch.arange(8.0), pairs((0, 1), (3, 6), (5, 2), (7, 0)), 0.5).sum(),
        0.3 * torch.rand(8, generator=SEEDED),
    ),
    "depth order": (
        lambda x: L.depth_order_loss(x, -torch.arange(8.0), pairs((0, 1), (3, 6), (5, 2), (7, 0)), 0.5).sum(),
        0.01 * torch.arange(8.0),
    ),
    "normal": (lambda x: L.normal_prior_loss(x, torch.eye(3)[[0, 1, 2, 0]]).sum(), torch.rand(4, 3, generator=SEEDED)),
    "normals from depth": (
        lambda x: (L.normals_from_depth(x, K, torch.ones(5, 6, dtype=torch.bool))[0] * torch.tensor([0.7, -0.5, 0.1])).sum(),
        2.0 + 0.01 * torch.rand(5, 6, generator=SEEDED),
    ),
    "self normal": (lambda x: L.self_normal_loss(x, torch.eye(3)).sum(), torch.randn(3, 3, generator=SEEDED)),
    "variation": (
        lambda x: L.total_variation(x, torch.tensor([[True, True, False], [True, True, True]])),
        torch.randn(2, 3, 3, generator=SEEDED),
    ),
    "isometry": (
        lambda x: L.isometry(x[:2], x[2:], torch.eye(3)[:2], 0.2 * torch.eye(3)[1:]).sum(),
        0.5 * torch.randn(4, 3, generator=SEEDED),
    ),
    "label": (lambda x: L.label_loss(x, torch.tensor([2, 0, 1])).sum(), torch.randn(3, 4, generator=SEEDED)),
    "smoothness": (
        lambda x: L.smoothness(x, torch.tensor([[1, 2, 2], [0, 2, 1], [1, 0, 0]])).sum(),
        torch.randn(3, generator=SEEDED),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_matches_finite_differences(name: str):
    """Central differences in float32; values are kept away from |.|'s kinks."""
    loss, x = CASES[name]
    x = x.clone().requires_grad_()
    loss(x).backward()
    assert x.grad is not None
    step = {"depth": 3e-3, "normals from depth": 3e-4}.get(name, 1e-2)
    for index in np.random.default_rng(0).integers(0, x.numel(), 8):
        shift = torch.zeros(x.numel()).index_fill_(0, torch.tensor([int(index)]), step).view(x.shape)
        with torch.no_grad():
            numeric = (loss(x + shift) - loss(x - shift)) / (2 * step)
        assert float(x.grad.view(-1)[index]) == pytest.approx(float(numeric), rel=0.03, abs=3e-3)  # measured 1 %
