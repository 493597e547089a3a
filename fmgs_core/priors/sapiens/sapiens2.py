"""Sapiens2 through the library that implements it, transformers: folders with config.json and safetensors, offline."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from fmgs_core.priors.sapiens.checkpoint import CheckpointError
from fmgs_core.priors.sapiens.crop import MEAN, STD
from fmgs_core.priors.sapiens.tasks import Task

INSTALL = "Sapiens2 needs transformers 5.23 or later: pip install fmgs_ros[sapiens2]"


@dataclass(frozen=True)
class _Class:
    """One of transformers' classes and where its output lies."""

    task: Task
    output: Callable[[Any], Tensor]


def _depth(outputs: Any) -> Tensor:
    """z of the pointmap in the canonical camera; the scale branch would make it metric, and only order is used."""
    return outputs.pointmaps[:, 2:3]


_CLASSES = {
    "Sapiens2ForNormalEstimation": _Class(Task.NORMAL, lambda outputs: outputs.normals),
    "Sapiens2ForPointmapEstimation": _Class(Task.DEPTH, _depth),
    "Sapiens2ForSemanticSegmentation": _Class(Task.SEG, lambda outputs: outputs.logits),
    "Sapiens2ForPoseEstimation": _Class(Task.POSE, lambda outputs: outputs.heatmaps),
    "Sapiens2ForImageMatting": _Class(Task.MATTING, lambda outputs: outputs.alphas),
}


@dataclass(frozen=True)
class Sapiens2Spec:
    """What a folder holds."""

    class_name: str
    """Of transformers."""
    task: Task
    architecture: str
    """By its number of weights, as the published ones are called: "0.4b"."""
    channels: int
    input_hw: tuple[int, int]
    output_hw: tuple[int, int]


class Sapiens2Network(nn.Module):
    """Picture to the raw output of one head, as `SapiensNetwork` gives it: an engine can hold either."""

    def __init__(self, model: nn.Module, spec: Sapiens2Spec):
        super().__init__()
        self.spec, self.model = spec, model

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        return _CLASSES[self.spec.class_name].output(self.model(pixel_values=pixels))


def sapiens2_spec(folder: Path | str, task: Task | None = None) -> Sapiens2Spec:
    """From config.json alone, without reading weights.

    Raises:
        ImportError: no transformers, or one that does not know Sapiens2.
        CheckpointError: no folder of Sapiens2 for that task.
    """
    folder = Path(folder)
    class_name = _class_name(folder, task)
    _check_statistics(folder)
    input_hw, model_class = _input_hw(folder), _model_class(class_name)
    try:
        network, output = _empty(model_class, folder, input_hw)
    except Exception as error:  # the settings are checked in many places, each in its own way
        raise CheckpointError(f"{folder}/config.json: not the settings of a {class_name}: {str(error)[:200]}") from error
    size = _size_name(sum(p.numel() for p in network.parameters()))
    _, channels, *output_hw = output.shape
    return Sapiens2Spec(class_name, _CLASSES[class_name].task, size, channels, input_hw, (output_hw[0], output_hw[1]))


def load_sapiens2(folder: Path | str, task: Task | None = None) -> Sapiens2Network:
    """The network of a folder, ready to run: eval mode, float32, CPU, without gradients.

    Raises:
        ImportError: as `sapiens2_spec`.
        CheckpointError: as `sapiens2_spec`, or weights that are not there, damaged, or of another network.
    """
    folder, spec = Path(folder), sapiens2_spec(folder, task)
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder}: expected weights as .safetensors, got {_listing(folder)}")
    try:
        with _no_progress_bar():
            model, info = _model_class(spec.class_name).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the weights cannot be read: {str(error).strip().splitlines()[0][:200]}") from error
    _check_names(folder, info)
    return Sapiens2Network(model.eval().requires_grad_(False), spec)


def _transformers() -> ModuleType:
    try:
        import transformers  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ImportError(f"{INSTALL} (there is none)") from error
    if not hasattr(transformers, "Sapiens2Config"):
        raise ImportError(f"{INSTALL} (there is {transformers.__version__})")
    return transformers


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Weights are read from disk in a second; who calls shows his own progress."""
    logging = _transformers().utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _model_class(name: str) -> Any:
    return getattr(_transformers(), name)


def _class_name(folder: Path, task: Task | None) -> str:
    config = _json(folder / "config.json")
    kind, name = config.get("model_type"), str((config.get("architectures") or [None])[0])
    if kind != "sapiens2" or name not in _CLASSES:
        raise CheckpointError(
            f"{folder}/config.json: expected model_type sapiens2 and one of {', '.join(_CLASSES)}, got {kind} and {name}"
        )
    found = _CLASSES[name].task
    if task not in (None, found):
        raise CheckpointError(f"{folder}: expected a network for {task.value}, got one for {found.value}")
    return name


def _empty(model_class: Any, folder: Path, input_hw: tuple[int, int]) -> tuple[nn.Module, Tensor]:
    """The network and its output without memory or weights, for their shapes."""
    config = _transformers().Sapiens2Config.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        network = model_class(config).eval()
        return network, _CLASSES[model_class.__name__].output(network(pixel_values=torch.empty(1, 3, *input_hw)))


def _input_hw(folder: Path) -> tuple[int, int]:
    """What pictures are resized to: the processor's size, else the size that the network was made for."""
    processor = folder / "preprocessor_config.json"
    size = _json(processor).get("size", {}) if processor.is_file() else {}
    if "height" in size and "width" in size:
        return size["height"], size["width"]
    size = _json(folder / "config.json").get("image_size", 224)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _check_statistics(folder: Path) -> None:
    """All networks get the same pixels, so a folder that asks for others cannot be used."""
    processor = folder / "preprocessor_config.json"
    settings = _json(processor) if processor.is_file() else {}
    for key, ours in (("image_mean", MEAN), ("image_std", STD)):
        asked = settings.get(key) or [value / 255 for value in ours]
        if any(abs(value * 255 - mine) > 0.01 for value, mine in zip(asked, ours, strict=True)):
            raise CheckpointError(f"{processor}: expected {key} {[round(value / 255, 3) for value in ours]}, got {asked}")


def _check_names(folder: Path, info: Any) -> None:
    """transformers fills what is missing with random numbers and says so in a log; here it is an error."""
    found = {kind: sorted(map(str, info[f"{kind}_keys"])) for kind in ("missing", "unexpected", "mismatched")}
    complaints = [f"{len(names)} {kind}: {', '.join(names[:4])}" for kind, names in found.items() if names]
    if complaints:
        raise CheckpointError(f"{folder}: weights of another network than its config.json says. {'; '.join(complaints)}")


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent}: expected a folder with {path.name}, got {_listing(path.parent)}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: expected JSON, got {error}") from error


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())[:5] if folder.is_dir() else []
    return ", ".join(names) or "nothing"


def _size_name(weights: int) -> str:
    billions = weights / 1e9
    return "tiny" if billions < 0.05 else f"{billions:.1f}b" if billions < 0.95 else f"{billions:.0f}b"
