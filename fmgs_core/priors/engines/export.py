"""A torch module as an ONNX file, compared with the module before anybody uses it."""

import hashlib
import json
import logging
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fmgs_core.atomic import replacing
from fmgs_core.priors.engines.engine import OnProgress, TensorSpec, silent
from fmgs_core.priors.engines.onnxruntime_engine import OnnxRuntimeEngine
from fmgs_core.priors.engines.parity import compare
from fmgs_core.priors.engines.picture import body_picture, normalised_pixels
from fmgs_core.priors.engines.torch_engine import TorchEngine
from fmgs_core.priors.sapiens.tasks import Task

OPSET = 18
"""What torch's exporter writes without conversion; onnxruntime and TensorRT 10 and 11 have kernels for all of it."""
EXTERNAL_ABOVE_BYTES = 1_500_000_000
"""Weights beyond this lie in a file of their own: a protobuf ends at 2 GiB. 0.3b has 1.3 GB, 0.6b 2.6."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class OnnxExport:
    """What stands beside an ONNX file, in `record_path`; written last, so that it vouches for the rest."""

    opset: int
    torch: str
    sha256: str
    """Of the file and then of its external weights."""
    bytes: int
    max_abs: float
    """Largest and mean difference to torch on `body_picture`, and the range of torch's output."""
    mean_abs: float
    value_range: float
    seconds: float
    """What writing took, comparison apart."""


def export_onnx(
    module: nn.Module, io: tuple[TensorSpec, TensorSpec], task: Task, path: Path, on_progress: OnProgress = silent
) -> OnnxExport:
    """Writes `path`, perhaps `path`.data with the weights, and its record; runs it once on the CPU beside torch.

    At 0.3b this takes a minute on two cores, and the comparison two more.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        ValueError: no such folder, or the file says something else than torch; it is removed then.
    """
    started = time.perf_counter()
    with _complete_or_nothing(path) as part:
        on_progress("tracing the network", 0.0)
        program = _traced(module, io)
        on_progress("writing the ONNX file", 0.2)
        program.save(str(part), external_data=_weight_bytes(module) > EXTERNAL_ABOVE_BYTES)
        del program
        seconds = time.perf_counter() - started
        record = _compared(module, io, task, part, seconds, on_progress)
    _write_record(path, record)
    on_progress("exported", 1.0)
    return record


def read_export(path: Path) -> OnnxExport | None:
    """The record of a complete export; None when there is none.

    Raises:
        ValueError: a record without its file, or that cannot be read.
    """
    record = record_path(path)
    if not record.is_file():
        return None
    try:
        found = OnnxExport(**json.loads(record.read_text()))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{record}: expected the record of an export, got: {error}; export again") from error
    if not path.is_file():
        raise ValueError(f"{path}: expected the file that {record.name} speaks of, got none; export again")
    return found


def record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def weights_path(path: Path) -> Path:
    """Where weights lie that are too large for the file itself."""
    return path.with_name(path.name + ".data")


def onnx_sha256(path: Path) -> str:
    """Of the file and its external weights, in this order."""
    digest = hashlib.sha256()
    for file in (path, weights_path(path)):
        if file.is_file():
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()


def _traced(module: nn.Module, io: tuple[TensorSpec, TensorSpec]) -> Any:
    """Two pictures as the example: an export takes a length of one for a constant."""
    try:
        import onnxscript  # noqa: F401  (torch imports it, and says less when it is missing)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("ONNX export needs onnx and onnxscript: pip install fmgs_ros[sapiens]") from missing
    example = torch.zeros(2, *(side or 1 for side in io[0].shape[1:]))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[io[0].name],
            output_names=[io[1].name],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of packages it could support if they were there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _compared(
    module: nn.Module, io: tuple[TensorSpec, TensorSpec], task: Task, path: Path, seconds: float, on_progress: OnProgress
) -> OnnxExport:
    height, width = (side or 1 for side in io[0].shape[2:])
    pixels = normalised_pixels(body_picture(height, width))
    on_progress("comparing: torch", 0.4)
    expected = TorchEngine(module, io).run(pixels)
    on_progress("comparing: onnxruntime", 0.7)
    engine = OnnxRuntimeEngine(path, io)
    parity = compare(task, expected, engine.run(pixels))
    engine.close()
    if not parity.exact():
        raise ValueError(f"{task.value}: the ONNX file and torch differ, {parity.text()}; it was not kept")
    size = sum(p.stat().st_size for p in (path, weights_path(path)) if p.is_file())
    return OnnxExport(
        OPSET, torch.__version__, onnx_sha256(path), size, parity.max_abs, parity.mean_abs_raw, parity.value_range, seconds
    )


@contextmanager
def _complete_or_nothing(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder beside; the file and its weights come over when the block ends.

    An older record and older weights go first: they are of what is being replaced. The name stays the same because the file
    names its weights.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path}: expected a file name in an existing folder, got folder {path.parent} that does not exist")
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part / path.name
        for old in (record_path(path), weights_path(path)):
            old.unlink(missing_ok=True)
        for file in sorted(part.iterdir(), reverse=True):  # weights before what names them
            file.replace(path.parent / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _weight_bytes(module: nn.Module) -> int:
    return sum(4 * p.numel() for p in module.parameters())


def _write_record(path: Path, record: OnnxExport) -> None:
    with replacing(record_path(path)) as part:
        part.write_text(json.dumps(asdict(record), indent=1) + "\n")
