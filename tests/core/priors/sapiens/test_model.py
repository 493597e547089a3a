"""Sapiens from picture to maps. Kinds: round trip through synthetic engines, behaviour, poison, the tiny network."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from fmgs_core.priors import MapModel
from fmgs_core.priors.engines.engine import Engine, network_io
from fmgs_core.priors.sapiens.architecture import HEADS, TINY, spec_for
from fmgs_core.priors.sapiens.crop import person_crop
from fmgs_core.priors.sapiens.model import SapiensConfig, SapiensModel
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Frame

INPUT_HW = (128, 96)
WIDTH, HEIGHT = 160, 120
PERSON = (60, 20, 100, 110)
CPU = torch.device("cpu")


@dataclass
class FixedEngine:
    """Gives one output whatever it sees, and keeps what it saw."""

    result: torch.Tensor
    input_hw: tuple[int, int] = INPUT_HW
    name: str = "fixed"
    device: torch.device = CPU
    seen: list[torch.Tensor] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self):
        shape = self.result.shape
        self.input, self.output = network_io(self.input_hw, shape[1], (shape[2], shape[3]))

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen.append(pixels)
        return self.result

    def close(self) -> None:
        self.closed = True


def frame() -> Frame:
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    K = np.array([[200.0, 0, WIDTH / 2], [0, 200, HEIGHT / 2], [0, 0, 1]])
    return Frame(7, rgb, Camera(K, WIDTH, HEIGHT, T_CAMERA_WORLD_UNPOSED))


def planes(hw: tuple[int, int], *values: float) -> torch.Tensor:
    return torch.tensor(values)[None, :, None, None].expand(1, len(values), *hw).clone()


def segmentation(hw: tuple[int, int] = (64, 48), channels: int = 28) -> torch.Tensor:
    """Upper clothing in the middle half of the crop's width, background beside it."""
    scores = torch.zeros(1, channels, *hw)
    scores[:, 0] = 9
    scores[:, 22 + channels - 28, :, hw[1] // 4 : 3 * hw[1] // 4] = 18
    return scores


def engines() -> dict[Task, Engine]:
    heat = torch.zeros(1, 17, 32, 24)
    heat[0, :, 16, 12] = 0.5
    return {
        Task.NORMAL: FixedEngine(planes((64, 48), 0.0, 3.0, 4.0)),
        Task.DEPTH: FixedEngine(torch.arange(128.0)[None, None, :, None].expand(1, 1, 128, 96).clone()),
        Task.SEG: FixedEngine(segmentation()),
        Task.POSE: FixedEngine(heat),
    }


def test_all_maps_lie_where_the_person_is():
    model = SapiensModel(engines())
    assert isinstance(model, MapModel) and model.name == "sapiens normal+depth+seg+pose, fixed"
    maps = model.maps(frame(), PERSON)
    crop = person_crop(PERSON, INPUT_HW)
    x, y = np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5
    u, v = (x - crop.left) / crop.scale, (y - crop.top) / crop.scale
    inside = ((u >= 0) & (u < 96))[None] & ((v >= 0) & (v < 128))[:, None]
    person = inside & ((u >= 24) & (u < 72))[None]
    assert maps.mask is not None and maps.labels is not None and maps.depth is not None and maps.normal is not None
    np.testing.assert_array_equal(maps.labels, np.where(person, 22, np.where(inside, 0, 255)))
    np.testing.assert_array_equal(maps.mask > 0.5, person)
    assert maps.label_set == "sapiens28" and maps.labels.dtype == np.uint8 and not maps.mask[~inside].any()
    np.testing.assert_array_equal(np.isfinite(maps.depth), person)
    rows = person.any(1) & (v > 0.5) & (v < 127.5)
    np.testing.assert_allclose(maps.depth[rows][:, WIDTH // 2], (v - 0.5)[rows], atol=1e-3)
    known = maps.normal.any(-1)
    np.testing.assert_allclose(maps.normal[known], np.broadcast_to([0, -0.6, -0.8], (known.sum(), 3)), atol=1e-4)
    columns = np.flatnonzero(person.any(0))
    assert np.flatnonzero(known.any(0)).tolist() == columns[4:-4].tolist(), "4 px inside of the outline"


def test_keypoints_come_back_to_the_frame():
    maps = SapiensModel(engines()).maps(frame(), PERSON)
    assert maps.keypoints is not None and maps.keypoints.layout == "coco17"
    crop = person_crop(PERSON, INPUT_HW)
    expected = [crop.left + crop.scale * (12 * 95 / 23 + 0.5), crop.top + crop.scale * (16 * 127 / 31 + 0.5), 0.5]
    np.testing.assert_allclose(maps.keypoints.points, np.tile(expected, (17, 1)), atol=0.01)


def test_one_crop_serves_all_tasks():
    used = engines()
    SapiensModel(used).maps(frame(), PERSON)
    seen = [engine.seen for engine in used.values()]
    assert all(len(pictures) == 1 and pictures[0] is seen[0][0] for pictures in seen)
    assert seen[0][0].shape == (1, 3, *INPUT_HW)


def test_a_loss_can_keep_the_tensors():
    found = SapiensModel(engines()).look(torch.from_numpy(frame().rgb), PERSON)
    assert found.normal is not None and found.mask is not None and found.points is not None
    weight = torch.ones(1, requires_grad=True)
    (weight * found.normal * found.mask[..., None]).sum().backward()
    assert weight.grad is not None and weight.grad.abs() > 0 and found.points.shape == (17, 3)


def test_what_no_engine_gives_is_none():
    maps = SapiensModel({Task.NORMAL: FixedEngine(planes((64, 48), 0.0, 0.0, 1.0))}).maps(frame(), PERSON)
    assert maps.normal is not None and maps.normal[60, 80].tolist() == pytest.approx([0, 0, -1], abs=1e-4)
    assert maps.depth is None and maps.labels is None and maps.label_set is None
    assert maps.mask is None and maps.keypoints is None


def test_sapiens2_classes_become_the_28():
    maps = SapiensModel({Task.SEG: FixedEngine(segmentation(channels=29))}).maps(frame(), PERSON)
    assert maps.labels is not None and set(np.unique(maps.labels)) == {0, 22, 255}


def test_matting_is_the_mask_and_bounds_the_normals():
    alpha = torch.zeros(1, 1, 64, 48)
    alpha[..., :24] = 0.75
    normal = FixedEngine(planes((64, 48), 0.0, 0.0, 1.0))
    maps = SapiensModel({Task.NORMAL: normal, Task.MATTING: FixedEngine(alpha)}).maps(frame(), PERSON)
    assert maps.mask is not None and maps.normal is not None
    assert maps.mask[60, 70] == 0.75 and maps.mask[60, 90] == 0 and maps.labels is None
    assert maps.normal[60, 70].any() and not maps.normal[60, 76:].any()


def test_settings_reach_the_maps():
    config = SapiensConfig(normal_signs=(-1, 1, 1), erosion_px=0, geometry_trust=0.3)
    maps = SapiensModel(engines(), config).maps(frame(), PERSON)
    assert maps.normal is not None and maps.mask is not None and maps.geometry_trust == 0.3
    np.testing.assert_array_equal(maps.normal.any(-1), maps.mask > 0.5)
    assert maps.normal[60, 80].tolist() == pytest.approx([0, 0.6, 0.8], abs=1e-4)


def test_a_person_at_the_pictures_edge():
    for person in ((0, 0, 20, HEIGHT), (WIDTH - 3, HEIGHT - 3, WIDTH, HEIGHT), (0, 0, WIDTH, HEIGHT)):
        maps = SapiensModel(engines()).maps(frame(), person)
        assert maps.labels is not None and maps.labels.shape == (HEIGHT, WIDTH) and (maps.labels != 255).any()


@torch.no_grad()
def test_the_tiny_network_through_torch():
    class NetworkEngine(FixedEngine):
        def run(self, pixels: torch.Tensor) -> torch.Tensor:
            return network(pixels)

    for task in HEADS:
        network = SapiensNetwork(spec_for(TINY, task, None, INPUT_HW)).eval()
        blank = torch.zeros(1, network.spec.channels, *network.spec.output_hw)
        maps = SapiensModel({task: NetworkEngine(blank)}).maps(frame(), PERSON)
        found = {Task.NORMAL: maps.normal, Task.DEPTH: maps.depth, Task.SEG: maps.labels, Task.POSE: maps.keypoints}
        assert [found[other] is not None for other in HEADS] == [other is task for other in HEADS]


def test_poison_is_named():
    for poison in (torch.nan, torch.inf):
        bad = FixedEngine(planes((64, 48), 0.0, poison, 1.0))
        with pytest.raises(ValueError, match="normal engine: expected finite outputs, got NaN or infinity"):
            SapiensModel({Task.NORMAL: bad}).maps(frame(), PERSON)


def test_engines_that_do_not_fit_together():
    normal = FixedEngine(planes((64, 48), 0.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="expected at least one task, got none"):
        SapiensModel({})
    larger = FixedEngine(planes((64, 48), 1.0), input_hw=(256, 192))
    with pytest.raises(ValueError, match=r"expected one input for all tasks, got normal .*128, 96\), depth .*256, 192\)"):
        SapiensModel({Task.NORMAL: normal, Task.DEPTH: larger})
    elsewhere = FixedEngine(planes((64, 48), 1.0), device=torch.device("meta"))
    with pytest.raises(ValueError, match="expected one device for all tasks, got normal cpu, depth meta"):
        SapiensModel({Task.NORMAL: normal, Task.DEPTH: elsewhere})
    with pytest.raises(ValueError, match="expected 1 channels for depth, got 3"):
        SapiensModel({Task.DEPTH: normal})
    with pytest.raises(ValueError, match="20 are those of LIP or of CIHP"):
        SapiensModel({Task.SEG: FixedEngine(torch.zeros(1, 20, 8, 8))})
    with pytest.raises(ValueError, match="got 21"):
        SapiensModel({Task.POSE: FixedEngine(torch.zeros(1, 21, 8, 8))})


def test_close_closes_every_engine():
    used = engines()
    SapiensModel(used).close()
    assert all(engine.closed for engine in used.values())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"box_padding": 0.5}, r"box_padding: expected a value in \[1, 4\], got 0.5"),
        ({"normal_signs": (1, 0, 1)}, r"normal_signs: expected three of 1 and -1, got \(1, 0, 1\)"),
        ({"min_facing": 1.5}, r"min_facing: expected a value in \[0, 1\], got 1.5"),
        ({"erosion_px": -1}, "erosion_px: expected 0 to 100, got -1"),
        ({"geometry_trust": 2.0}, "geometry_trust: expected"),
    ],
)
def test_settings_are_checked(setting: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SapiensConfig(**setting)
