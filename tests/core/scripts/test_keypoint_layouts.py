"""Landmarks of layouts that no detector here gives. Kinds: properties, closed forms."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fmgs_core.keypoints import LAYOUTS
from tests.core.tracking.synthetic import BODY, CAMERA, TABLES, state_of

SCRIPT = Path(__file__).parents[3] / "scripts" / "keypoint_layouts.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keypoint_layouts", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_points_are_those_that_the_tracker_ties_its_landmarks_to(script: ModuleType):
    """At rest, where skinning moves nothing."""
    for layout in ("coco17", "sapiens308"):
        table = TABLES[layout]
        np.testing.assert_allclose(
            script.true_points(BODY, BODY.neutral_state(), list(table.names)), table.points.rest, atol=1e-5
        )


def test_what_is_hidden_is_less_exact_and_less_sure(script: ModuleType):
    """3 px and 0.85 in sight, 6 px and 0.45 hidden; in profile the far arm and leg are."""
    state, rng, rows = state_of(np.pi / 2), np.random.default_rng(0), LAYOUTS["coco17"].rows
    found = np.stack([script.detected(BODY, state, CAMERA, "coco17", rng).points for _ in range(200)])
    truth = CAMERA.project(script.true_points(BODY, state, list(rows)))
    spread = (found[:, list(rows.values()), :2] - truth).std((0, 2))
    sure = found[:, list(rows.values()), 2].mean(0)
    hidden = sure < 0.65
    np.testing.assert_allclose(spread, np.where(hidden, 6.0, 3.0), rtol=0.15)
    np.testing.assert_allclose(sure, np.where(hidden, 0.45, 0.85), atol=0.03)
    names = list(rows)
    assert hidden[names.index("right_shoulder")] != hidden[names.index("left_shoulder")]


def test_rows_that_nobody_names_are_not_made_up(script: ModuleType):
    points = script.detected(BODY, state_of(0.0), CAMERA, "sapiens308", np.random.default_rng(0)).points
    known = np.isfinite(points).all(1)
    assert set(np.flatnonzero(known)) == set(LAYOUTS["sapiens308"].rows.values())
