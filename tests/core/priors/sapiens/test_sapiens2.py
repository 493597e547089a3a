"""Sapiens2 folders through transformers. Kinds: round trip of tiny random networks, behaviour on wrong folders.

What needs transformers is skipped without it; it is an extra, and the checks before it run everywhere.
"""

import importlib.util
import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fmgs_core.priors.engines.engine import network_io
from fmgs_core.priors.engines.torch_engine import TorchEngine
from fmgs_core.priors.sapiens.checkpoint import CheckpointError
from fmgs_core.priors.sapiens.model import SapiensModel
from fmgs_core.priors.sapiens.sapiens2 import load_sapiens2, sapiens2_spec
from fmgs_core.priors.sapiens.tasks import Task

HW = (64, 48)
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers 5.23 (pip install fmgs_ros[sapiens2])"
)
# Class, its output, channels, and whether the head shuffles pixels as the published one of that task does.
TASKS = {
    Task.NORMAL: ("Sapiens2ForNormalEstimation", "normals", 3, True),
    Task.DEPTH: ("Sapiens2ForPointmapEstimation", "pointmaps", 3, True),
    Task.SEG: ("Sapiens2ForSemanticSegmentation", "logits", 29, False),
    Task.POSE: ("Sapiens2ForPoseEstimation", "heatmaps", 308, False),
    Task.MATTING: ("Sapiens2ForImageMatting", "alphas", 4, True),
}


def write(folder: Path, task: Task) -> Any:
    """A folder as save_pretrained writes it, and the model that is in it."""
    import transformers

    name, _, channels, shuffles = TASKS[task]
    head = {
        "upsample_out_channels": [16, 16],
        "conv_out_channels": [16],
        "use_pixel_shuffle": shuffles,
        "upsample_kernel_size": 3 if shuffles else 4,
    }
    if task is Task.DEPTH:
        head |= {"scale_conv_out_channels": [8], "scale_final_hidden_sizes": [8, 8]}
    config = transformers.Sapiens2Config(  # pyright: ignore
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_register_tokens=2,
        image_size=list(HW),
        num_labels=channels,
        head_config=head,
    )
    model = getattr(transformers, name)(config).eval()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    return model


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@needs_transformers
@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_every_task_comes_back(task: Task, tmp_path):
    model = write(tmp_path, task)
    network, pixels = load_sapiens2(tmp_path, task), torch.randn(2, 3, *HW)
    expected = getattr(model(pixel_values=pixels), TASKS[task][1])
    expected = expected[:, 2:3] if task is Task.DEPTH else expected
    assert torch.equal(network(pixels), expected)
    spec = sapiens2_spec(tmp_path)
    assert spec == network.spec and spec.architecture == "tiny"
    assert (spec.task, spec.channels, spec.input_hw, spec.output_hw) == (task, expected.shape[1], HW, (16, 12))


@needs_transformers
def test_all_tasks_make_one_model_of_maps(tmp_path):
    engines = {}
    for task in TASKS:
        write(tmp_path / task.value, task)
        network = load_sapiens2(tmp_path / task.value)
        spec = network.spec
        engines[task] = TorchEngine(network, network_io(spec.input_hw, spec.channels, spec.output_hw))
    model = SapiensModel(engines, family="sapiens2")
    assert model.name == "sapiens2 normal+depth+seg+pose+matting, torch cpu float32"
    found = model.look(torch.randint(0, 256, (60, 80, 3), dtype=torch.uint8), (20, 10, 50, 55))
    assert found.mask is not None and found.labels is not None and found.points is not None
    assert found.normal is not None and found.depth is not None and found.points.shape == (308, 3)
    assert set(found.labels.unique().tolist()) <= {*range(28), 255}


@needs_transformers
def test_the_published_sizes_have_their_names(tmp_path):
    write(tmp_path, Task.SEG)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config |= {"num_key_value_heads_per_layer": None, "image_size": [1024, 768]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = sapiens2_spec(tmp_path)
    assert spec.architecture == "0.4b" and spec.input_hw == (1024, 768) and spec.output_hw == (256, 192)


@needs_transformers
def test_the_processors_size_goes_before_the_networks(tmp_path):
    write(tmp_path, Task.NORMAL)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 128, "width": 96}}))
    assert sapiens2_spec(tmp_path).input_hw == (128, 96)


@needs_transformers
@pytest.mark.parametrize("setting", [{"head_config": None}, {"hidden_size": "wide"}, {"patch_size": 0}])
def test_settings_that_make_no_network(setting: dict, tmp_path):
    write(tmp_path, Task.NORMAL)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | setting))
    with pytest.raises(CheckpointError, match=r"config.json: not the settings of a Sapiens2ForNormalEstimation"):
        sapiens2_spec(tmp_path)


@needs_transformers
def test_weights_that_do_not_fit(tmp_path):
    write(tmp_path / "a", Task.NORMAL)
    config = json.loads((tmp_path / "a/config.json").read_text())
    (tmp_path / "a/config.json").write_text(
        json.dumps(config | {"num_hidden_layers": 3, "num_key_value_heads_per_layer": None})
    )
    with pytest.raises(CheckpointError, match=r"weights of another network than its config.json says. \d+ missing: model\."):
        load_sapiens2(tmp_path / "a")
    write(tmp_path / "b", Task.NORMAL)
    weights = tmp_path / "b/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="the weights cannot be read"):
        load_sapiens2(tmp_path / "b")
    weights.unlink()
    (tmp_path / "b/pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"expected weights as \.safetensors, got config.json, pytorch_model.bin"):
        load_sapiens2(tmp_path / "b")


@pytest.fixture
def folder(tmp_path) -> Path:
    config = {"model_type": "sapiens2", "architectures": ["Sapiens2ForNormalEstimation"], "image_size": list(HW)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_another_task_than_asked_for(folder):
    with pytest.raises(CheckpointError, match="expected a network for depth, got one for normal"):
        sapiens2_spec(folder, Task.DEPTH)


def test_other_folders(folder):
    (folder / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    with pytest.raises(CheckpointError, match=r"expected model_type sapiens2 and one of Sapiens2For.*, got vit and ViTModel"):
        sapiens2_spec(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json: expected JSON"):
        sapiens2_spec(folder)
    (folder / "config.json").rename(folder / "readme.md")
    with pytest.raises(CheckpointError, match=r"expected a folder with config.json, got readme.md"):
        sapiens2_spec(folder)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"expected a folder with config.json, got nothing"):
        sapiens2_spec(folder)


def test_other_statistics_are_refused(folder):
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    with pytest.raises(CheckpointError, match=r"expected image_mean \[0.485, 0.456, 0.406\], got \[0.5, 0.5, 0.5\]"):
        sapiens2_spec(folder)


def test_without_transformers_the_command_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"5.23 or later: pip install fmgs_ros\[sapiens2\] \(there is none\)"):
        sapiens2_spec(folder)


def test_an_old_transformers_is_named(folder, monkeypatch):
    old = type(sys)("transformers")
    old.__version__ = "5.2.0"  # pyright: ignore
    monkeypatch.setitem(sys.modules, "transformers", old)
    with pytest.raises(ImportError, match=r"\(there is 5.2.0\)"):
        sapiens2_spec(folder)
