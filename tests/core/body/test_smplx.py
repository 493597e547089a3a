"""Parity of our reader and skinning with the `smplx` package, round trips of both file kinds, and refusal of bad files."""

import os
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_joints, posed_vertices
from fmgs_core.body.smplx import SMPL_JOINT_NAMES, SMPLX_JOINT_NAMES, load_smpl, load_smplx
from fmgs_core.types import BodyState

# Uncompressed .npz of 13,718 vertices with 486 pose correctives: 80 MB, written once.
PARITY_M = 1e-5  # 0.01 mm, a tenth of the unit in which the sequences store depth


def _default_as_smplx() -> dict[str, Any]:
    """The default body laid out as SMPLX_NEUTRAL.npz of version 1.1, with made-up pose correctives."""
    body, rng = default_body(), np.random.default_rng(0)
    V = body.num_vertices
    shapedirs = np.zeros((V, 3, 400), np.float32)
    shapedirs[:, :, :16], shapedirs[:, :, 300:352] = body.shapedirs, body.exprdirs
    kintree = np.stack([body.parents, np.arange(55)]).astype(
        np.uint32
    )  # the root's parent wraps to 2^32 - 1, as in the real file
    return dict(
        v_template=body.v_template,
        shapedirs=shapedirs,
        posedirs=rng.normal(0, 1e-3, (V, 3, 486)).astype(np.float32),
        f=body.faces.astype(np.uint32),
        kintree_table=kintree,
        J_regressor=body.J_regressor.toarray(),
        weights=body.skin_weights,
        vt=body.uv,
        ft=body.uv_faces,
        **_only_for_the_package(),
    )


def _only_for_the_package() -> dict[str, np.ndarray]:
    hands = {
        f"hands_{kind}{side}": np.zeros((45, 45)[: 1 + (kind == "components")])
        for kind in ("components", "mean")
        for side in "lr"
    }
    landmarks = dict(lmk_faces_idx=np.zeros(51, np.int64), lmk_bary_coords=np.full((51, 3), 1 / 3))
    contour = dict(dynamic_lmk_faces_idx=np.zeros((79, 17), np.int64), dynamic_lmk_bary_coords=np.full((79, 17, 3), 1 / 3))
    objects = dict(joint2num=np.array({"Pelvis": 0}, dtype=object), part2num=np.array({"Pelvis": 0}, dtype=object))
    return hands | landmarks | contour | objects


@pytest.fixture(scope="module")
def smplx_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("models") / "SMPLX_NEUTRAL.npz"
    np.savez(path, **_default_as_smplx())
    yield path
    path.unlink()  # 150 MB would otherwise stay in pytest's last three folders


def _small(num_joints: int, columns: int) -> dict[str, Any]:
    """A ten-vertex model that has every key and right shapes."""
    rng, V = np.random.default_rng(1), 10
    weights = rng.uniform(size=(V, num_joints))
    regressor = rng.uniform(size=(num_joints, V))
    return dict(
        v_template=rng.normal(size=(V, 3)),
        shapedirs=rng.normal(size=(V, 3, columns)),
        posedirs=rng.normal(size=(V, 3, 9 * (num_joints - 1))),
        f=np.array([[0, 1, 2], [7, 8, 9]], np.uint32),
        kintree_table=np.stack([np.r_[2**32 - 1, np.zeros(num_joints - 1)], np.arange(num_joints)]).astype(np.int64),
        J_regressor=scipy.sparse.csc_matrix(regressor / regressor.sum(1, keepdims=True)),
        weights=weights / weights.sum(1, keepdims=True),
    )


def _write_npz(path: Path, content: dict[str, Any]) -> Path:
    dense = {k: v.toarray() if scipy.sparse.issparse(v) else v for k, v in content.items()}
    np.savez(path, **dense)
    return path


def _write_pickle(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def test_parity_with_the_smplx_package(smplx_file: Path):
    smplx = pytest.importorskip("smplx", reason="optional cross-check: pip install fmgs_ros[smplx]")
    options: dict[str, Any] = dict(use_pca=False, flat_hand_mean=True, num_betas=16, num_expression_coeffs=10)
    theirs = smplx.SMPLX(str(smplx_file), **options)
    ours = load_smplx(smplx_file)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        state = BodyState(rng.normal(size=16), rng.normal(0, 0.5, (55, 3)), rng.normal(size=3), rng.normal(size=10))
        output = theirs(**_package_inputs(state))
        np.testing.assert_allclose(posed_vertices(ours, state), output.vertices[0].detach(), atol=PARITY_M)
        np.testing.assert_allclose(posed_joints(ours, state), output.joints[0, :55].detach(), atol=PARITY_M)


def _package_inputs(state: BodyState) -> dict[str, torch.Tensor]:
    rows = dict(global_orient=1, body_pose=21, jaw_pose=1, leye_pose=1, reye_pose=1, left_hand_pose=15, right_hand_pose=15)
    split = torch.split(torch.tensor(state.pose), list(rows.values()))
    pose = {name: rows.reshape(1, -1) for name, rows in zip(rows, split, strict=True)}
    other = dict(betas=state.betas, transl=state.transl, expression=state.expression)
    return pose | {name: torch.tensor(value)[None] for name, value in other.items()}


def test_smplx_file_gives_the_body_it_was_written_from(smplx_file: Path):
    body, original = load_smplx(smplx_file, max_betas=16, max_expression=52), default_body()
    assert body.name == "smplx" and body.joint_names == original.joint_names == SMPLX_JOINT_NAMES
    for name in ("v_template", "shapedirs", "exprdirs", "faces", "parents", "skin_weights", "uv", "uv_faces"):
        np.testing.assert_array_equal(getattr(body, name), getattr(original, name), err_msg=name)
    assert body.posedirs is not None and body.posedirs.shape == (486, 3 * body.num_vertices)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_smpl_pickle_and_npz_agree(tmp_path: Path, protocol: int):
    content = _small(24, 10)
    from_pickle = load_smpl(_write_pickle(tmp_path / "m.pkl", content, protocol))
    from_npz = load_smpl(_write_npz(tmp_path / "m.npz", content))
    assert from_pickle.name == "smpl" and from_pickle.joint_names == SMPL_JOINT_NAMES and from_pickle.exprdirs.shape[2] == 0
    assert from_pickle.parents.tolist() == [-1] + [0] * 23
    rng = np.random.default_rng(2)
    state = BodyState(rng.normal(size=10), rng.normal(size=(24, 3)), rng.normal(size=3), np.zeros(0))
    np.testing.assert_array_equal(posed_vertices(from_pickle, state), posed_vertices(from_npz, state))


def test_predecessor_with_ten_betas_and_ten_expressions(tmp_path: Path):
    content = _small(55, 20)
    body = load_smplx(_write_npz(tmp_path / "m.npz", content))
    np.testing.assert_array_equal(body.shapedirs, content["shapedirs"][:, :, :10].astype(np.float32))
    np.testing.assert_array_equal(body.exprdirs, content["shapedirs"][:, :, 10:].astype(np.float32))


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Classes that pickle under chumpy's names; chumpy itself no longer installs."""
    made = {}
    for module_name, class_name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        module = types.ModuleType(module_name)
        made[class_name] = type(class_name, (), {"__module__": module_name})
        setattr(module, class_name, made[class_name])
        monkeypatch.setitem(sys.modules, module_name, module)
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return types.SimpleNamespace(**made)


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_are_read_without_chumpy(tmp_path: Path, chumpy: types.SimpleNamespace, protocol: int):
    content = _small(24, 10)
    plain, wrapped, selected = load_smpl(_write_pickle(tmp_path / "a.pkl", content)), chumpy.Ch(), chumpy.Select()
    wrapped.x = content["shapedirs"]
    wrapped.dterms = {"x"}
    selected.a, selected.idxs, selected.preferred_shape = wrapped, np.arange(300), (10, 3, 10)
    for value in (wrapped, selected):
        data = pickle.dumps(content | {"shapedirs": value}, protocol)
        (tmp_path / "b.pkl").write_bytes(data)
        np.testing.assert_array_equal(load_smpl(tmp_path / "b.pkl").shapedirs, plain.shapedirs)


class _Payload:
    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "argument", "refused"),
    [
        (os.system, "touch {}", "posix.system"),
        (eval, "open({!r}, 'w')", "builtins.eval"),
        (getattr, "{}", "builtins.getattr"),
        (np.load, "{}", "numpy.load"),
    ],
)
def test_pickles_that_run_code_are_refused_by_name(tmp_path: Path, function: Any, argument: str, refused: str):
    trace = tmp_path / "trace"
    content = _small(24, 10) | {"extra": _Payload(function, argument.format(str(trace)))}
    path = _write_pickle(tmp_path / "evil.pkl", content)
    with pytest.raises(ValueError, match=rf"evil\.pkl: .*refused {refused}"):
        load_smpl(path)
    assert not trace.exists()


def test_sparse_indices_out_of_bounds_are_refused(tmp_path: Path):
    content = _small(24, 10)
    content["J_regressor"].indices[3] = 10**6
    with pytest.raises(ValueError, match=r"m\.pkl: .*indices"):
        load_smpl(_write_pickle(tmp_path / "m.pkl", content))


@pytest.mark.parametrize("kind", ["npz", "pkl"])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused_by_name(tmp_path: Path, kind: str, fraction: float):
    write = _write_npz if kind == "npz" else _write_pickle
    data = write(tmp_path / f"m.{kind}", _small(55, 20)).read_bytes()
    (tmp_path / f"cut.{kind}").write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(ValueError, match=rf"cut\.{kind}: "):
        load_smplx(tmp_path / f"cut.{kind}")


@pytest.mark.parametrize("kind", ["npz", "pkl"])
def test_damaged_files_are_refused_or_read_and_never_crash(tmp_path: Path, kind: str):
    write = _write_npz if kind == "npz" else _write_pickle
    data, rng = write(tmp_path / f"m.{kind}", _small(24, 10)).read_bytes(), np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 40):
            broken[at] = rng.integers(256)
        (tmp_path / "broken").write_bytes(broken)
        try:
            load_smpl(tmp_path / "broken")
        except ValueError as error:
            refused += "broken" in str(error)
    assert refused > 10


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "posedirs", "f", "kintree_table", "J_regressor", "weights"])
def test_missing_keys_and_wrong_shapes_are_named(tmp_path: Path, key: str):
    content = _small(55, 20)
    missing = {k: v for k, v in content.items() if k != key}
    with pytest.raises(ValueError, match=rf"m\.npz: expected the keys .* got none of \['{key}'\]"):
        load_smplx(_write_npz(tmp_path / "m.npz", missing))
    with pytest.raises(ValueError, match=rf"m\.npz: key '{key}': expected numbers of shape .*, got "):
        load_smplx(_write_npz(tmp_path / "m.npz", content | {key: np.zeros((2, 2, 2, 2))}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"f": np.array([[0, 1, 10]])}, r"key 'f': expected indices in \[0, 10\), got 0 to 10"),
        ({"shapedirs": np.zeros((10, 3, 16))}, "key 'shapedirs': expected 400 or 20 columns, got 16"),
        ({"weights": np.full((10, 55), "a")}, "key 'weights': expected numbers"),
        ({"weights": np.zeros((10, 55))}, "skin_weights: expected rows that sum to 1"),
        ({"v_template": np.full((10, 3), np.nan)}, "v_template: expected finite values"),
        ({"posedirs": np.array({"x": 1}, dtype=object)}, "key posedirs: expected a readable array"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, change: dict[str, np.ndarray], message: str):
    with pytest.raises(ValueError, match=rf"m\.npz: .*{message}"):
        load_smplx(_write_npz(tmp_path / "m.npz", _small(55, 20) | change))


def test_smpl_is_not_taken_for_smplx(tmp_path: Path):
    path = _write_npz(tmp_path / "m.npz", _small(24, 10))
    with pytest.raises(ValueError, match=r"m\.npz: key 'posedirs': expected numbers of shape \(10, 3, 486\)"):
        load_smplx(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        load_smplx(tmp_path / "nowhere.npz")


def test_pickle_that_is_no_dictionary_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="expected a dictionary of arrays, got list"):
        load_smpl(_write_pickle(tmp_path / "m.pkl", [1, 2]))
