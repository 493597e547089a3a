"""Figures between two outputs of one network. Kinds: values worked out by hand, poison, behaviour."""

import math

import pytest
import torch

from fmgs_core.priors.engines.parity import EXACT, TOLERANCES, Parity, compare, quantile
from fmgs_core.priors.sapiens.tasks import Task


def complaints(task: Task, expected: torch.Tensor, got: torch.Tensor) -> list[str]:
    return compare(task, expected, got).complaints(TOLERANCES[task])


def heat_maps(*peaks: tuple[int, int]) -> torch.Tensor:
    maps = torch.randn(1, len(peaks), 64, 48) * 0.01
    for k, (row, column) in enumerate(peaks):
        maps[0, k, row, column] = 1.0
    return maps


@pytest.mark.parametrize("task", list(Task))
def test_the_same_is_the_same(task: Task):
    maps = torch.randn(1, 3, 64, 48)
    parity = compare(task, maps, maps.clone())
    assert parity.max_abs == parity.mean_abs_raw == 0 and parity.exact()
    assert parity.complaints(TOLERANCES[task]) == []


def test_differences_are_shares_of_the_range():
    expected = torch.linspace(-1, 3, 1000).reshape(1, 1, 40, 25)
    parity = compare(Task.DEPTH, expected, expected + 0.08)
    assert (parity.max_abs, parity.value_range) == (pytest.approx(0.08), 4)
    assert parity.figures["mean_abs"] == pytest.approx(0.02) and parity.figures["p99_abs"] == pytest.approx(0.02)
    (complaint,) = parity.complaints(TOLERANCES[Task.DEPTH])
    assert complaint.startswith("mean_abs 0.02 of the range (expected at most 0.01")


def test_normals_are_compared_by_angle_whatever_their_length():
    turn = math.radians(5.0)
    expected = torch.tensor([0.0, 0.0, 2.0]).reshape(1, 3, 1, 1).expand(1, 3, 20, 10)
    got = torch.tensor([0.0, math.sin(turn), math.cos(turn)]).reshape(1, 3, 1, 1).expand(1, 3, 20, 10)
    figures = compare(Task.NORMAL, expected, got).figures
    assert figures["mean_deg"] == pytest.approx(5.0, abs=1e-3) and figures["p99_deg"] == pytest.approx(5.0, abs=1e-3)
    assert any(c.startswith("mean_deg 5 degrees") for c in complaints(Task.NORMAL, expected, got))


def test_vectors_of_no_length_have_no_direction():
    expected = torch.zeros(1, 3, 10, 10)
    expected[:, 2, :, :8] = 1.0
    got = expected.clone()
    got[:, 0, :, 8:] = 1e-3
    assert compare(Task.NORMAL, expected, got).figures["mean_deg"] == 0


def test_labels_disagree_where_it_was_clear():
    expected = torch.zeros(1, 2, 10, 10)
    expected[:, 1] = 1.0
    expected[:, 1, 0] = 0.001  # a row of ties
    got = expected.clone()
    got[:, 0, :2] = 2.0  # the ties, and one row more
    figures = compare(Task.SEG, expected, got).figures
    assert figures["same_labels"] == pytest.approx(80 / 90)
    assert "same_labels" not in compare(Task.SEG, expected[:, :1], got[:, :1]).figures


def test_keypoints_are_compared_in_pixels_of_the_input():
    expected, got = heat_maps((10, 10), (20, 20)), heat_maps((10, 12), (20, 20))
    figures = compare(Task.POSE, expected, got).figures
    assert figures["mean_px"] == pytest.approx(4.0) and figures["p99_px"] == pytest.approx(8.0)
    assert {c.split()[0] for c in complaints(Task.POSE, expected, got)} >= {"mean_px", "p99_px"}


def test_noise_has_no_keypoints():
    noise = torch.randn(1, 5, 64, 48)
    assert "mean_px" not in compare(Task.POSE, noise, noise).figures


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_poison_is_never_agreement(task: Task, poison: float):
    expected = torch.randn(1, 3, 64, 48)
    assert complaints(task, expected, torch.full_like(expected, poison))
    assert not compare(task, expected, torch.full_like(expected, poison)).exact()


def test_one_bad_value_is_not_exact():
    expected = torch.randn(1, 3, 64, 48)
    for bad, exact in ((float("nan"), False), (0.1, False), (1e-6, True)):
        got = expected.clone()
        got[0, 0, 0, 0] += bad
        assert compare(Task.DEPTH, expected, got).exact() is exact


def test_outputs_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected shape \(1, 3, 4, 4\), got \(1, 3, 4, 5\)"):
        compare(Task.NORMAL, torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))


def test_quantiles():
    assert quantile(torch.arange(1, 101).float(), 0.99) == 99 and quantile(torch.tensor([3.0]), 0.99) == 3


def test_every_task_has_tolerances_with_reasons():
    assert set(TOLERANCES) == set(Task)
    assert all(t.why and t.limit > 0 for tolerances in (*TOLERANCES.values(), {"exact": EXACT}) for t in tolerances.values())
    assert Parity(0.0, 0.0, 1.0).complaints(TOLERANCES[Task.POSE]) == [], "absent figures are not judged"
