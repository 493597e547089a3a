"""Reading Sapiens files of every format, and refusing the others. Kinds: round trip, poison, behaviour."""

import io
import json
import os
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from fmgs_core.priors.sapiens.architecture import ARCHITECTURES, TINY, Architecture, spec_for
from fmgs_core.priors.sapiens.checkpoint import CheckpointError, load_network, read_checkpoint, spec_of
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task

HW = (64, 48)
# torch speaks against its own TorchScript writer, and of the shape checks that tests run under while it traces.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")]


def tiny(task: Task, channels: int | None = None) -> SapiensNetwork:
    return SapiensNetwork(spec_for(TINY, task, channels, HW)).eval()


def write_pth(network, path: Path) -> None:
    meta = {"epoch": 194, "config": "model = dict()"}
    torch.save({"meta": meta, "state_dict": network.state_dict()}, path)


def write_legacy_pth(network, path: Path) -> None:
    torch.save({"state_dict": network.state_dict()}, path, _use_new_zipfile_serialization=False)


def write_bare(network, path: Path) -> None:
    torch.save({f"module.{name}": tensor for name, tensor in network.state_dict().items()}, path)


def write_torchscript(network, path: Path) -> None:
    torch.jit.trace(network, torch.zeros(1, 3, *HW), check_trace=False).save(str(path))


def write_exported(network, path: Path) -> None:
    with path.open("wb") as file:  # by name, torch.export.save asks for one that ends in .pt2
        torch.export.save(torch.export.export(network, (torch.zeros(1, 3, *HW),)), file)


def write_exported_before_2_8(network, path: Path) -> None:
    """The layout of torch 2.1 to 2.7, member by member; their torch.export.save wrote the state dict with torch.save."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.2")
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", _saved(dict(network.state_dict())))
        archive.writestr("serialized_constants.pt", _saved({}))


def write_exported_2_8(network, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/archive_format", "pt2")
        archive.writestr("x/models/model.json", "{}")
        archive.writestr("x/data/weights/model.pt", _saved(dict(network.state_dict())))


def write_safetensors(network, path: Path) -> None:
    safetensors.torch.save_file(network.state_dict(), path)


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


WRITERS = {
    write_pth: "pth",
    write_legacy_pth: "pth",
    write_bare: "pth",
    write_torchscript: "torchscript",
    write_exported: "torch.export",
    write_exported_before_2_8: "torch.export",
    write_exported_2_8: "torch.export",
    write_safetensors: "safetensors",
}


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_comes_back_under_any_name(write, tmp_path):
    network, path = tiny(Task.NORMAL), tmp_path / "whatever.bin"
    write(network, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.format == WRITERS[write]
    assert spec_of(checkpoint) == network.spec
    back, expected = load_network(path).state_dict(), network.state_dict()
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[name], expected[name]) for name in expected)


@pytest.mark.parametrize("write", [write_torchscript, write_exported, write_pth])
def test_a_bfloat16_file_runs_in_float32(write, tmp_path):
    network, path = tiny(Task.DEPTH), tmp_path / "half.pt2"
    half = tiny(Task.DEPTH).to(torch.bfloat16)
    half.load_state_dict(network.state_dict())
    if write is write_pth:
        write(half, path)
    elif write is write_torchscript:
        torch.jit.trace(half, torch.zeros(1, 3, *HW, dtype=torch.bfloat16), check_trace=False).save(str(path))
    else:
        with path.open("wb") as file:
            torch.export.save(torch.export.export(half, (torch.zeros(1, 3, *HW, dtype=torch.bfloat16),)), file)
    loaded = load_network(path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32} and not loaded.training
    assert all(torch.equal(p, q.float()) for p, q in zip(loaded.parameters(), half.parameters(), strict=True))
    assert loaded(torch.zeros(2, 3, *HW)).shape == (2, 1, 64, 48)


@pytest.mark.parametrize(
    ("task", "channels", "padding"),
    [(Task.NORMAL, 3, 2), (Task.DEPTH, 1, 0), (Task.SEG, 28, 0), (Task.SEG, 20, 2), (Task.POSE, 17, 2), (Task.POSE, 133, 2)],
)
def test_task_and_padding_are_found(task, channels, padding, tmp_path):
    write_pth(tiny(task, channels), path := tmp_path / "x.pth")
    network = load_network(path, task)
    assert (network.spec.task, network.spec.channels, network.spec.padding) == (task, channels, padding)
    assert network.backbone.patch_embed.projection.padding == (padding, padding)


def test_the_published_sizes_are_told_apart(tmp_path):
    """With all tensors of one value, which costs no memory; the largest is 8.6 GB otherwise."""
    for architecture in ARCHITECTURES.values():
        with torch.device("meta"):
            shapes = {k: v.shape for k, v in SapiensNetwork(spec_for(architecture, Task.POSE)).state_dict().items()}
        state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
        torch.save({"state_dict": state}, path := tmp_path / "x.pth")
        assert spec_of(read_checkpoint(path)) == spec_for(architecture, Task.POSE)


def test_another_task_than_asked_for(tmp_path):
    write_pth(tiny(Task.DEPTH), path := tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth: expected a network for normal, got one for depth"):
        load_network(path, Task.NORMAL)


def refused(path: Path, state: dict | None = None) -> str:
    if state is not None:
        torch.save({"state_dict": state}, path)
    with pytest.raises(CheckpointError) as info:
        load_network(path)
    text = str(info.value)
    assert path.name in text and len(text) < 600 and "\n" not in text, text
    return text.removeprefix(f"{path}: ")


def test_missing_extra_and_wrong_keys_are_named(tmp_path):
    state = tiny(Task.SEG).state_dict()
    del state["backbone.layers.1.attn.qkv.weight"], state["backbone.ln1.bias"]
    state["auxiliary_head.weight"] = torch.zeros(1)
    state["backbone.layers.0.ln1.bias"] = torch.zeros(65)
    text = refused(tmp_path / "x.pth", state)
    assert text.startswith("not the tiny seg network (40 tensors) it looks like")
    assert "2 missing: backbone.layers.1.attn.qkv.weight, backbone.ln1.bias" in text
    assert "1 extra: auxiliary_head.weight" in text
    assert "1 of the wrong shape: backbone.layers.0.ln1.bias (65,) for (64,)" in text


def test_long_lists_are_cut(tmp_path):
    state = {k: v for k, v in tiny(Task.SEG).state_dict().items() if "backbone.layers.1." not in k}
    assert re.search(r"12 missing: (\S+ ){4}and 8 more", refused(tmp_path / "x.pth", state))


def test_files_before_training_for_a_task(tmp_path):
    state = {k: v for k, v in tiny(Task.SEG).state_dict().items() if k.startswith("backbone.")}
    message = "a pre-training file (class token, positions of a square picture): it has no head. Use the file of a task:"
    for prefix in ("backbone.", ""):
        with_token = {k.replace("backbone.", prefix): v for k, v in state.items()} | {
            f"{prefix}cls_token": torch.zeros(1, 1, 64)
        }
        assert refused(tmp_path / "a.pth", with_token).startswith(message)
    longer = state | {"backbone.pos_embed": torch.zeros(1, 4097, 64)}
    assert refused(tmp_path / "b.pth", longer).startswith(message)
    assert refused(tmp_path / "c.pth", state).startswith("a backbone without a head")


def test_other_networks(tmp_path):
    assert refused(tmp_path / "a.pth", {"conv1.weight": torch.zeros(2)}).startswith(
        "expected a Sapiens v1 network with keys backbone.*, got conv1.weight"
    )
    sapiens2 = {"model.embeddings.patch_embeddings.weight": torch.zeros(1), "decode_head.predictor.bias": torch.zeros(1)}
    safetensors.torch.save_file(sapiens2, tmp_path / "b.safetensors")
    assert refused(tmp_path / "b.safetensors").startswith("weights of Sapiens2; add the folder")
    other = SapiensNetwork(spec_for(Architecture("x", 96, 2, 2, 32), Task.SEG, None, HW)).state_dict()
    assert "got 96 wide, 2 layers" in refused(tmp_path / "c.pth", other)
    square = tiny(Task.SEG).state_dict() | {"backbone.pos_embed": torch.zeros(1, 16, 64)}
    assert refused(tmp_path / "d.pth", square) == "expected backbone.pos_embed (1, 3072, width), got (1, 16, 64)"
    torch.save([torch.zeros(1)], tmp_path / "e.pth")
    assert refused(tmp_path / "e.pth") == "expected a dict with state_dict, or one of tensors, got list"
    torch.save({"model": 1, "epoch": 2}, tmp_path / "f.pth")
    assert refused(tmp_path / "f.pth").endswith("got a dict of model, epoch")


class Bomb:
    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


def test_code_is_never_run(tmp_path):
    victim = tmp_path / "victim"
    torch.save({"state_dict": tiny(Task.SEG).state_dict(), "optimizer": Bomb(victim)}, tmp_path / "zip.pth")
    torch.save({"state_dict": Bomb(victim)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb(victim), protocol=2))
    for name in ("zip.pth", "old.pth", "plain.pth"):
        text = refused(tmp_path / name)
        assert text.startswith("the pickle holds code or objects beside tensors, which are never loaded") and "mkdir" in text
    assert not victim.exists()


def test_a_training_log_beside_the_weights_is_left_out(tmp_path, monkeypatch):
    """mmengine's log, written by classes that the reader does not have."""
    module = type(sys)("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self._history, self._scale = np.arange(3.0), np.float64(2)
            self._methods = {"mean": HistoryBuffer.mean}

        def mean(self) -> float:
            raise AssertionError("the log was used")

        def __setstate__(self, _: object) -> None:
            raise AssertionError("the log was made")

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    HistoryBuffer.mean.__qualname__, HistoryBuffer.mean.__module__ = "HistoryBuffer.mean", module.__name__
    module.HistoryBuffer = HistoryBuffer  # pyright: ignore
    network, path = tiny(Task.NORMAL), tmp_path / "x.pth"
    with monkeypatch.context() as patch:
        for name in ("mmengine", "mmengine.logging", module.__name__):
            patch.setitem(sys.modules, name, module)
        log = {"log_scalars": OrderedDict(loss=HistoryBuffer())}
        torch.save({"meta": {"epoch": 1}, "state_dict": network.state_dict(), "message_hub": log}, path)
    assert b"HistoryBuffer" in path.read_bytes()
    loaded = load_network(path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("kind", ["torchscript", "export", "export config"])
def test_code_inside_the_archives_is_never_run(kind: str, tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "x.pt2"
    bomb = pickle.dumps({"backbone.pos_embed": Bomb(victim)}, protocol=2)
    with zipfile.ZipFile(path, "w") as archive:
        if kind == "torchscript":
            archive.writestr("x/code/__torch__.py", "")
            archive.writestr("x/data.pkl", bomb)
        elif kind == "export":
            archive.writestr("x/archive_format", "pt2")
            archive.writestr("x/data/weights/model.pt", bomb)
        else:
            config = {"config": {"backbone.pos_embed": {"path_name": "weight_0", "use_pickle": True}}}
            archive.writestr("x/models/model.json", "{}")
            archive.writestr("x/data/weights/model_weights_config.json", json.dumps(config))
            archive.writestr("x/data/weights/weight_0", bomb)
    assert refused(path).startswith("the pickle holds code or objects beside tensors")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html><html>log in</html>", "a web page (HTML), not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "a git-LFS pointer, not the file itself"),
        (
            b"hello, world",
            "expected a .pth, TorchScript, torch.export or safetensors file, got one that starts with b'hello, world'",
        ),
    ],
)
def test_files_that_are_none(content: bytes, message: str, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    assert refused(tmp_path / "x.pth").startswith(message)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"x\.pth: expected a file, got none"):
        read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"expected a file, got a folder"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("write", WRITERS)
def test_a_file_cut_off_anywhere_is_refused_as_such(write, share: float, tmp_path):
    path = tmp_path / "x.pth"
    write(tiny(Task.POSE, 17), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut off" in refused(path)


@pytest.mark.parametrize("write", WRITERS)
def test_damaged_files_are_read_or_refused(write, tmp_path):
    """Fuzz: bytes changed among names and sizes, where readers believe what stands there."""
    path, random = tmp_path / "x.pth", np.random.default_rng(0)
    write(tiny(Task.POSE, 17), path)
    content = path.read_bytes()
    places = [match.start() for match in re.finditer(rb"PK|backbone|torch|Storage|sizes|\x80\x02", content)]
    for _ in range(25):
        damaged = bytearray(content)
        for place in random.choice(places, random.integers(1, 6)):
            damaged[min(max(place + random.integers(-40, 60), 0), len(content) - 1)] = random.integers(256)
        path.write_bytes(damaged)
        try:
            load_network(path)
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_a_zip_of_other_things(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("word/document.xml", "")
    assert refused(tmp_path / "x.pth") == "a zip, but none that torch wrote: it holds word/document.xml"


def test_a_frozen_torchscript_says_so(tmp_path):
    frozen = torch.jit.freeze(torch.jit.trace(tiny(Task.DEPTH), torch.zeros(1, 3, *HW), check_trace=False))
    frozen.save(str(tmp_path / "x.pt2"))
    assert "no named weights (a frozen TorchScript" in refused(tmp_path / "x.pt2")


def test_weights_that_are_not_finite(tmp_path):
    state = tiny(Task.SEG).state_dict()
    state["backbone.ln1.weight"][3] = torch.nan
    assert refused(tmp_path / "x.pth", state) == "expected finite weights, got NaN or infinity in backbone.ln1.weight"
