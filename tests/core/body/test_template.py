"""Properties and behaviour of the body as data: the default body, and what is refused."""

import hashlib
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.body.template import BodyModel


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return default_body()


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    return np.unique(sides, axis=0, return_counts=True)


def test_default_body_is_the_file_the_sequences_were_made_with(shared):
    meta = json.loads((shared / "gt/dressed_a/meta.json").read_text())
    data = (files("fmgs_core.body") / "body_template.npz").read_bytes()
    assert hashlib.sha256(data).hexdigest() == meta["body_template_sha256"]


def test_default_body_sizes(body: BodyModel):
    assert (body.num_vertices, body.num_faces, body.num_joints) == (13718, 27420, 55)
    assert body.shapedirs.shape[2] == 16 and body.exprdirs.shape[2] == 52 and body.posedirs is None
    assert default_body() is body


def test_default_body_is_upright_human_and_closed(body: BodyModel):
    joints = dict(zip(body.joint_names, body.J_regressor @ body.v_template, strict=True))
    assert joints["head"][1] > joints["pelvis"][1] > joints["left_foot"][1]
    assert joints["left_wrist"][0] > 0 > joints["right_wrist"][0], "the person's left is +x"
    assert joints["left_foot"][2] > joints["left_ankle"][2], "the toes point to +z"
    assert 1.6 < body.height(np.zeros(16)) < 2.0
    assert (_edges(body.faces)[1] == 2).all(), "every edge has two faces"
    signed_volume = np.linalg.det(body.v_template[body.faces].astype(np.float64)).sum() / 6
    assert 0.05 < signed_volume < 0.12, "faces are counter-clockwise from outside; a person has 50 to 120 litres"


def test_weights_and_regressor_rows_sum_to_one(body: BodyModel):
    # float32 sums of 55 and of up to 160 terms
    np.testing.assert_allclose(body.skin_weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(np.asarray(body.J_regressor.sum(1))[:, 0], 1, atol=1e-4)


def test_height_is_the_extent_of_the_shaped_body(body: BodyModel):
    betas = np.array([1.5, -1.0, 0.5], np.float32)
    state = replace(body.neutral_state(), betas=betas)
    extent = np.ptp(posed_vertices(body, state)[:, 1])
    assert body.height(betas) == pytest.approx(extent, abs=1e-5)
    assert abs(body.height(betas) - body.height(np.zeros(16))) > 0.005


def test_cavities_carry_no_gaussian_and_everything_else_does(body: BodyModel):
    count = dict(zip(body.part_names, np.bincount(body.face_part, minlength=len(body.part_names)), strict=True))
    assert count["mouth_interior"] == 1244 and count["eye_sockets"] == 1172 and count["eyes"] == 280
    assert len(body.kept_faces) == body.num_faces - 1244 - 1172
    kept_parts = {body.part_names[p] for p in np.unique(body.face_part[body.kept_faces])}
    assert kept_parts == set(body.part_names) - {"background", "mouth_interior", "eye_sockets"}


def _triangle(**changes) -> BodyModel:
    values: dict[str, Any] = dict(
        name="triangle",
        v_template=np.eye(3),
        shapedirs=np.zeros((3, 3, 1)),
        exprdirs=np.zeros((3, 3, 0)),
        faces=np.array([[0, 1, 2]]),
        parents=np.array([-1, 0]),
        J_regressor=scipy.sparse.csr_matrix(np.full((2, 3), 1 / 3)),
        skin_weights=np.full((3, 2), 0.5),
        joint_names=("root", "tip"),
        face_part=np.zeros(1, np.uint8),
        part_names=("face",),
    )
    return BodyModel(**(values | changes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v_template", np.zeros((3, 2))),
        ("v_template", np.full((3, 3), np.nan)),
        ("shapedirs", np.zeros((4, 3, 1))),
        ("exprdirs", np.full((3, 3, 1), np.inf)),
        ("faces", np.array([[0, 1, 3]])),
        ("faces", np.array([[0, -1, 2]])),
        ("parents", np.array([-1, 1])),
        ("parents", np.array([0, 0])),
        ("J_regressor", scipy.sparse.csr_matrix(np.full((2, 4), 0.25))),
        ("J_regressor", scipy.sparse.csr_matrix(np.full((2, 3), np.nan))),
        ("skin_weights", np.full((3, 2), 0.4)),
        ("joint_names", ("root",)),
        ("face_part", np.ones(1, np.uint8)),
        ("uv", np.zeros((3, 2))),
        ("posedirs", np.zeros((9, 8))),
    ],
)
def test_bad_values_are_refused_by_name(field: str, value):
    with pytest.raises(ValueError, match=rf"BodyModel\.{field}: expected .* got "):
        _triangle(**{field: value})
