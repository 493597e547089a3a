"""Head outputs to maps. Kinds: known answers, property, facts."""

import pytest
import torch

from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.priors.sapiens import decode
from fmgs_core.priors.sapiens.labels import SAPIENS2_NAMES, sapiens28_table

ONE = torch.ones(1, 1, dtype=torch.bool)


def normal_of(*raw: float, signs=(1, -1, -1), facing: float = 0.5, person=None) -> list[float]:
    return decode.normals_from(torch.tensor(raw)[:, None, None], signs, facing, person)[0, 0].tolist()


def test_normals_become_unit_vectors_in_camera_axes():
    assert normal_of(0.0, 0.0, 2.0) == pytest.approx([0, 0, -1], abs=1e-4), "towards the camera"
    assert normal_of(0.6, 0.0, 0.8) == pytest.approx([0.6, 0, -0.8], abs=1e-4), "to the right of the picture"
    assert normal_of(0.0, 3.0, 4.0) == pytest.approx([0, -0.6, -0.8], abs=1e-4), "upwards: y points down"
    assert normal_of(0.0, 3.0, 4.0, signs=(1, 1, 1)) == pytest.approx([0, 0.6, 0.8], abs=1e-4)


def test_grazing_and_empty_normals_are_unknown():
    assert normal_of(1.0, 0.0, 0.5) == [0, 0, 0]
    assert normal_of(0.0, 0.0, 0.0) == [0, 0, 0]
    assert normal_of(0.0, 0.0, 1.0, person=~ONE) == [0, 0, 0]
    assert normal_of(0.0, 0.0, -1.0) == pytest.approx([0, 0, 1], abs=1e-4), "a wrong sign shows; it does not empty the map"


def test_depth_is_kept_on_the_person_only():
    raw, person = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[True, False, True]])
    assert torch.equal(decode.depth_from(raw, None), raw[0])
    torch.testing.assert_close(decode.depth_from(raw, person), torch.tensor([[1.0, torch.nan, 3.0]]), equal_nan=True)


def test_labels_and_person():
    scores = torch.full((3, 1, 2), -9.0)
    scores[0, 0, 0], scores[2, 0, 1] = 9, 9
    assert decode.labels_from(scores, (0, 7, 22)).tolist() == [[0, 22]]
    assert decode.person_from(scores)[0].tolist() == pytest.approx([0, 1], abs=1e-6)
    scores[1:, 0, 0] = 9
    assert decode.person_from(scores)[0, 0].item() == pytest.approx(2 / 3), "all classes of the person count"


@pytest.mark.parametrize("pixels", [0, 1, 4])
def test_erosion_takes_a_border_of_that_width_but_not_at_the_pictures_edge(pixels: int):
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[:20, 10:30] = True
    left = decode.eroded(mask, pixels)
    expected = torch.zeros_like(mask)
    expected[: 20 - pixels, 10 + pixels : 30 - pixels] = True
    assert torch.equal(left, expected)


def test_class_tables():
    assert sapiens28_table(28) == tuple(range(28))
    table = sapiens28_table(29)
    assert table[:4] == (0, 1, 1, 2) and table[3:] == tuple(range(2, 28)), "Eyeglass is Apparel, the rest one place on"
    assert SAPIENS2_NAMES[2] == "Eyeglass" and SAPIENS28_NAMES[table[23]] == SAPIENS2_NAMES[23] == "Upper_Clothing"
    for channels in (20, 19, 5):
        with pytest.raises(ValueError, match=f"expected 28 classes of Sapiens or 29 of Sapiens2, got {channels}"):
            sapiens28_table(channels)
