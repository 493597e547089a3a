"""Array files of published datasets, read so that nothing in them is run, and so that what is missing is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fmgs_core.body.model_pickle import read_array_pickle, read_model_pickle


def expected(path: Path, what: str) -> Path:
    """The path itself.

    Raises:
        ValueError: there is no such file or folder; says what it should have been.
    """
    if not path.exists():
        raise ValueError(f"{path}: expected {what}, got nothing by that name")
    return path


def read_npz(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of these names.

    Raises:
        ValueError: no file, a damaged one, object arrays, or a key that is not there.
    """
    try:
        with np.load(expected(path, f"an npz file of {', '.join(keys)}"), allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except (KeyError, OSError, EOFError) as error:
        raise ValueError(f"{path}: expected arrays {', '.join(keys)}, got {error}") from error
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"{path}: expected a readable npz file, got {error}") from error


def read_dictionary_npy(path: Path) -> Mapping[str, Any]:
    """The dictionary that np.save wrapped into an array of objects: the pickle in it may only build arrays, dictionaries,
    lists and numbers.

    Raises:
        ValueError: no file, a damaged one, something else, or a pickle that asks for anything more (named).
    """
    data = expected(path, "a dictionary stored by numpy").read_bytes()
    try:
        content = read_array_pickle(data[_header_end(path) :])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    content = content.item() if isinstance(content, np.ndarray) and content.shape == () else content
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected one dictionary, got {type(content).__name__}")
    return content


def _header_end(path: Path) -> int:
    """Where the pickle begins behind the npy header."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            _, _, dtype = read_header(file)
            end = file.tell()
    except (ValueError, SyntaxError, EOFError) as error:
        raise ValueError(f"expected an npy file, got {error}") from error
    if dtype != np.dtype(object):
        raise ValueError(f"expected an array of objects, got one of {dtype}")
    return end


def read_dictionary_pickle(path: Path, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """A pickled dictionary of arrays and numbers, under the same restriction.

    Raises:
        ValueError: as read_dictionary_npy, or a key that is not there.
    """
    try:
        content = read_model_pickle(expected(path, f"a pickle of {', '.join(keys)}").read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return with_keys(path, content, keys)


def with_keys(path: Path, content: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any]:
    """The content itself, once it is known to have these keys."""
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{path}: expected the keys {', '.join(keys)}, got none of {', '.join(missing)}")
    return content


def numbers(path: Path, name: str, value: Any, *shape: int) -> np.ndarray:
    """A value as float64 of this shape (sizes must agree, axes of length one may differ).

    Raises:
        ValueError: no numbers, not as many, or not finite.
    """
    try:
        array = np.asarray(value, np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name}: expected numbers of shape {shape}, got {error}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: {name}: expected finite numbers, got some that are not")
    return array
