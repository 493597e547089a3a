"""A body small enough to reason about: a tube of three joints along y, its caps without Gaussians."""

import numpy as np
import scipy.sparse

from fmgs_core.body.template import BodyModel

RINGS, SEGMENTS = 25, 16
JOINTS_Y = np.array([0.0, 0.4, 0.8])


def tube(correctives: bool = False, name: str = "default") -> BodyModel:
    """1 m tall, 0.1 m thick; beta 0 stretches it, beta 1 thickens it; the expression pushes out the upper half.

    With correctives, every entry of R - I displaces the whole body smoothly by centimetres.
    """
    y = np.repeat(np.linspace(0, 1, RINGS), SEGMENTS)
    turn = np.tile(2 * np.pi * np.arange(SEGMENTS) / SEGMENTS, RINGS)
    side = np.stack([np.sin(turn), np.zeros_like(turn), np.cos(turn)], -1)
    vertices = np.concatenate([0.1 * side + y[:, None] * [0, 1, 0], [[0, 0, 0], [0, 1, 0]]])
    outward = np.concatenate([side, np.zeros((2, 3))])
    stretch = vertices * [0, 1, 0]
    bulge = outward * np.clip(vertices[:, 1:2] - 0.5, 0, None)
    faces, part = _faces()
    return BodyModel(
        name=name,
        v_template=vertices,
        shapedirs=np.stack([0.1 * stretch, 0.02 * outward], -1),
        exprdirs=0.1 * bulge[..., None],
        faces=faces,
        parents=np.array([-1, 0, 1]),
        J_regressor=_regressor(vertices[:, 1]),
        skin_weights=_weights(vertices[:, 1]),
        joint_names=("pelvis", "spine1", "spine2"),
        face_part=part,
        part_names=("torso", "mouth_interior"),
        posedirs=_correctives(vertices) if correctives else None,
    )


def _faces() -> tuple[np.ndarray, np.ndarray]:
    a = (np.arange(RINGS - 1)[:, None] * SEGMENTS + np.arange(SEGMENTS)).ravel()
    b = (np.arange(RINGS - 1)[:, None] * SEGMENTS + (np.arange(SEGMENTS) + 1) % SEGMENTS).ravel()
    sides = np.concatenate([np.stack([a, b, b + SEGMENTS], -1), np.stack([a, b + SEGMENTS, a + SEGMENTS], -1)])
    rim, top = np.arange(SEGMENTS), (RINGS - 1) * SEGMENTS + np.arange(SEGMENTS)
    bottom_cap = np.stack([np.full(SEGMENTS, RINGS * SEGMENTS), np.roll(rim, -1), rim], -1)
    top_cap = np.stack([np.full(SEGMENTS, RINGS * SEGMENTS + 1), top, np.roll(top, -1)], -1)
    return np.concatenate([sides, bottom_cap, top_cap]), np.repeat(np.arange(2, dtype=np.uint8), [len(sides), 2 * SEGMENTS])


def _regressor(y: np.ndarray) -> scipy.sparse.csr_matrix:
    """Each joint is the mean of the ring at its height."""
    nearest = np.abs(y[None] - JOINTS_Y[:, None]) < 0.5 / RINGS
    nearest[:, -2:] = False
    return scipy.sparse.csr_matrix(nearest / nearest.sum(1, keepdims=True))


def _weights(y: np.ndarray) -> np.ndarray:
    """From one joint to the next over 0.2 m, centred on the upper one."""
    upper = np.clip((y[:, None] - JOINTS_Y[1:]) / 0.2 + 0.5, 0, 1)
    return np.stack([1 - upper[:, 0], upper[:, 0] - upper[:, 1], upper[:, 1]], -1)


def _correctives(vertices: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    constant, slope = rng.normal(0, 0.02, (2, 9 * 2, 1, 3))
    return (constant + slope * vertices[:, 1:2]).reshape(18, -1)
