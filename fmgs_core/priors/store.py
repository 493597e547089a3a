"""A user's own model files: where they are, what they are, under which licence, and whether they are still the same.

Files stay where the user keeps them. What is made of them (ONNX, TensorRT engines) lies in the store's folder.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from fmgs_core.atomic import alone
from fmgs_core.priors.contents import content_sha256, size_and_time
from fmgs_core.priors.engines.engine import Engine, OnProgress, TensorSpec, network_io, silent
from fmgs_core.priors.engines.export import export_onnx, read_export, record_path, weights_path
from fmgs_core.priors.engines.onnxruntime_engine import OnnxRuntimeEngine
from fmgs_core.priors.engines.tensorrt_engine import tensorrt_engine
from fmgs_core.priors.engines.torch_engine import TorchEngine
from fmgs_core.priors.manifest import default_folder, editing, read_manifest
from fmgs_core.priors.sapiens.checkpoint import load_network, read_checkpoint, spec_of
from fmgs_core.priors.sapiens.sapiens2 import load_sapiens2, sapiens2_spec
from fmgs_core.priors.sapiens.tasks import Task

LICENCES = {
    "sapiens": "CC-BY-NC-4.0",
    "sapiens2": "Sapiens2 Licence",
}
"""By family."""
LICENCE_TEXTS = {
    "sapiens": "The weights of Sapiens are under CC-BY-NC-4.0: they and what is made with them are not for commercial use, "
    "and their authors must be named.",
    "sapiens2": "The weights of Sapiens2 are under a licence of their own that forbids some uses: read the LICENSE that "
    "came with them.",
}
EngineKind = Literal["torch", "onnxruntime", "tensorrt"]
ENGINES: tuple[EngineKind, ...] = get_args(EngineKind)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class StoredModel:
    """One of the user's files."""

    name: str
    path: Path
    """The file; of Sapiens2 the folder with config.json and the weights."""
    sha256: str
    bytes: int
    modified_ns: int
    """Of the file when it was last hashed: the hash is taken again when it differs."""
    family: str
    """"sapiens" or "sapiens2"."""
    task: Task
    architecture: str
    channels: int
    input_hw: tuple[int, int]
    output_hw: tuple[int, int]
    licence: str
    licence_accepted: bool
    folder: Path
    """Where files made of it lie."""

    @property
    def io(self) -> tuple[TensorSpec, TensorSpec]:
        """Input and output of its network."""
        return network_io(self.input_hw, self.channels, self.output_hw)

    @property
    def onnx_path(self) -> Path:
        """Where its ONNX file is, or would be: named by content, so that another checkpoint never takes its place."""
        return self.folder / f"{self.architecture}-{self.task.value}-{self.sha256[:16]}.onnx"

    @property
    def onnx(self) -> Path | None:
        """Its ONNX file, if there is a complete one."""
        return self.onnx_path if read_export(self.onnx_path) else None


@dataclass(frozen=True)
class _Described:
    """What a file says of itself."""

    family: str
    task: Task
    architecture: str
    channels: int
    input_hw: tuple[int, int]
    output_hw: tuple[int, int]


class ModelStore:
    """The models in one folder.

    Args:
        folder: by default $FMGS_MODELS, else $XDG_DATA_HOME/fmgs/models, else ~/.local/share/fmgs/models.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or default_folder()

    def list(self) -> list[StoredModel]:
        """By name. Says nothing of whether the files are still there."""
        manifest = read_manifest(self.folder)
        return [self._stored(name, manifest.models[name], manifest.licences) for name in sorted(manifest.models)]

    def get(self, name: str) -> StoredModel:
        """
        Raises:
            ValueError: no model of that name.
        """
        found = {model.name: model for model in self.list()}
        if name not in found:
            raise ValueError(
                f"model: expected one of {', '.join(found) or 'none: none is stored'}, got {name!r} (`fmgs models list`)"
            )
        return found[name]

    def add(
        self, path: Path, name: str | None = None, task: Task | None = None, *, accept_licence: bool = False
    ) -> StoredModel:
        """Remembers a file after reading it whole. Adding the same file again changes nothing.

        Raises:
            CheckpointError: not a network that can be used, or not for `task`.
            ValueError: the licence is not accepted, or the name belongs to another file or cannot be one.
        """
        path = Path(path).expanduser().resolve()
        family = family_of(path)
        if not (accept_licence or self.licence_accepted(family)):
            raise ValueError(f"{LICENCE_TEXTS[family]} Add --accept-licence if you do")
        described = _described(path, family, task)
        name = name or default_name(described.family, described.architecture, described.task, described.channels)
        if not _NAME.fullmatch(name):
            raise ValueError(f"model name: expected letters, digits, dots and dashes, got {name!r}")
        entry = _entry(path, described)
        with editing(self.folder) as manifest:
            old = manifest.models.get(name, entry)
            if old["sha256"] != entry["sha256"]:
                raise ValueError(
                    f"model name {name!r}: expected a new one, got that of {old['path']};"
                    f" --name another, or `fmgs models remove {name}`"
                )
            manifest.models[name] = entry
            manifest.licences = sorted({*manifest.licences, LICENCES[family]})
        return self.get(name)

    def remove(self, name: str) -> StoredModel:
        """Forgets a model and deletes what was made of it; the user's own file stays."""
        model = self.get(name)
        with editing(self.folder) as manifest:
            del manifest.models[name]
            shared = any(entry["sha256"] == model.sha256 for entry in manifest.models.values())
        if not shared:
            for file in derived_files(model):
                file.unlink(missing_ok=True)
        return model

    def licence_accepted(self, family: str) -> bool:
        return LICENCES[family] in read_manifest(self.folder).licences

    def _stored(self, name: str, entry: dict[str, Any], accepted: Sequence[str]) -> StoredModel:
        licence = LICENCES[entry["family"]]
        values: dict[str, Any] = entry | {
            "path": Path(entry["path"]),
            "task": Task(entry["task"]),
            "input_hw": tuple(entry["input_hw"]),
            "output_hw": tuple(entry["output_hw"]),
        }
        return StoredModel(name=name, licence=licence, licence_accepted=licence in accepted, folder=self.folder, **values)


def default_name(family: str, architecture: str, task: Task, channels: int) -> str:
    """Such as sapiens-0.3b-normal and sapiens-1b-seg28: of classes and keypoints there are several lists."""
    count = str(channels) if task in (Task.SEG, Task.POSE) else ""
    return f"{family}-{architecture}-{task.value}{count}"


def family_of(path: Path) -> str:
    """Sapiens2 comes as a folder, Sapiens v1 as a file."""
    return "sapiens2" if path.is_dir() else "sapiens"


def open_engine(
    model: StoredModel,
    kind: EngineKind,
    device: str = "cpu",
    *,
    dtype: torch.dtype | None = None,
    threads: int = 0,
    on_progress: OnProgress = silent,
) -> Engine:
    """An engine for the model, after a look at whether its file is the one that was added.

    Args:
        kind: "onnxruntime" and "tensorrt" export the ONNX file first where there is none; "tensorrt" builds and verifies
            its engine where there is none for this GPU. Both take minutes, once.
        dtype: of the computation; by default float32, and bfloat16 for TensorRT. onnxruntime knows float32 only.
        threads: of onnxruntime on the CPU; 0 for one per core.

    Raises:
        ImportError: the package of that kind is missing.
        ValueError: a changed file, a licence not accepted, a device or provider that is not there, or an engine that
            disagrees with the network.
    """
    check_unchanged(model)
    if kind == "torch":
        on_progress(f"loading {model.name}", 0.0)
        return TorchEngine(load_module(model), model.io, device=device, dtype=dtype or torch.float32)
    if kind not in ENGINES or (kind == "onnxruntime" and dtype not in (None, torch.float32)):
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)} and float32 with onnxruntime, got {kind!r} and {dtype}")
    path = exported_onnx(model, on_progress)
    on_progress(f"loading {model.name}", 0.0)
    if kind == "onnxruntime":
        return OnnxRuntimeEngine(path, model.io, device=device, threads=threads)
    with alone(model.folder / ".build.lock"):
        return tensorrt_engine(
            path, model.io, model.task, device=device, dtype=dtype or torch.bfloat16, on_progress=on_progress
        )


def load_module(model: StoredModel) -> nn.Module:
    """The network of its file, on the CPU in float32.

    Raises:
        CheckpointError: the file cannot be read.
        ImportError: Sapiens2 without transformers.
    """
    return (load_sapiens2 if model.family == "sapiens2" else load_network)(model.path, model.task)


def exported_onnx(model: StoredModel, on_progress: OnProgress = silent) -> Path:
    """The model's ONNX file, made when there is none.

    Raises:
        ValueError: as `check_unchanged` and `export_onnx`.
    """
    with alone(model.folder / ".export.lock"):  # of two processes the second finds what the first has made
        if model.onnx is None:
            check_unchanged(model, thorough=True)
            export_onnx(load_module(model), model.io, model.task, model.onnx_path, on_progress)
    return model.onnx_path


def check_unchanged(model: StoredModel, *, thorough: bool = False) -> None:
    """Hashes the file where its size or time differ from what is remembered, or always when thorough (2 GB/s).

    Raises:
        ValueError: the licence is not accepted; the file is gone, or another one.
    """
    if not model.licence_accepted:
        raise ValueError(f"{model.name}: {LICENCE_TEXTS[model.family]} `fmgs models add` it with --accept-licence if you do")
    if not model.path.exists():
        raise ValueError(
            f"{model.name}: expected its file at {model.path}, got none;"
            f" `fmgs models remove {model.name}`, then add it where it is"
        )
    if not thorough and size_and_time(model.path) == (model.bytes, model.modified_ns):
        return
    found = content_sha256(model.path)
    if found != model.sha256:
        raise ValueError(
            f"{model.name}: {model.path} has changed since it was added: expected sha256 {model.sha256[:16]}, got {found[:16]};"
            f" `fmgs models remove {model.name}`, then add it again if the change is yours"
        )


def derived_files(model: StoredModel) -> list[Path]:
    """What was made of it in the store: ONNX file, weights, record, engines."""
    path = model.onnx_path
    return [p for p in (path, weights_path(path), record_path(path), *path.parent.glob(f"{path.name}.*")) if p.is_file()]


def _described(path: Path, family: str, task: Task | None) -> _Described:
    if family == "sapiens2":
        folder = sapiens2_spec(path, task)
        return _Described(family, folder.task, folder.architecture, folder.channels, folder.input_hw, folder.output_hw)
    spec = spec_of(read_checkpoint(path), task)
    return _Described(family, spec.task, spec.architecture.name, spec.channels, spec.input_hw, spec.output_hw)


def _entry(path: Path, described: _Described) -> dict[str, Any]:
    """A model's part of the manifest."""
    size, modified_ns = size_and_time(path)
    entry = asdict(described) | {"task": described.task.value}
    return entry | {"path": str(path), "sha256": content_sha256(path), "bytes": size, "modified_ns": modified_ns}
