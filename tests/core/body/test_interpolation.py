"""Properties of states between states."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmgs_core.body.default import default_body
from fmgs_core.body.interpolation import interpolated, state_at
from fmgs_core.types import BodyState


def states():
    rng, neutral = np.random.default_rng(0), default_body().neutral_state()

    def random() -> BodyState:
        return replace(neutral, pose=0.5 * rng.normal(size=(55, 3)), transl=rng.normal(size=3), betas=rng.normal(size=16))

    return [random(), random()]


def test_ends_are_the_states_themselves():
    a, b = states()
    for share, expected in ((0.0, a), (1.0, b)):
        got = interpolated(a, b, share)
        for name in ("pose", "transl", "betas", "expression"):
            np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-6)


def test_a_joint_turns_evenly_along_the_short_way():
    """Across the wrap of axis-angle: from 170 to 190 degrees the middle is 180, not 0."""
    a, b = states()
    turn = np.zeros((55, 3)), np.zeros((55, 3))
    turn[0][0, 1], turn[1][0, 1] = np.radians(170), np.radians(-170)
    middle = interpolated(replace(a, pose=turn[0]), replace(b, pose=turn[1]), 0.5)
    forward = Rotation.from_rotvec(middle.pose[0]).apply([0, 0, 1])
    np.testing.assert_allclose(forward, [0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(middle.transl, (a.transl + b.transl) / 2, atol=1e-6)


def test_state_at_a_time():
    a, b = states()
    track = {100: a, 200: b}
    np.testing.assert_allclose(state_at(track, 150).transl, (a.transl + b.transl) / 2, atol=1e-6)
    assert state_at(track, 50) is a and state_at(track, 900) is b
    np.testing.assert_allclose(state_at(track, 200).transl, b.transl)


def test_share_outside_is_refused():
    with pytest.raises(ValueError, match="share"):
        interpolated(*states(), 1.5)
