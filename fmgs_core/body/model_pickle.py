"""Reads the arrays out of a .pkl (SMPL-family models, published datasets) without running anything that the file names.

A pickle is a program. This one may only build numpy arrays, dictionaries, and two kinds of inert holders that stand in for
scipy's sparse matrices and chumpy's arrays; the first other name it asks for ends the reading.
"""

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse

_RECONSTRUCT = np.zeros(1).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]


class _Holder:
    """Keeps a pickled object's state and does nothing with it."""

    def __init__(self, *_: object):
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Chumpy(_Holder):
    """chumpy.ch.Ch: a plain array under "x"."""

    def array(self) -> np.ndarray:
        return np.asarray(self.state["x"])


class _ChumpySelect(_Holder):
    """chumpy.reordering.Select: entries "idxs" of another array "a", in row-major order."""

    def array(self) -> np.ndarray:
        picked = np.ravel(_plain(self.state["a"]))[np.asarray(self.state["idxs"])]
        shape = self.state.get("preferred_shape")
        return picked if shape is None else picked.reshape(shape)


class _SparseColumns(_Holder):
    make = scipy.sparse.csc_matrix

    def matrix(self) -> scipy.sparse.csr_matrix:
        parts = tuple(np.asarray(self.state[key]) for key in ("data", "indices", "indptr"))
        shape = self.state["_shape"] if "_shape" in self.state else self.state["shape"]
        matrix = self.make(parts, shape=shape)
        matrix.check_format(full_check=True)  # an index out of bounds would read foreign memory later
        return scipy.sparse.csr_matrix(matrix)


class _SparseRows(_SparseColumns):
    make = scipy.sparse.csr_matrix


def _bytes_of_text(text: str, encoding: str) -> bytes:
    """Stands in for codecs.encode, by which pickle protocol 2 spells bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"expected bytes spelled in latin1, got {encoding!r}")
    return text.encode("latin1")


def _new_object(cls: type, base: type, state: object) -> object:
    """Stands in for copyreg._reconstructor, by which protocols 0 and 1 make an object: only holders are made."""
    if not issubclass(cls, _Holder) or base is not object or state is not None:
        raise pickle.UnpicklingError(f"expected an array holder, got {cls.__name__}")
    return cls()


_ALLOWED = {
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("_codecs", "encode"): _bytes_of_text,
    ("copyreg", "_reconstructor"): _new_object,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _RECONSTRUCT for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _SCALAR for core in ("core", "_core")},
    **{(f"scipy.sparse.{module}", "csc_matrix"): _SparseColumns for module in ("csc", "_csc")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): _SparseRows for module in ("csr", "_csr")},
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _ChumpySelect,
}
_PYTHON2_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = _PYTHON2_NAMES.get(module, module)
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"refused {module}.{name}: the file may only hold arrays")
        return _ALLOWED[module, name]


def read_model_pickle(data: bytes) -> Mapping[str, Any]:
    """The dictionary in a SMPL-family pickle; values are numpy arrays, csr matrices, or whatever plain values it has.

    Raises:
        ValueError: the file is damaged, holds no dictionary, or asks for a class that is not on the list (named).
    """
    content = read_array_pickle(data)
    if not isinstance(content, dict):
        raise ValueError(f"expected a dictionary of arrays, got {type(content).__name__}")
    try:
        return {key: _plain(value) for key, value in content.items()}
    except Exception as error:  # holders of a damaged file can hold anything
        raise ValueError(_unreadable(error)) from error


def read_array_pickle(data: bytes) -> Any:
    """Whatever arrays, dictionaries, lists and numbers the pickle holds. Raises as read_model_pickle does."""
    try:
        return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything; the file is at fault, whatever it was
        raise ValueError(_unreadable(error)) from error


def _unreadable(error: Exception) -> str:
    return f"expected a pickle of arrays, got one that cannot be read: {error or type(error).__name__}"


def _plain(value: Any) -> Any:
    if isinstance(value, _SparseColumns):
        return value.matrix()
    return value.array() if isinstance(value, (_Chumpy, _ChumpySelect)) else value
