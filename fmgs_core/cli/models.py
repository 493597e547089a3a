"""`fmgs models`: your own network files: added once, then used by name."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cv2
import numpy as np
import torch
import tyro
from jaxtyping import UInt8
from rich.console import Console
from rich.markup import escape

from fmgs_core.cli.models_table import check_table, checks_json, model_table
from fmgs_core.cli.presets import subcommands
from fmgs_core.cli.steps import Steps
from fmgs_core.priors.engines.export import read_export
from fmgs_core.priors.engines.picture import body_picture
from fmgs_core.priors.engines.tensorrt_engine import tensorrt_engine
from fmgs_core.priors.model_check import available_choices, check_engines
from fmgs_core.priors.sapiens.tasks import Task
from fmgs_core.priors.store import (
    LICENCE_TEXTS,
    ModelStore,
    StoredModel,
    check_unchanged,
    exported_onnx,
    family_of,
)

GETTING_STARTED = """\
No models are stored in {folder}. fmgs brings none and downloads none, and works without.
Weights come from their authors, under their licences: on Hugging Face look for facebook/sapiens (Sapiens, files .pth, .pt2
or .safetensors: normal, depth, seg, pose) and facebook/sapiens2 (Sapiens2, a folder with config.json). Then:

  fmgs models add FILE        once for each file
  fmgs run SOURCE --priors sapiens"""


@dataclass(frozen=True)
class ListModels:
    """Names, tasks and sizes of what is stored."""

    def run(self) -> int:
        store = ModelStore()
        if models := store.list():
            Console().print(model_table(models))
            print(f"stored in {store.folder}")
        else:
            print(GETTING_STARTED.format(folder=store.folder))
        return 0


@dataclass(frozen=True)
class AddModel:
    """Read a file whole and remember it. It stays where it is."""

    file: Annotated[Path, tyro.conf.Positional]
    """Sapiens: .pth, .pt2 or .safetensors. Sapiens2: the folder with config.json and the weights."""
    name: str | None = None
    """By default of its size and task, such as sapiens-0.3b-normal."""
    task: Literal["normal", "depth", "seg", "pose", "matting"] | None = None
    """What the file must be for; by default what it is."""
    accept_licence: bool = False
    """Accept the licence of the weights, once for all files of a family. Without it you are asked."""

    def run(self) -> int:
        store, family = ModelStore(), family_of(self.file)
        accepted = self.accept_licence or store.licence_accepted(family) or _asked(LICENCE_TEXTS[family])
        with Steps() as steps:
            steps(f"reading {self.file}", 0.0)
            task = None if self.task is None else Task(self.task)
            model = store.add(self.file, self.name, task, accept_licence=accepted)
        print(f"{model.name}: {model.family} {model.architecture}, {model.task.value}, sha256 {model.sha256[:16]}")
        return 0


@dataclass(frozen=True)
class RemoveModel:
    """Forget a model and delete what was made of it. Your file stays."""

    name: Annotated[str, tyro.conf.Positional]
    """As `fmgs models list` says it."""

    def run(self) -> int:
        print(f"{self.name} is forgotten; its file stays at {ModelStore().remove(self.name).path}")
        return 0


@dataclass(frozen=True)
class ExportModel:
    """Write a model as an ONNX file and compare it with torch. Minutes; done by itself when an engine needs it."""

    name: Annotated[str, tyro.conf.Positional]
    """As `fmgs models list` says it."""

    def run(self) -> int:
        model = ModelStore().get(self.name)
        with Steps() as steps:
            path = exported_onnx(model, steps)
        record = read_export(path)
        assert record is not None
        print(f"{path}: opset {record.opset}, {record.bytes / 1e6:.0f} MB, written in {record.seconds:.0f} s")
        print(f"against torch: max {record.max_abs:.2e}, mean {record.mean_abs:.2e} of a range of {record.value_range:.3g}")
        return 0


@dataclass(frozen=True)
class BuildModel:
    """Build a model's TensorRT engine for this GPU, anew even where there is one, and compare it with onnxruntime. Minutes;
    done by itself when an engine needs it."""

    name: Annotated[str, tyro.conf.Positional]
    """As `fmgs models list` says it."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Of products. float16 has been seen to go wrong with such networks; float32 uses TF32."""
    batch: int = 1
    """Most pictures at once."""
    device: str = "cuda"

    def run(self) -> int:
        if not 1 <= self.batch <= 64:
            raise ValueError(f"--batch: expected 1 to 64, got {self.batch}")
        model, dtype = ModelStore().get(self.name), getattr(torch, self.dtype)
        with Steps() as steps:
            path = exported_onnx(model, steps)
            engine = tensorrt_engine(
                path, model.io, model.task, device=self.device, dtype=dtype, batch=self.batch, again=True, on_progress=steps
            )
        print(f"{model.name}: {engine.name}, built and verified; it lies in {path.parent}")
        return 0


@dataclass(frozen=True)
class CheckModel:
    """Hash the file, run every engine there is on one picture, and compare them. Exit code 1 when one disagrees or fails."""

    name: Annotated[str, tyro.conf.Positional]
    """As `fmgs models list` says it."""
    picture: Path | None = None
    """A person, as the network sees them (height to width 4 to 3); by default a drawn body."""
    json: Path | None = None
    """File for the figures, JSON."""

    def run(self) -> int:
        model = ModelStore().get(self.name)
        with Steps() as steps:
            steps(f"hashing {model.path}", 0.0)
            check_unchanged(model, thorough=True)
            checks = list(check_engines(model, available_choices(), self._seen(model), steps))
        console = Console()
        console.print(check_table(model, checks))
        for check in checks:
            for complaint in check.complaints:
                console.print(
                    f"[bold red]{check.choice} disagrees or fails:[/] {escape(complaint)}", highlight=False, soft_wrap=True
                )
        if self.json is not None:
            self.json.write_text(json.dumps(checks_json(model, checks), indent=1) + "\n")
        return 1 if any(check.complaints for check in checks) else 0

    def _seen(self, model: StoredModel) -> UInt8[np.ndarray, "h w 3"]:
        height, width = model.input_hw
        if self.picture is None:
            return body_picture(height, width)
        found = cv2.imread(str(self.picture))
        if found is None:
            raise ValueError(f"--picture: expected a picture that OpenCV reads, got {self.picture}")
        return cv2.cvtColor(cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


_ACTIONS = {
    "list": ListModels,
    "add": AddModel,
    "remove": RemoveModel,
    "export": ExportModel,
    "build": BuildModel,
    "check": CheckModel,
}
if TYPE_CHECKING:
    Action = ListModels | AddModel | RemoveModel | ExportModel | BuildModel | CheckModel
else:
    Action = subcommands(_ACTIONS, "")


@dataclass(frozen=True)
class Models:
    """Your own Sapiens files: list, add, remove, export to ONNX, build for TensorRT, check."""

    action: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Action]]
    """What to do."""

    def run(self) -> int:
        torch.set_num_threads(len(os.sched_getaffinity(0)))  # the command's one thread is for training beside a stream
        return self.action.run()


def _asked(text: str) -> bool:
    """Whether somebody at a terminal accepts; nobody does where there is none."""
    if not sys.stdin.isatty():
        return False
    return input(f"{text}\nDo you accept that? [y/N] ").strip().lower() in ("y", "yes")
