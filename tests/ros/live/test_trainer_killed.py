"""What a renderer does while avatar_node is killed and started again. Kind: behaviour."""

import signal
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from fmgs_ros.convert import rgb_of, stamp_ns
from fmgs_ros.msg import AvatarSnapshot

from .harness import REPOSITORY, START_S, WAIT_S, Inbox, NodeProcess, participant, until

CAMERA = {"source": str(REPOSITORY / "samples" / "dressed_a"), "loop": True, "autostart": True, "start_when_subscribed": True}
TRAINER = {"autostart": True, "session.gaussians": 0, "session.trainer.memory.crop_max_px": 128}
RENDERER = {"autostart": True, "drive.mode": "rest", "view.mode": "orbit", "view.lens.width": 64, "view.lens.height": 64}


def test_the_last_good_avatar_is_drawn_until_the_trainer_is_back(tmp_path: Path):
    """The renderer comes late, when the trainer has announced a snapshot already, and never talks to anyone again by hand."""
    remaps = {"~/image_raw": "/image_raw", "~/camera_info": "/camera_info"}
    topics = {"snapshot": "/avatar_node/snapshot"}
    with participant("killer") as graph, NodeProcess("capture_node", tmp_path, CAMERA, remaps):
        snapshots = graph.listen(AvatarSnapshot, "/avatar_node/snapshot", latched=True)
        pictures, said = graph.listen(Image, "/render_node/image_raw"), graph.listen(DiagnosticArray, "/diagnostics")
        with NodeProcess("avatar_node", tmp_path, TRAINER) as trainer:
            first = trainer.wait_for(snapshots, 2)[0]
            with NodeProcess("render_node", tmp_path, RENDERER, topics) as renderer:
                assert shows_somebody(renderer.wait_for(pictures, 3)) and is_well(said)
                assert trainer.end(signal.SIGKILL) == -signal.SIGKILL
                drawn = len(pictures.messages)
                until(
                    lambda: any(warns(m, "the trainer is away") for m in said.messages), WAIT_S, lambda: str(said.messages[-1])
                )
                assert shows_somebody(pictures.wait(drawn + 20)[drawn:])
                with NodeProcess("avatar_node", tmp_path, TRAINER) as again:
                    anew = snapshots.matching(lambda m: m.avatar_id != first.avatar_id, START_S)
                    renderer.wait_said(f"of avatar {anew.avatar_id[:8]}")
                    assert shows_somebody([pictures.next()]) and is_well(said)
                    assert again.end(signal.SIGTERM) == 0, again.said
                assert renderer.end() == 0, renderer.said
                assert "Traceback" not in renderer.said
    stamps = [stamp_ns(m.header.stamp) for m in pictures.messages]
    # It stood still for less than a fetch is waited for.
    assert stamps == sorted(stamps) and np.diff(stamps).max() < 5e9


def shows_somebody(pictures: list[Image]) -> bool:
    return all((rgb_of(m) < 250).any() for m in pictures)


def warns(message: DiagnosticArray, what: str) -> bool:
    (status,) = message.status
    return status.name == "render_node: state" and status.level == b"\x01" and what in status.message


def is_well(said: Inbox) -> bool:
    seen = len(said.messages)
    until(lambda: any(m.status[0].name == "render_node: state" and m.status[0].level == b"\x00" for m in said.messages[seen:]),
          WAIT_S, lambda: str(said.messages[-1]))  # fmt: skip
    return True
