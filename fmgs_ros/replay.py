"""`ros2 run fmgs_ros replay BAG [AVATAR]`: an avatar of a recording, of every picture in order; the same one each time.

The bag is read in this process, so nothing is dropped and nothing waits for a clock. Topics are those of avatar_node.
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args

from fmgs_core.config import PRESETS, Pace, SessionConfig
from fmgs_core.stream.source import FrameSource, open_source
from fmgs_core.tracking.tracker import TrackedBody
from fmgs_core.types import Frame, PriorMaps
from fmgs_ros import avatar_files
from fmgs_ros.avatar_config import AvatarConfig
from fmgs_ros.avatar_node import AvatarNode
from fmgs_ros.learner import Learner, State
from fmgs_ros.lifecycle import main as run_node


@dataclass(frozen=True)
class ReplayConfig(AvatarConfig):
    """Everything that a replay depends on; what concerns topics of pictures has no effect."""

    bag: str = ""
    """Bag (folder, .mcap or .db3), video, or folder of pictures. session.source.topic names its image topic."""
    out: Path = Path("avatar.safetensors")
    """Avatar file that is written at the end."""
    publish: bool = False
    """Whether body_state, tf and snapshots are published while it goes."""
    camera_frame: str = "camera_optical_frame"
    """Optical frame of body_state and tf."""
    session: SessionConfig = field(default_factory=SessionConfig)


class ReplayNode(AvatarNode):
    """Learns once, writes the avatar, and ends the process."""

    pace, presets = Pace.ALL, tuple(PRESETS)
    failed = False
    """Whether there is nothing to show for it."""

    def __init__(self, **options: Any):
        super().__init__("replay", **options)

    def default_config(self) -> ReplayConfig:
        preset = self.get_parameter("preset").value
        if preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        return ReplayConfig(session=PRESETS[preset])

    def start(self) -> None:
        """Nobody is there to mend what is wrong: a recording that does not open ends the process."""
        super().start()
        if self._learner is None:
            self.failed = True
            self.ending.ask()

    def open_source(self, stack: ExitStack) -> FrameSource:
        config = self._replayed()
        if not config.bag:
            raise ValueError("bag: expected the name of a recording, got '' (ros2 run fmgs_ros replay BAG)")
        return stack.enter_context(open_source(config.bag, config.session.source, on_warning=self._warn))

    def learn(self, learner: Learner) -> None:
        learner.run_next()
        if self.ending.asked:
            return
        self.failed = learner.snapshot is None or learner.status.state is State.FAILED
        if self.failed:
            self.get_logger().error(learner.status.message)
        else:
            self.get_logger().info(avatar_files.save(self._replayed().out, avatar_files.learned(learner.snapshot)))
        self.ending.ask()

    def _replayed(self) -> ReplayConfig:
        assert isinstance(self._config, ReplayConfig)
        return self._config

    def _on_tracked(self, frame: Frame, maps: PriorMaps, tracked: TrackedBody) -> None:
        if self._replayed().publish:
            super()._on_tracked(frame, maps, tracked)

    def _on_snapshot(self, snapshot: Any) -> None:
        if self._replayed().publish:
            super()._on_snapshot(snapshot)


def _overrides(words: list[str]) -> list[Parameter]:
    """BAG and AVATAR of the command line, as parameters.

    Raises:
        ValueError: more words than these.
    """
    if len(words) > 2:
        raise ValueError(f"replay: expected BAG and perhaps AVATAR, got {' '.join(words)}")
    named = zip(("bag", "out"), words, strict=False)
    return [Parameter("autostart", value=True), *(Parameter(name, value=word) for name, word in named)]


def main(arguments: list[str] | None = None) -> int:
    """0 when an avatar was written."""
    given = sys.argv if arguments is None else arguments
    made: list[ReplayNode] = []

    def make() -> ReplayNode:
        made.append(ReplayNode(parameter_overrides=_overrides(remove_ros_args(given)[1:])))
        return made[0]

    code = run_node(make, given)
    return code or int(not made or made[0].failed)
