"""Behaviour of a real `fmgs run` process that is killed, gone on from, and interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fmgs_core.avatar.snapshot import load_avatar

from .conftest import figures
from .streams import Stage, write_folder

REPOSITORY = Path(__file__).parents[3]
MAIN = "import sys; sys.argv[0] = 'fmgs'; from fmgs_core.cli.main import main; main()"
PATIENCE_S = 240.0  # for a machine that is busy with other things; the test itself takes a tenth


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen]:
    """`fmgs run` with training that would take hours."""
    endless = ("--config.final-iterations", "1000000", "--config.save-every-s", "0.2")
    command = [sys.executable, "-c", MAIN, "run", *map(str, arguments), *endless]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(true: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline_s, "nothing happened"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_run_leaves_a_whole_avatar_to_go_on_from_and_an_interrupted_one_its_results(stage: Stage, tmp_path: Path):
    pictures = write_folder(tmp_path / "pictures", [stage.person(4 * i) for i in range(8)])
    avatar = tmp_path / "killed" / "avatar.safetensors"
    with running(pictures, "--out", avatar.parent) as process:
        wait_for(avatar.is_file, process)
        counts = []
        while len(set(counts)) < 4:  # whole at every moment: read while it is being replaced
            wait_for(lambda: True, process)
            counts.append(load_avatar(avatar).iterations)
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = load_avatar(avatar)
    assert counts == sorted(counts) and killed.iterations >= counts[-1] > 0

    out = tmp_path / "resumed"
    with running(pictures, "--out", out, "--resume", avatar) as process:
        wait_for((out / "avatar.safetensors").is_file, process)
        os.kill(process.pid, signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0, said
    assert "finished: stopped by the user" in said and "Traceback" not in said
    assert load_avatar(out / "avatar.safetensors").iterations == figures(out)["iterations"] > killed.iterations
    assert (out / "overlay.mp4").is_file() and not list(out.glob(".*"))
