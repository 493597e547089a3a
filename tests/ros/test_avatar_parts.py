"""Parts of avatar_node that need no ROS: files of its services, the overlay, priors put together, its parameters."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot, load_avatar
from fmgs_core.config import PRESETS
from fmgs_core.types import Frame
from fmgs_ros import avatar_files
from fmgs_ros.avatar_config import AvatarConfig, OverlayConfig, online
from fmgs_ros.overlay import OverlayDrawer, Seen, overlay, silhouette
from tests.core.session.scene import BODY, person

WAIT_S = 60.0


@pytest.fixture(scope="module")
def snapshot() -> AvatarSnapshot:
    return AvatarSnapshot.of(Avatar(BODY), 12, 5)


# -- files of the services. Kind: round trip, and words for what is wrong


def test_what_is_saved_is_loaded(tmp_path: Path, snapshot: AvatarSnapshot):
    path = tmp_path / "new" / "a.safetensors"
    assert avatar_files.save(path, snapshot) == f"{path}: avatar after 12 iterations and 5 frames"
    loaded, said = avatar_files.load(path, BODY)
    assert said == f"{path}: going on from 12 iterations and 5 frames"
    assert all(np.array_equal(value, loaded.tensors[name]) for name, value in snapshot.tensors.items())


def test_an_avatar_of_another_body_is_not_loaded(tmp_path: Path, snapshot: AvatarSnapshot):
    avatar_files.save(tmp_path / "a.safetensors", replace(snapshot, body_name="smplx"))
    with pytest.raises(ValueError, match="expected 'smplx' as the snapshot says, got 'default'"):
        avatar_files.load(tmp_path / "a.safetensors", BODY)


@pytest.mark.parametrize("name", ["a.ply", "a.glb"])
def test_exports_are_written(tmp_path: Path, snapshot: AvatarSnapshot, name: str):
    said = avatar_files.export(tmp_path / name, snapshot, BODY)
    assert said == f"{tmp_path / name}: {len(snapshot.tensors['observed'])} Gaussians"
    assert (tmp_path / name).read_bytes()[:4] in (b"ply\n", b"glTF")


def test_other_exports_and_no_name_and_no_avatar_are_refused(tmp_path: Path, snapshot: AvatarSnapshot):
    with pytest.raises(ValueError, match=r"expected a file name ending in \.ply or \.glb"):
        avatar_files.export(tmp_path / "a.obj", snapshot, BODY)
    with pytest.raises(ValueError, match="file_path: expected the name of a file, got ''"):
        avatar_files.named("")
    with pytest.raises(ValueError, match="expected one that has been learned or loaded, got none so far"):
        avatar_files.learned(None)


def test_timings_are_json(tmp_path: Path):
    content = {"stages_ms": {"prior": 20.5}, "frames_per_s": 14.0}
    avatar_files.save_timings(tmp_path / "new" / "t.json", content)
    assert json.loads((tmp_path / "new" / "t.json").read_text()) == content


# -- the overlay. Kind: properties of what is drawn where


@pytest.fixture(scope="module")
def seen() -> Seen:
    shot = person(0, 64)
    return Seen(Frame(7, shot.rgb, shot.camera), shot.state, "camera")


def test_an_outline_lies_on_the_body_and_nowhere_else(seen: Seen):
    assert seen.state is not None
    drawn = overlay(seen.frame, seen.state, BODY, None, 1000)
    changed = (drawn != seen.frame.rgb).any(2)
    mask = silhouette(BODY, seen.state, seen.frame.camera) > 0
    assert changed.any() and not changed[~_grown(mask)].any() and not changed.all()


def test_an_avatar_covers_the_body_and_leaves_the_rest(seen: Seen, snapshot: AvatarSnapshot):
    assert seen.state is not None
    drawn = overlay(seen.frame, seen.state, BODY, snapshot.avatar(BODY), 1000)
    mask = silhouette(BODY, seen.state, seen.frame.camera) > 0
    far = ~_grown(_grown(_grown(mask)))
    np.testing.assert_array_equal(drawn[far], seen.frame.rgb[far])
    # A new avatar is grey where the person is red and blue.
    assert np.abs(drawn[mask].astype(int) - seen.frame.rgb[mask]).mean() > 20


def test_nobody_leaves_the_picture_as_it_is_and_large_ones_are_shrunk(seen: Seen):
    assert overlay(seen.frame, None, BODY, None, 1000) is seen.frame.rgb
    assert overlay(seen.frame, None, BODY, None, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["avatar", "body"])
def test_the_drawer_draws_what_it_is_asked_for(seen: Seen, snapshot: AvatarSnapshot, kind: str):
    drawn, done = [], threading.Event()
    config = OverlayConfig(kind=kind, rate_hz=1000)  # pyright: ignore[reportArgumentType]
    drawer = OverlayDrawer(BODY, lambda: config, lambda: snapshot, lambda *what: (drawn.append(what), done.set()))
    stop = threading.Event()
    thread = threading.Thread(target=drawer.run, args=(stop,), daemon=True)
    thread.start()
    drawer.show(seen)
    assert done.wait(WAIT_S)
    stop.set()
    thread.join(WAIT_S)
    (picture, shown), *_ = drawn
    avatar = snapshot.avatar(BODY) if kind == "avatar" else None
    assert shown is seen
    np.testing.assert_array_equal(picture, overlay(seen.frame, seen.state, BODY, avatar, 640))


def _grown(mask: np.ndarray) -> np.ndarray:
    """By two pixels to every side."""
    padded = np.pad(mask, 2)
    return np.max([padded[2 + y : padded.shape[0] - 2 + y, 2 + x : padded.shape[1] - 2 + x]
                   for y in range(-2, 3) for x in range(-2, 3)], 0)  # fmt: skip


# -- parameters. Kind: poison values


def test_a_stream_without_an_end_has_no_budget_and_shows_a_snapshot_a_second():
    config = online("gpu")
    assert config.trainer == PRESETS["gpu"].trainer and config.save_every_s == 1.0
    assert config.budget_s > 365 * 24 * 3600


@pytest.mark.parametrize("preset", ["paper", "none"])
def test_presets_for_recordings_are_refused(preset: str):
    with pytest.raises(ValueError, match=f"preset: expected one of cpu, gpu, got '{preset}'"):
        online(preset)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (AvatarConfig(), {"body_id": "1 a"}, "body_id: expected letters, digits and _"),
        (AvatarConfig(), {"input_qos": "FAST"}, "AvatarConfig.input_qos: expected one of"),
        (AvatarConfig(), {"autosave_every_s": 0.0}, "AvatarConfig.autosave_every_s: expected more than zero seconds, got 0.0"),
        (OverlayConfig(), {"rate_hz": 0.0}, "OverlayConfig.rate_hz: expected more than 0 up to 1000, got 0.0"),
        (OverlayConfig(), {"max_side_px": 3}, "OverlayConfig.max_side_px: expected at least 16, got 3"),
    ],
)
def test_nonsense_is_refused(config: AvatarConfig | OverlayConfig, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


def test_a_saved_file_is_a_plain_avatar(tmp_path: Path, snapshot: AvatarSnapshot):
    avatar_files.save(tmp_path / "a.safetensors", snapshot)
    assert load_avatar(tmp_path / "a.safetensors").iterations == 12
