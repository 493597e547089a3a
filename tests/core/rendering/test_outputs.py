"""Arrays of one view. Kinds: closed form on hand-made renderings, parity with the pictures, behaviour on a drawn body."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.rendering import outputs as made
from fmgs_core.rendering import pictures
from fmgs_core.rendering.outputs import Output, draw_outputs
from fmgs_core.rendering.views import around
from fmgs_core.types import Camera, Channel, Rendering

ALL = frozenset(Output)


def row(**channels: list) -> Rendering:
    """One row of pixels: nothing, half covered, covered."""
    tensors = {name: torch.tensor(value, dtype=torch.float32)[None] for name, value in channels.items()}
    return Rendering(torch.tensor([[0.0, 0.5, 1.0]]), **tensors)


def test_colour_over_a_colour():
    rendering = row(rgb=[[0, 0, 0], [0.1, 0.2, 0.3], [2, 0.5, -1]])
    expected = [[[10, 20, 200], [30, 61, 176], [255, 128, 0]]]
    np.testing.assert_allclose(made.over_color(rendering, (10, 20, 200)), expected, atol=1)


def test_depth_is_nan_where_half_or_less_is_covered():
    np.testing.assert_array_equal(made.depth_map(row(depth=[np.nan, 2.0, 3.0])), [[np.nan, np.nan, 3.0]])


def test_classes_are_unlabelled_where_all_score_alike():
    logits = torch.zeros(3, 28)
    labels = made.class_map(row(logits=logits.tolist()))
    assert labels.dtype == np.uint8 and labels.tolist() == [[0, 0, 255]]
    logits[:, 5] = 0.01
    assert made.class_map(row(logits=logits.tolist())).tolist() == [[0, 0, 5]]


@pytest.fixture(scope="module")
def scene() -> tuple[Avatar, Camera]:
    avatar = Avatar(default_body())
    front = default_body().v_template[avatar.faces.numpy()].mean(1)[:, 2] > 0
    with torch.no_grad():
        avatar.field.opacity_logit.fill_(6.0)
        avatar.field.color_logit.copy_(torch.tensor([3.0, -3.0, 0.0]).expand(len(front), 3))
        avatar.field.logits[:, 21] = 3.0
        avatar.observed.copy_(torch.from_numpy(500.0 * front))
    return avatar, next(around(avatar.body, avatar.betas, avatar.body.neutral_state(), 1, 80))


@pytest.fixture(scope="module")
def drawn(scene: tuple[Avatar, Camera]) -> dict[Output, np.ndarray]:
    avatar, camera = scene
    return draw_outputs(avatar, avatar.body.neutral_state(), camera, ALL)


def test_every_output_has_its_type(drawn: dict[Output, np.ndarray]):
    colored, grey = ((80, 80, 3), np.uint8), (80, 80)
    expected = {
        Output.IMAGE: colored,
        Output.DEPTH: (grey, np.float32),
        Output.NORMALS: colored,
        Output.MASK: (grey, np.uint8),
        Output.CONFIDENCE: (grey, np.float32),
    }
    assert {output: (a.shape, a.dtype.type) for output, a in drawn.items()} == expected
    assert all(a.flags.c_contiguous for a in drawn.values())  # messages are filled from their memory


def test_outputs_are_those_of_the_pictures(scene: tuple[Avatar, Camera], drawn: dict[Output, np.ndarray]):
    avatar, camera = scene
    state = avatar.body.neutral_state()
    rendering = pictures.draw(avatar, state, camera, frozenset(Channel))
    np.testing.assert_array_equal(drawn[Output.IMAGE], pictures.color_picture(rendering))
    np.testing.assert_array_equal(drawn[Output.MASK], pictures.label_map(rendering))
    np.testing.assert_array_equal(drawn[Output.NORMALS], pictures.normal_picture(rendering))
    np.testing.assert_array_equal(drawn[Output.CONFIDENCE], pictures.confidence_map(avatar, state, camera))


def test_outputs_agree_on_where_the_avatar_is(drawn: dict[Output, np.ndarray]):
    inside = np.isfinite(drawn[Output.DEPTH])
    assert 0.05 < inside.mean() < 0.5
    np.testing.assert_array_equal(drawn[Output.MASK] == 21, inside)
    np.testing.assert_array_equal(drawn[Output.NORMALS].any(-1), inside)
    assert drawn[Output.IMAGE][~inside].mean() > 240 and drawn[Output.CONFIDENCE][2, 2] == 0
    assert np.median(drawn[Output.CONFIDENCE][inside]) > 0.9


@pytest.mark.parametrize("output", list(Output))
def test_one_output_alone_is_the_same_and_nothing_else_is_made(
    scene: tuple[Avatar, Camera], drawn: dict[Output, np.ndarray], output: Output
):
    avatar, camera = scene
    alone = draw_outputs(avatar, avatar.body.neutral_state(), camera, frozenset({output}))
    assert alone.keys() == {output}
    np.testing.assert_array_equal(alone[output], drawn[output])


def test_nothing_is_rasterized_for_nobody(scene: tuple[Avatar, Camera], monkeypatch: pytest.MonkeyPatch):
    avatar, camera = scene
    monkeypatch.setattr(made, "rasterize", lambda *_: pytest.fail("drawn for nobody"))
    assert draw_outputs(avatar, avatar.body.neutral_state(), camera, frozenset()) == {}


def test_the_background_shows_through(scene: tuple[Avatar, Camera]):
    avatar, camera = scene
    image = draw_outputs(avatar, avatar.body.neutral_state(), camera, frozenset({Output.IMAGE}), (1, 2, 3))[Output.IMAGE]
    assert image[0, 0].tolist() == [1, 2, 3] and image[40, 40, 0] > 200


def test_a_view_without_the_avatar_is_empty(scene: tuple[Avatar, Camera]):
    avatar, camera = scene
    away = replace(avatar.body.neutral_state(), transl=np.array([50.0, 0, 0]))
    drawn = draw_outputs(avatar, away, camera, ALL, (7, 7, 7))
    assert (drawn[Output.IMAGE] == 7).all() and np.isnan(drawn[Output.DEPTH]).all()
    assert not any(drawn[output].any() for output in (Output.MASK, Output.NORMALS, Output.CONFIDENCE))
