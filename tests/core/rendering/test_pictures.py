"""Renderings as pictures. Kinds: closed form on hand-made renderings, behaviour on a drawn body."""

import numpy as np
import pytest
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.parts import SAPIENS28_COLORS
from fmgs_core.rendering import pictures
from fmgs_core.rendering.views import around
from fmgs_core.types import Channel, Rendering


def rendering(**channels: list) -> Rendering:
    """One row of pixels: nothing, half covered, covered."""
    tensors = {name: torch.tensor(value, dtype=torch.float32)[None] for name, value in channels.items()}
    return Rendering(torch.tensor([[0.0, 0.5, 1.0]]), **tensors)


COLOR = rendering(rgb=[[0, 0, 0], [0.1, 0.2, 0.3], [1, 0.5, 0]])


def test_colour_over_grey():
    expected = [[[255] * 3, [153, 179, 204], [255, 128, 0]]]
    np.testing.assert_array_equal(pictures.color_picture(COLOR), expected)
    np.testing.assert_array_equal(pictures.color_picture(COLOR, 0.0)[0, 0], [0, 0, 0])


def test_colour_over_a_picture():
    behind = np.full((1, 3, 3), (10, 20, 30), np.uint8)
    picture = pictures.composite(COLOR, behind)
    np.testing.assert_array_equal(picture, [[[10, 20, 30], [31, 61, 92], [255, 128, 0]]])
    assert (behind == (10, 20, 30)).all()


def test_values_beyond_the_range_are_clipped_and_not_wrapped():
    wild = rendering(rgb=[[-1, 2, 0.5]] * 3)
    np.testing.assert_array_equal(pictures.color_picture(wild, 0.0)[0, 2], [0, 255, 128])


def test_labels_where_the_body_covers_more_than_half():
    logits = torch.zeros(3, 28)
    logits[:, 5] = 1
    labels = pictures.label_map(rendering(logits=logits.tolist()))
    assert labels.dtype == np.uint8 and labels.tolist() == [[0, 0, 5]]


def test_label_colours_are_the_label_sets():
    ids = np.arange(28, dtype=np.uint8)[None]
    np.testing.assert_array_equal(pictures.label_picture(ids)[0], SAPIENS28_COLORS)


def test_normals_around_grey_and_black_outside():
    picture = pictures.normal_picture(rendering(normal=[[0, 0, 0], [0, 0, -1], [1, 0, -0.0]]))
    np.testing.assert_array_equal(picture, [[[0, 0, 0], [0, 0, 0], [255, 128, 128]]])


def test_depth_from_white_near_to_black_far():
    picture = pictures.depth_picture(rendering(depth=[float("nan"), 1.0, 3.0]), 1.0, 3.0)
    assert picture[0, :, 0].tolist() == [0, 255, 0]
    assert pictures.depth_picture(rendering(depth=[2.0, 0.0, 9.0]), 1.0, 3.0)[0, :, 0].tolist() == [128, 255, 0]


@pytest.fixture(scope="module")
def drawn() -> Rendering:
    body = default_body()
    state = body.neutral_state()
    avatar = Avatar(body)
    with torch.no_grad():
        avatar.field.logits[:, 21] = 3.0
    camera = next(around(body, state.betas, state, 1, 80))
    return pictures.draw(avatar, state, camera, frozenset(Channel))


def test_pictures_of_a_body_are_bytes_of_the_cameras_size(drawn: Rendering):
    labels = pictures.label_map(drawn)
    behind = np.zeros((80, 80, 3), np.uint8)
    made = [
        pictures.color_picture(drawn),
        pictures.composite(drawn, behind),
        pictures.normal_picture(drawn),
        pictures.depth_picture(drawn, 1.0, 6.0),
        pictures.label_picture(labels),
    ]
    assert all(p.shape == (80, 80, 3) and p.dtype == np.uint8 for p in made)
    assert all(np.ptp(p) > 50 for p in made)  # none is blank
    assert labels[40, 40] == 21 and labels[2, 2] == 0
    assert not drawn.alpha.requires_grad


def test_a_body_faces_the_camera_in_its_normals(drawn: Rendering):
    """Camera z of a visible normal is negative: blue at most mid-grey."""
    blue = pictures.normal_picture(drawn)[..., 2]
    assert (blue <= 128).all()


def test_confidence_is_high_where_it_was_seen_and_zero_elsewhere():
    """Seen from the front only: the back, and what lies beside the body, are not believed."""
    avatar, state = Avatar(default_body()), default_body().neutral_state()
    front = default_body().v_template[avatar.faces.numpy()].mean(1)[:, 2] > 0
    with torch.no_grad():
        avatar.observed.copy_(torch.from_numpy(500.0 * front))
        avatar.field.opacity_logit.fill_(5.0)
    views = list(around(avatar.body, avatar.betas, state, 2, 96))
    seen, unseen = (pictures.confidence_map(avatar, state, camera) for camera in views)
    inside = [pictures.draw(avatar, state, camera, frozenset()).alpha.numpy() > 0.9 for camera in views]
    assert seen.shape == (96, 96) and np.median(seen[inside[0]]) > 0.9 and np.median(unseen[inside[1]]) < 0.1
    assert seen[0, 0] == 0
