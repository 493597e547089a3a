"""Weights out of zips that torch wrote, as data: no class that a file names is imported, and none of its code runs."""

import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# torch/_export/serde/schema.py, ScalarType; the types that weights have.
_EXPORT_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
# What mmengine, with which Sapiens was trained, leaves in a .pth beside the weights: its log, as objects around numpy arrays.
_TRAINING_LOG = ("mmengine.", "numpy.", "_codecs.encode", "__builtin__.getattr")
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")


class ForbiddenObject(Exception):
    """A pickle asks for something that is neither a tensor nor a plain container; the text names it."""


def torchscript_tensors(archive: ZipFile) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript file by their dotted names; empty when the module was frozen.

    Raises:
        ForbiddenObject: its data.pkl refers to anything beside modules, tensors and lists.
    """
    name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
    module = _Reader(archive, name.removesuffix("data.pkl"), ("__torch__.",)).load()
    return dict(_named_tensors(module, ""))


def pickled_content(archive: ZipFile) -> Any:
    """What torch.save was given, with the objects of a training log left empty.

    Raises:
        ForbiddenObject: other objects than those.
    """
    name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
    return _Reader(archive, name.removesuffix("data.pkl"), _TRAINING_LOG).load()


def exported_tensors(archive: ZipFile) -> dict[str, Tensor]:
    """Parameters and buffers of a torch.export file, in the layout of torch up to 2.7, of 2.8, or since 2.9.

    Raises:
        pickle.UnpicklingError: a pickled state dict holds other things than tensors.
        KeyError: the archive has no weights in any of the three layouts.
    """
    names = archive.namelist()
    config = next((n for n in names if n.endswith("_weights_config.json")), None)
    if config is not None:
        return _configured_tensors(archive, config)
    pickled = next((n for n in names if "serialized_state_dict." in n or ("data/weights/" in n and n.endswith(".pt"))), None)
    if pickled is None:
        raise KeyError("data/weights")
    return _pickled(archive, pickled)


class _Stand:
    """Stands in for an object of a class that is not imported, or for a call that is not made; attributes are kept."""

    def __init__(self, *_: Any):
        self.attributes: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _Reader(pickle.Unpickler):
    """Reads data.pkl. What is not in the short lists of `find_class` is refused before anything is called."""

    def __init__(self, archive: ZipFile, root: str, replaced: tuple[str, ...]):
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self._archive, self._root, self._replaced = archive, root, replaced
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _KNOWN:
            return _KNOWN[full]
        if full.startswith(self._replaced):
            return _Stand
        raise ForbiddenObject(full)

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            self._storages[key] = _storage(self._archive.read(f"{self._root}data/{key}"), dtype)
        return self._storages[key]


def _named_tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Stand):
        for key, part in value.attributes.items():
            yield from _named_tensors(part, f"{name}.{key}" if name else key)


def _configured_tensors(archive: ZipFile, config: str) -> dict[str, Tensor]:
    folder = config.rsplit("/", 1)[0]
    entries = json.loads(archive.read(config))["config"].items()
    return {name: _configured_tensor(archive, f"{folder}/{entry['path_name']}", entry) for name, entry in entries}


def _configured_tensor(archive: ZipFile, member: str, entry: Mapping[str, Any]) -> Tensor:
    if entry["use_pickle"]:
        return _pickled(archive, member)
    meta = entry["tensor_meta"]
    sizes, strides = ([side["as_int"] for side in meta[key]] for key in ("sizes", "strides"))
    storage = _storage(archive.read(member), _EXPORT_DTYPES[meta["dtype"]])
    return _strided(storage, meta["storage_offset"]["as_int"], sizes, strides)


def _pickled(archive: ZipFile, member: str) -> Any:
    return torch.load(io.BytesIO(archive.read(member)), map_location="cpu", weights_only=True)


def _storage(content: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _strided(storage: Tensor, offset: int, sizes: Any, strides: Any, *_: Any) -> Tensor:
    """A view; torch refuses one that reaches outside of the storage."""
    return storage.as_strided(tuple(sizes), tuple(strides), offset)


def _first(value: Any, *_: Any) -> Any:
    return value


# All that a pickle may name and get: types of tensors, and what puts them together.
_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_parameter": _first,
    **{f"torch.{name}": dtype for name, dtype in _STORAGES.items()},
    **{f"torch.jit._pickle.{kind}": _first for kind in _LISTS},
}
