"""Array files of datasets: nothing in them is run, and damage is named. Kinds: round trip, poison."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmgs_core.stream.datasets.files import numbers, read_dictionary_npy, read_dictionary_pickle, read_npz

CONTENT = {"K": [np.eye(3)], "names": [{"ims": ["a/0.jpg", "b/0.jpg"]}], "n": np.float64(2.5), "count": 3}


class _Payload:
    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _npy(path: Path, content: Any) -> Path:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def test_a_dictionary_comes_back(tmp_path: Path):
    found = read_dictionary_npy(_npy(tmp_path / "a.npy", CONTENT))
    np.testing.assert_array_equal(found["K"][0], np.eye(3))
    assert found["names"] == CONTENT["names"] and found["n"] == 2.5 and found["count"] == 3


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickled_dictionary_comes_back(tmp_path: Path, protocol: int):
    path = tmp_path / "camera.pkl"
    path.write_bytes(pickle.dumps({"camera_f": np.arange(2.0), "width": 1080}, protocol))
    found = read_dictionary_pickle(path, ("camera_f", "width"))
    assert found["camera_f"].tolist() == [0, 1] and found["width"] == 1080
    with pytest.raises(ValueError, match=r"camera\.pkl: expected the keys width, height, got none of height"):
        read_dictionary_pickle(path, ("width", "height"))


@pytest.mark.parametrize(
    ("function", "argument", "refused"),
    [(os.system, "touch {}", "posix.system"), (eval, "open({!r}, 'w')", "builtins.eval"), (np.load, "{}", "numpy.load")],
)
@pytest.mark.parametrize("kind", ["npy", "pkl"])
def test_files_that_run_code_are_refused_by_name(tmp_path: Path, function: Any, argument: str, refused: str, kind: str):
    trace, path = tmp_path / "trace", tmp_path / f"evil.{kind}"
    content = {"cams": _Payload(function, argument.format(str(trace)))}
    if kind == "npy":
        _npy(path, content)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=rf"evil\.{kind}: .*refused {refused}"):
        read_dictionary_npy(path) if kind == "npy" else read_dictionary_pickle(path, ("cams",))
    assert not trace.exists()


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.2, 0.6, 0.99])
def test_cut_files_are_refused_by_name(tmp_path: Path, fraction: float):
    data = _npy(tmp_path / "a.npy", CONTENT).read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(ValueError, match=r"cut\.npy: "):
        read_dictionary_npy(tmp_path / "cut.npy")


def test_what_is_no_dictionary_is_refused(tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"plain\.npy: expected an array of objects, got one of float64"):
        read_dictionary_npy(tmp_path / "plain.npy")
    with pytest.raises(ValueError, match=r"list\.npy: expected one dictionary, got "):
        read_dictionary_npy(_npy(tmp_path / "list.npy", [1, "a"]))


def test_object_arrays_and_missing_keys_of_npz_files_are_refused(tmp_path: Path):
    np.savez(tmp_path / "a.npz", poses=np.zeros(3), odd=np.array({"x": 1}, dtype=object))
    assert read_npz(tmp_path / "a.npz", ("poses",))["poses"].shape == (3,)
    with pytest.raises(ValueError, match=r"a\.npz: expected arrays transl"):
        read_npz(tmp_path / "a.npz", ("transl",))
    with pytest.raises(ValueError, match=r"a\.npz: expected"):
        read_npz(tmp_path / "a.npz", ("odd",))


def test_numbers_have_a_shape_and_are_finite(tmp_path: Path):
    assert numbers(tmp_path, "K", [[[1, 2], [3, 4]]], 2, 2).tolist() == [[1, 2], [3, 4]]
    for value, message in ((np.zeros(5), "expected numbers of shape"), ("ab", "expected numbers"), ([np.nan] * 4, "finite")):
        with pytest.raises(ValueError, match=f"K: .*{message}"):
            numbers(tmp_path, "K", value, 2, 2)
