"""Avatar files. Kinds: round trip, poison (every way a file can be broken is named), a reader never sees half a step."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import FORMAT, AvatarSnapshot, from_bytes, load_avatar, save_avatar, to_bytes
from fmgs_core.body.default import default_body
from fmgs_core.body.subdivision import subdivided

from .bodies import tube

METADATA = {"format": FORMAT, "body": "default", "iterations": "7", "frames_seen": "3"}


def trained_avatar(seed: int = 0) -> Avatar:
    avatar = Avatar(tube(), np.array([0.3, -0.4], np.float32))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in avatar.state_dict().values():
            value.add_(torch.randn(value.shape, generator=generator))
    return avatar


@pytest.fixture
def snapshot() -> AvatarSnapshot:
    return AvatarSnapshot.of(trained_avatar(), iterations=7, frames_seen=3)


@pytest.fixture
def file(tmp_path: Path, snapshot: AvatarSnapshot) -> Path:
    save_avatar(tmp_path / "new folder" / "avatar.safetensors", snapshot)
    return tmp_path / "new folder" / "avatar.safetensors"


def assert_same(a: AvatarSnapshot, b: AvatarSnapshot) -> None:
    assert (a.body_name, a.iterations, a.frames_seen) == (b.body_name, b.iterations, b.frames_seen)
    assert a.tensors.keys() == b.tensors.keys()
    for name, value in a.tensors.items():
        assert torch.equal(value, b.tensors[name]), name


def test_file_gives_back_every_bit(file: Path, snapshot: AvatarSnapshot):
    loaded = load_avatar(file)
    assert_same(loaded, snapshot)
    assert {"betas", "observed", "field.normal_offset", "field.color_logit", "field.logits"} <= loaded.tensors.keys()


def test_equal_avatars_are_equal_files(file: Path, tmp_path: Path, snapshot: AvatarSnapshot):
    save_avatar(tmp_path / "again.safetensors", snapshot)
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_bytes_are_the_files_content(file: Path, snapshot: AvatarSnapshot):
    assert to_bytes(snapshot) == file.read_bytes()
    assert_same(from_bytes(to_bytes(snapshot)), snapshot)


def _file_of(header: dict, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _betas_of(dtype: str, data: bytes) -> bytes:
    betas = {"dtype": dtype, "shape": [1], "data_offsets": [0, len(data)]}
    return _file_of({"__metadata__": METADATA, "betas": betas}, data)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "a whole safetensors file"),
        (b"\xff" * 64, "a whole safetensors file"),
        (_file_of({"__metadata__": None}), "format"),
        (_betas_of("F8_E8M0", b"x"), "float32 tensors"),
        (_betas_of("F32", b"four"), "the tensors betas and"),
    ],
)
def test_hostile_bytes_are_named(content: bytes, reason: str):
    with pytest.raises(ValueError, match=f"avatar snapshot: expected {reason}"):
        from_bytes(content)


def test_the_loaded_avatar_draws_the_same_splats(file: Path):
    state = tube().neutral_state()
    original, loaded = trained_avatar().drawn(state), load_avatar(file).avatar(tube()).drawn(state)
    for name, value in vars(original).items():
        assert torch.equal(value, getattr(loaded, name)), name


def test_training_on_after_a_snapshot_does_not_change_it():
    """Adam writes in place; so do set_betas, set_surface_offset and the counter of observations."""
    avatar = trained_avatar()
    snapshot = AvatarSnapshot.of(avatar, 0, 0)
    before = {name: value.clone() for name, value in snapshot.tensors.items()}
    optimizer = torch.optim.Adam(avatar.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        sum(p.square().sum() for p in avatar.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()
    avatar.observed += 1
    avatar.set_betas(np.zeros(2, np.float32))
    avatar.set_surface_offset(torch.ones(tube().num_vertices))
    after = AvatarSnapshot.of(avatar, 0, 0).tensors
    for name, value in before.items():
        assert torch.equal(snapshot.tensors[name], value), name
        assert not torch.equal(after[name], value), f"{name} was never trained: the test shows nothing"


def test_an_avatar_made_from_a_snapshot_is_independent_of_it(snapshot: AvatarSnapshot):
    before = {name: value.clone() for name, value in snapshot.tensors.items()}
    avatar = snapshot.avatar(tube())
    with torch.no_grad():
        for value in avatar.state_dict().values():
            value.add_(1)
        avatar.betas[:] = 9
    for name, value in before.items():
        assert torch.equal(snapshot.tensors[name], value), name


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_an_interrupted_save_leaves_the_old_file(
    file: Path, snapshot: AvatarSnapshot, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
):
    def interrupted(path: Path, content: bytes) -> None:
        with path.open("wb") as part:
            part.write(content[: len(content) // 2])
        raise failure("no space left")

    with monkeypatch.context() as patched, pytest.raises(failure):
        patched.setattr(Path, "write_bytes", interrupted)
        save_avatar(file, AvatarSnapshot.of(trained_avatar(1), 9, 9))
    assert_same(load_avatar(file), snapshot)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def _refused(path: Path, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"avatar file .*{path.name}: expected {reason}"):
        load_avatar(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99999])
def test_a_truncated_file_is_named(file: Path, share: float):
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    _refused(file, "a whole safetensors file")


@pytest.mark.parametrize(
    "content", [pickle.dumps({"field.logits": [1.0]}), b"PK\x03\x04" + bytes(100), b"ply\nformat ascii 1.0\n"]
)
def test_another_kind_of_file_is_named_and_never_unpickled(tmp_path: Path, content: bytes):
    (tmp_path / "renamed.safetensors").write_bytes(content)
    _refused(tmp_path / "renamed.safetensors", "a whole safetensors file")


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path("trap-was-sprung"),)


def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save(_Trap(), tmp_path / "evil.safetensors")
    _refused(tmp_path / "evil.safetensors", "a whole safetensors file")
    assert not (tmp_path / "trap-was-sprung").exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, METADATA | {"format": "fmgs-avatar/2"}])
def test_a_foreign_safetensors_file_is_named(tmp_path: Path, metadata: dict | None):
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors", metadata)
    _refused(tmp_path / "foreign.safetensors", f"format {FORMAT}, got ")


@pytest.mark.parametrize(
    "metadata", [{k: v for k, v in METADATA.items() if k != gone} for gone in ("body", "iterations", "frames_seen")]
    + [METADATA | {"iterations": "many"}]
)  # fmt: skip
def test_incomplete_metadata_are_named(file: Path, metadata: dict):
    save_file(load_file(file), file, metadata)
    _refused(file, "metadata body, iterations and frames_seen, got ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["betas", "observed", "field.rotation"])
def test_a_value_that_is_not_finite_is_named(file: Path, name: str, value: float):
    tensors = load_file(file)
    tensors[name].view(-1)[1] = value
    save_file(tensors, file, METADATA)
    _refused(file, rf"finite values, got NaN or infinity in \['{name}'\]")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_another_number_type_is_named(file: Path, dtype: torch.dtype):
    tensors = load_file(file)
    save_file(tensors | {"field.rotation": tensors["field.rotation"].to(dtype)}, file, METADATA)
    _refused(file, r"float32 tensors, got \{'field.rotation': ")


@pytest.mark.parametrize("gone", ["betas", "field.logits"])
def test_missing_core_tensors_are_named(file: Path, gone: str):
    save_file({k: v for k, v in load_file(file).items() if k != gone}, file, METADATA)
    _refused(file, r"the tensors betas and field\.\*, got ")


def test_flat_logits_are_named(file: Path):
    save_file(load_file(file) | {"field.logits": torch.tensor(1.0)}, file, METADATA)
    _refused(file, r"the tensors betas and field\.\*, got ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"avatar file: expected an existing file, got .*gone\.safetensors"):
        load_avatar(tmp_path / "gone.safetensors")


def test_another_body_is_refused(snapshot: AvatarSnapshot):
    with pytest.raises(ValueError, match=r"avatar body: expected 'default' as the snapshot says, got 'smplx'"):
        snapshot.avatar(tube(name="smplx"))


@pytest.mark.parametrize("change", ["field.rotation", "extra", "missing", "betas"])
def test_tensors_that_do_not_fit_the_body_are_refused(snapshot: AvatarSnapshot, change: str):
    tensors = dict(snapshot.tensors)
    if change == "missing":
        del tensors["observed"]
    else:
        tensors[change] = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="betas: expected" if change == "betas" else "avatar tensors: expected"):
        AvatarSnapshot("default", tensors, 0, 0).avatar(tube())


def test_a_finer_avatar_finds_its_mesh_from_its_number_of_gaussians(tmp_path: Path):
    finer = Avatar(subdivided(default_body(), 27_000).body)
    snapshot = AvatarSnapshot.of(finer, 1, 1)
    save_avatar(tmp_path / "finer.safetensors", snapshot)
    loaded = load_avatar(tmp_path / "finer.safetensors").avatar(default_body())
    assert torch.equal(loaded.faces, finer.faces) and len(loaded.faces) >= 27_000


def test_an_avatar_from_before_there_was_a_light_is_lit_evenly(snapshot: AvatarSnapshot):
    tensors = {name: value for name, value in snapshot.tensors.items() if name != "light.coefficients"}
    assert len(tensors) == len(snapshot.tensors) - 1
    avatar = replace(snapshot, tensors=tensors).avatar(tube())
    assert (avatar.light.coefficients == 0).all()
