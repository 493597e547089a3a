"""Reads a user's Sapiens v1 file, whatever it is called: weights only, every key and shape checked before use."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor

from fmgs_core.priors.sapiens.architecture import (
    ARCHITECTURES,
    ASPECT_HW,
    PATCH,
    TINY,
    Architecture,
    NetworkSpec,
    padding_of,
)
from fmgs_core.priors.sapiens.archives import ForbiddenObject, exported_tensors, pickled_content, torchscript_tensors
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task

# What wrappers put before every name: torch.nn.DataParallel, torch.compile, exports of a module inside a module.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
_SHOWN = 4


class CheckpointError(ValueError):
    """The file cannot be used; the text says what it is and what was expected."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a file, as they are stored."""

    path: Path
    format: str
    """"pth", "torchscript", "torch.export" or "safetensors"."""
    tensors: dict[str, Tensor]
    """By name, without what wrappers put before every name; of any floating type."""


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Weights of a .pth, TorchScript, torch.export or safetensors file, told apart by content.

    Raises:
        CheckpointError: no such file, or one that is empty, cut off, of another kind, or a pickle with code.
    """
    path = Path(path)
    kind = _format(path)
    try:
        tensors = _tensors(path, kind)
    except (ForbiddenObject, pickle.UnpicklingError) as error:
        raise CheckpointError(_why_not_unpickled(path, error)) from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        raise CheckpointError(f"{path}: the {kind} file is cut off or damaged; get it again ({_line(error)})") from error
    if not tensors:
        raise CheckpointError(f"{path}: the {kind} file has no named weights (a frozen TorchScript keeps them as constants)")
    return Checkpoint(path, kind, _unwrapped(tensors))


def spec_of(checkpoint: Checkpoint, task: Task | None = None) -> NetworkSpec:
    """The network whose weights these are, every key and shape of it.

    Raises:
        CheckpointError: another network, a pre-training file, another task than `task`, or names or shapes that differ.
    """
    _refuse_other_networks(checkpoint)
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    found, channels = _task_and_channels(checkpoint.path, shapes)
    if task not in (None, found):
        raise CheckpointError(f"{checkpoint.path}: expected a network for {task.value}, got one for {found.value}")
    architecture = _architecture(checkpoint.path, shapes)
    input_hw = _input_hw(checkpoint.path, shapes["backbone.pos_embed"])
    spec = NetworkSpec(architecture, found, channels, padding_of(found, channels), input_hw)
    _check_shapes(checkpoint.path, spec, shapes)
    return spec


def load_network(path: Path | str, task: Task | None = None) -> SapiensNetwork:
    """The network of a file, ready to run: eval mode, float32, CPU, without gradients.

    Raises:
        CheckpointError: as `read_checkpoint` and `spec_of`, or weights that are not finite.
    """
    checkpoint = read_checkpoint(path)
    with torch.device("meta"):
        network = SapiensNetwork(spec_of(checkpoint, task))
    network.load_state_dict({name: _float32(checkpoint.path, name, t) for name, t in checkpoint.tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _format(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a file, got {'a folder' if path.is_dir() else 'none'}")
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pth"
    raise CheckpointError(f"{path}: {_what_it_is(head)}")


def _zip_format(path: Path) -> str:
    try:
        names = ZipFile(path).namelist()
    except (BadZipFile, NotImplementedError, ValueError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path}: cut off after {size} bytes, or damaged: the zip has no directory at its end; get it again"
        ) from error
    if any("/code/" in name for name in names):
        return "torchscript"
    if any("/models/" in n or n.endswith("archive_format") or n.startswith("serialized_state_dict.") for n in names):
        return "torch.export"
    if any(name.endswith("/data.pkl") for name in names):
        return "pth"
    raise CheckpointError(f"{path}: a zip, but none that torch wrote: it holds {_listed(names)}")


def _what_it_is(head: bytes) -> str:
    """Of what people have been seen to save under the name of a checkpoint."""
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "a git-LFS pointer, not the file itself: run `git lfs pull` where it came from"
    if head.lstrip()[:1] == b"<":
        return "a web page (HTML), not a checkpoint: the download answered with a page, perhaps a log-in"
    return f"expected a .pth, TorchScript, torch.export or safetensors file, got one that starts with {head[:16]!r}"


def _tensors(path: Path, kind: str) -> dict[str, Tensor]:
    if kind == "safetensors":
        return load_file(path)
    if kind == "pth":
        return _state_dict(path)
    with ZipFile(path) as archive:
        return (torchscript_tensors if kind == "torchscript" else exported_tensors)(archive)


def _state_dict(path: Path) -> dict[str, Tensor]:
    content = _unpickled(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        what = f"a dict of {_listed(list(map(str, state)))}" if isinstance(state, Mapping) else type(state).__name__
        raise CheckpointError(f"{path}: expected a dict with state_dict, or one of tensors, got {what}")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not is_zipfile(path):
            raise
    with ZipFile(path) as archive:
        return pickled_content(archive)


def _why_not_unpickled(path: Path, error: Exception) -> str:
    """torch words its refusal for people who may trust the file; here it is final."""
    text = str(error)
    if isinstance(error, ForbiddenObject) or "GLOBAL" in text or "Unsupported" in text:
        return (
            f"{path}: the pickle holds code or objects beside tensors, which are never loaded ({_line(error)})."
            " Where the file was made, write it again with torch.save({'state_dict': model.state_dict()}, path)"
        )
    return f"{path}: the pickle is cut off or damaged; get the file again ({_line(error)})"


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            return _unwrapped({name.removeprefix(wrapper): tensor for name, tensor in tensors.items()})
    return tensors


def _refuse_other_networks(checkpoint: Checkpoint) -> None:
    names, path = checkpoint.tensors, checkpoint.path
    positions = next((t for name, t in names.items() if name.endswith("pos_embed")), None)
    class_token = any(name.endswith("cls_token") for name in names)
    if any("embeddings.patch_embeddings." in name for name in names):
        raise CheckpointError(
            f"{path}: weights of Sapiens2; add the folder that holds them and config.json instead of the file"
        )
    if class_token or (positions is not None and positions.ndim == 3 and positions.shape[1] == 4097):
        raise CheckpointError(
            f"{path}: a pre-training file (class token, positions of a square picture): it has no head."
            " Use the file of a task: normal, depth, seg or pose"
        )
    if not any(name.startswith("backbone.") for name in names):
        raise CheckpointError(f"{path}: expected a Sapiens v1 network with keys backbone.*, got {_listed(list(names))}")
    if not any(name.startswith(("decode_head.", "head.")) for name in names):
        raise CheckpointError(f"{path}: a backbone without a head; use the file of a task: normal, depth, seg or pose")


def _task_and_channels(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Task, int]:
    final = shapes.get("head.final_layer.weight") or shapes.get("decode_head.conv_seg.weight")
    if final is None or len(final) != 4:
        raise CheckpointError(
            f"{path}: expected head.final_layer.weight or decode_head.conv_seg.weight (c, w, 1, 1), got {final}"
        )
    if "head.final_layer.weight" in shapes:
        return Task.POSE, final[0]
    if final[0] in (1, 3):
        return (Task.DEPTH, 1) if final[0] == 1 else (Task.NORMAL, 3)
    return Task.SEG, final[0]


def _architecture(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    dim = (0, *shapes.get("backbone.pos_embed", ()))[-1]
    layers = len({name.split(".")[2] for name in shapes if name.startswith("backbone.layers.")})
    known = (*ARCHITECTURES.values(), TINY)
    found = next((a for a in known if a.embed_dim == dim), None)
    if found is None or abs(found.layers - layers) > found.layers // 2:
        sizes = ", ".join(f"{a.name} ({a.embed_dim} wide, {a.layers} layers)" for a in known)
        raise CheckpointError(f"{path}: expected the size of {sizes}, got {dim} wide, {layers} layers")
    return found


def _input_hw(path: Path, positions: tuple[int, ...]) -> tuple[int, int]:
    """From the number of tokens, the aspect being known: 3072 are 64 rows of 48."""
    tokens = positions[1] if len(positions) == 3 else 0
    scale = round((tokens / (ASPECT_HW[0] * ASPECT_HW[1])) ** 0.5)
    rows, columns = ASPECT_HW[0] * scale, ASPECT_HW[1] * scale
    if tokens == 0 or rows * columns != tokens:
        raise CheckpointError(f"{path}: expected backbone.pos_embed (1, 3072, width), got {positions}")
    return rows * PATCH, columns * PATCH


def _check_shapes(path: Path, spec: NetworkSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in SapiensNetwork(spec).state_dict().items()}
    wrong = [f"{n} {shapes[n]} for {expected[n]}" for n in expected if n in shapes and shapes[n] != expected[n]]
    complaints = {
        "missing": [name for name in expected if name not in shapes],
        "extra": [name for name in shapes if name not in expected],
        "of the wrong shape": wrong,
    }
    found = [f"{len(names)} {what}: {_listed(names)}" for what, names in complaints.items() if names]
    if found:
        kind = f"{spec.architecture.name} {spec.task.value} network ({len(expected)} tensors)"
        raise CheckpointError(f"{path}: not the {kind} it looks like. {'; '.join(found)}")


def _float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    values = tensor.detach().to(torch.float32).contiguous()
    if not values.isfinite().all():
        raise CheckpointError(f"{path}: expected finite weights, got NaN or infinity in {name}")
    return values


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest if names else "nothing"


def _line(error: Exception) -> str:
    """The one line that tells; torch's messages have twenty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {telling[:160]}"
