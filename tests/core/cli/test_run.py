"""Behaviour of `fmgs run` on scripted streams: what is refused beforehand, what is kept, what is written."""

import json
import os
import signal
from pathlib import Path

import pytest

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot, load_avatar, save_avatar
from fmgs_core.cli import autosave as autosave_module
from fmgs_core.cli import run as run_module
from fmgs_core.cli.autosave import Autosave
from fmgs_core.cli.run import _stop_on_interrupt
from fmgs_core.priors.choice import OpenPriors
from fmgs_core.tracking.tracker import TrackingStatus
from tests.core.session.scene import BODY, Script, Shot, nobody, person, turning

from .conftest import Fmgs, figures
from .streams import read_video

FEW = ("--config.iterations-per-frame", 1, "--config.final-iterations", 2, "--config.no-template-maps")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, fmgs: Fmgs):
    """Runs `fmgs run` on a script in place of a stream, MediaPipe and the tracker."""

    def run(script: Script | list[Shot], out: Path, *arguments: object) -> tuple[int, str]:
        script = script if isinstance(script, Script) else Script(script)
        monkeypatch.setattr(run_module, "open_source", lambda *_, **__: script)
        monkeypatch.setattr(run_module, "open_priors", lambda *_, **__: OpenPriors(script, None))
        monkeypatch.setattr(run_module, "BodyTracker", lambda *_: script)
        return fmgs("run", "script", "--out", out, *FEW, *arguments)

    return run


def snapshot(iterations: int = 7, body: str = "default") -> AvatarSnapshot:
    taken = AvatarSnapshot.of(Avatar(BODY), iterations, frames_seen=3)
    return AvatarSnapshot(body, taken.tensors, taken.iterations, taken.frames_seen)


def saved(path: Path, **other: object) -> Path:
    save_avatar(path, snapshot(**other))
    return path


# -- what a run leaves


def test_a_run_leaves_avatar_videos_and_report(play, tmp_path: Path):
    code, said = play(list(turning(5)), tmp_path / "new" / "out")
    out = tmp_path / "new" / "out"
    assert code == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "avatar.safetensors", "masks.mp4", "overlay.mp4", "report.html", "report.json", "schedule.svg", "turntable.mp4",
    ]  # fmt: skip
    assert load_avatar(out / "avatar.safetensors").iterations == 7
    assert figures(out) | {"frames": 5, "frames_with_person": 5, "iterations": 7, "ended": "the stream ended"} == figures(out)
    wanted = {"frames_dropped", "keyframes", "fit_wall_s", "iterations_per_s", "steps_skipped", "mask_iou_median"}
    assert wanted <= set(figures(out))
    assert "is a guess" in said and "following the person" in said and str(out / "overlay.mp4") in said
    json.loads((out / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_the_overlay_shows_every_frame_also_those_with_nobody_or_of_another_size(play, tmp_path: Path):
    shots = [nobody(status=TrackingStatus.SEARCHING), person(0), person(1), person(2, 32), nobody(), person(3)]
    code, _ = play(shots, tmp_path)
    assert code == 0
    pictures = read_video(tmp_path / "overlay.mp4")
    assert [p.shape for p in pictures] == [(48, 96, 3)] * 6
    drawn = [p[:, 48:].max() > 90 for p in pictures]  # what is not drawn is grey 30
    assert drawn == [False, True, True, True, False, True]


@pytest.mark.parametrize("steps", [0, 1])
def test_one_frame_is_enough(play, tmp_path: Path, steps: int):
    code, said = play([person(0)], tmp_path, "--config.iterations-per-frame", steps, "--config.final-iterations", 0)
    assert code == 0, said
    assert figures(tmp_path)["iterations"] == steps


def test_a_person_between_the_recorded_frames_is_no_reason_to_fail(play, tmp_path: Path):
    """Recorded pictures are thinned to every fourth; the only person is in none of them."""
    shots = [nobody(status=TrackingStatus.SEARCHING)] * 8
    shots[5] = person(0)
    code, said = play(shots, tmp_path, "--config.recorded-frames", 2)
    assert code == 0, said
    assert "mask_iou_median" not in figures(tmp_path)


def test_warnings_are_in_the_report_once(play, tmp_path: Path):
    code, said = play(Script(list(turning(4)), source_breaks_at=3), tmp_path)
    assert code == 0
    assert said.count("warning: the source broke: a page is torn out") == 1
    assert (tmp_path / "report.html").read_text().count("a page is torn out") == 2  # as a warning, and as the end


# -- what is refused, before anything is opened or written


def test_a_resume_file_that_cannot_be_used_is_refused_first(play, tmp_path: Path):
    out, broken = tmp_path / "out", tmp_path / "broken.safetensors"
    broken.write_bytes(saved(tmp_path / "whole.safetensors").read_bytes()[:-1000])
    text = tmp_path / "text.safetensors"
    text.write_text("not an avatar")
    stranger = saved(tmp_path / "stranger.safetensors", body="smplx")
    never = Script([person(0)], on_read=lambda _: pytest.fail("the stream was opened"))
    for path, reason in [
        (broken, "expected a whole safetensors file"),
        (text, "expected a whole safetensors file"),
        (stranger, "expected 'smplx' as the snapshot says, got 'default'"),
        (tmp_path / "none.safetensors", "expected an existing file"),
    ]:
        code, said = play(never, out, "--resume", path)
        assert code == 1 and reason in said and "Traceback" not in said
    assert not out.exists()


def test_an_output_that_is_a_file_is_refused_and_kept(play, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    never = Script([person(0)], on_read=lambda _: pytest.fail("the stream was opened"))
    for out in (file, file / "below"):
        code, said = play(never, out)
        assert code == 1 and f"{file} is not a folder" in said
    assert file.read_text() == "mine"


def test_an_output_without_permission_is_refused(play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(autosave_module.os, "access", lambda *_: False)  # the tests may run as root, who may do everything
    code, said = play([person(0)], tmp_path / "out")
    assert code == 1 and f"no permission to write in {tmp_path}" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--config.budget-s", "nan"), "SessionConfig.budget_s: expected more than zero seconds, got nan"),
        (("--config.source.focal-px", "nan"), "SourceConfig.focal_px: expected None or a positive number, got nan"),
        (("--config.tracker.smoothness", "nan"), "TrackerConfig.smoothness"),
        (("--config.final-iterations", "-3"), "SessionConfig.final_iterations: expected at least 0, got -3"),
        (("--config.final-iterations", "many"), "final-iterations"),
    ],
)
def test_settings_that_make_no_sense_are_wrong_arguments(play, tmp_path: Path, arguments: tuple[str, str], reason: str):
    code, said = play([person(0)], tmp_path, *arguments)
    assert code == 2 and reason in " ".join(said.replace("│", " ").split())


@pytest.mark.parametrize("height", ["0", "nan", "18"])
def test_a_height_that_nobody_has_is_refused(play, tmp_path: Path, height: str):
    code, said = play([person(0)], tmp_path, "--height-m", height)
    assert code == 1 and "subject_height_m: expected 0.5 to 2.5 m" in said


def test_errors_are_printed_as_they_are(fmgs: Fmgs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Square brackets are markup to rich, and the part of an install command that matters to the user."""

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("reading video needs PyAV: pip install fmgs_ros[cpu]")

    monkeypatch.setattr(run_module, "open_source", missing)
    assert fmgs("run", "x.mp4", "--out", tmp_path) == (1, "error: reading video needs PyAV: pip install fmgs_ros[cpu]\n")


# -- never losing what was learned


def test_nobody_in_the_stream_leaves_an_earlier_avatar_alone(play, tmp_path: Path):
    before = saved(tmp_path / "avatar.safetensors").read_bytes()
    code, said = play([nobody()] * 3, tmp_path)
    assert code == 1 and "a person to learn from in none" in said and "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["avatar.safetensors"]
    assert (tmp_path / "avatar.safetensors").read_bytes() == before


def test_an_earlier_avatar_is_kept_beside_the_new_one(play, tmp_path: Path):
    before = saved(tmp_path / "avatar.safetensors").read_bytes()
    assert play([person(0)], tmp_path)[0] == 0
    assert (tmp_path / "avatar.previous.safetensors").read_bytes() == before
    assert (tmp_path / "avatar.safetensors").read_bytes() != before


def test_resuming_from_the_kept_one_keeps_it(play, tmp_path: Path):
    kept = saved(tmp_path / "avatar.previous.safetensors", iterations=100)
    saved(tmp_path / "avatar.safetensors", iterations=1)
    assert play([person(0)], tmp_path, "--resume", kept)[0] == 0
    assert load_avatar(kept).iterations == 100
    assert load_avatar(tmp_path / "avatar.safetensors").iterations == 103


def test_resuming_in_the_same_folder_adds_up(play, tmp_path: Path):
    assert play(list(turning(3)), tmp_path)[0] == 0
    assert play(list(turning(3)), tmp_path, "--resume", tmp_path / "avatar.safetensors")[0] == 0
    assert load_avatar(tmp_path / "avatar.safetensors").iterations == figures(tmp_path)["iterations"] == 10
    assert load_avatar(tmp_path / "avatar.previous.safetensors").iterations == 5


def test_a_stage_that_breaks_ends_with_its_error_and_the_avatar_saved(play, tmp_path: Path):
    code, said = play(Script(list(turning(5)), prior_breaks_at=4), tmp_path)
    assert code == 1 and "error: the network forgot its weights" in said
    assert load_avatar(tmp_path / "avatar.safetensors").iterations == 4


def test_a_disk_that_is_full_for_a_while_does_not_end_the_learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    warnings: list[str] = []
    autosave = Autosave(saved(tmp_path / "avatar.safetensors", iterations=1), None, warnings.append)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(autosave_module, "save_avatar", full)
        autosave(snapshot(iterations=2))
    assert load_avatar(tmp_path / "avatar.safetensors").iterations == 1
    assert len(warnings) == 1 and "No space left on device" in warnings[0]
    autosave(snapshot(iterations=3))
    assert load_avatar(tmp_path / "avatar.safetensors").iterations == 3
    assert load_avatar(tmp_path / "avatar.previous.safetensors").iterations == 1


# -- interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_the_second_ends_at_once(number: signal.Signals):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), _stop_on_interrupt() as stop:
        os.kill(os.getpid(), number)
        assert stop.is_set()
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_interrupting_the_stream_still_writes_the_results(play, tmp_path: Path):
    def interrupt(index: int) -> None:
        if index == 2:
            os.kill(os.getpid(), signal.SIGINT)

    code, said = play(Script(list(turning(6)), on_read=interrupt), tmp_path)
    assert code == 0 and "stopped by the user" in said
    assert figures(tmp_path)["ended"] == "stopped by the user"
    assert figures(tmp_path)["frames"] == 3


def test_interrupting_the_writing_ends_with_the_avatar_kept(play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "write_results", interrupted)
    code, said = play(list(turning(2)), tmp_path)
    assert code == 130 and f"interrupted; the avatar is in {tmp_path}" in said
    assert load_avatar(tmp_path / "avatar.safetensors").iterations == 4
