"""`ros2 run fmgs_ros avatar_node`: pictures in; a tracked body, and an avatar that is learned meanwhile, out."""

import shlex
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.concurrency import Cadence
from fmgs_core.config import Pace
from fmgs_core.priors.choice import OpenPriors, open_priors
from fmgs_core.priors.plugins import parsed_options
from fmgs_core.session.events import Event, Preparing
from fmgs_core.session.warmup import warm_up
from fmgs_core.stream.source import FrameSource
from fmgs_core.tracking.tracker import TrackedBody
from fmgs_core.transport import Announcement, ServerKeys, SnapshotServer
from fmgs_core.types import Frame, PriorMaps
from fmgs_ros import avatar_files
from fmgs_ros.avatar_config import ONLINE_PRESETS, AvatarConfig, online
from fmgs_ros.avatar_topics import AvatarTopics
from fmgs_ros.diagnostics import Health, RateMeter, publish_diagnostics
from fmgs_ros.learner import Learner, Listeners, State
from fmgs_ros.lifecycle import ManagedNode
from fmgs_ros.lifecycle import main as run_node
from fmgs_ros.overlay import OverlayDrawer, Seen
from fmgs_ros.params import declare, read
from fmgs_ros.picture_input import PictureInput
from fmgs_ros.qos import qos_profile
from fmgs_ros.render_scene import Latencies
from fmgs_ros.srv import FilePath

_STATUS_S = 0.5
# Of the learner, after it was asked to end [s]: 1 to 3 s on two free cores. ros2 launch kills after 10 s.
_LAST_WORK_S = 8.0
_LIVE = ("overlay", "publish_tf", "autosave", "autosave_every_s")


class AvatarNode(ManagedNode):
    """Callbacks hand pictures over; one thread learns, one beside it watches, one draws the overlay."""

    pace, presets = Pace.LIVE, ONLINE_PRESETS

    def __init__(self, name: str = "avatar_node", **options: Any):
        super().__init__(name, **options)
        described = f"Where session.* starts from. One of: {', '.join(self.presets)}."
        self.declare_parameter("preset", "cpu", ParameterDescriptor(description=described, read_only=True))
        self._config = self.default_config()
        declare(self, self._config, live=_LIVE, on_change=self._reconfigure)
        self._learner: Learner | None = None
        self._avatar: AvatarSnapshot | None = None
        self._input: PictureInput | None = None
        self._done = threading.Event()
        self._done.set()

    def default_config(self) -> AvatarConfig:
        return AvatarConfig(session=online(self.get_parameter("preset").value))

    # -- the lifecycle

    def configure(self, stack: ExitStack) -> None:
        self._config = config = read(self, self.default_config())
        self._body = config.body.load()
        stack.callback(setattr, self, "_avatar", None)
        if config.avatar is not None:
            self._avatar, said = avatar_files.load(config.avatar, self._body)
            self.get_logger().info(said)
        self._priors = self._opened_priors(stack)
        warm_up(self._body, config.session, self._say)
        self._server = self._opened_server(stack)
        self._announced: Announcement | None = None
        self._tracked, self._latencies, self._frame_id = RateMeter(), Latencies(1000), config.camera_frame
        self._topics = AvatarTopics(self, stack, self._body, config.body_id, humans=config.humans)
        self._serve_files(stack)
        publish_diagnostics(self, stack, config.body_id, self._health, config.diagnostics)

    def activate(self, stack: ExitStack) -> None:
        self.fault = None
        source = self.open_source(stack)
        listeners = Listeners(
            self._on_tracked, self._server.start_anew, self._on_snapshot, self._warn, self.report_fault, self._on_mended,
            self.get_logger().info,
        )  # fmt: skip
        priors = self._priors
        learner = Learner(source, priors.prior, self._body, self._config.session, listeners, self.pace, model=priors.model)
        drawer = OverlayDrawer(self._body, lambda: self._config.overlay, lambda: learner.snapshot, self._on_overlay)
        self._learner, self._drawer = learner, drawer
        self._autosave_beat = Cadence(self._config.autosave_every_s, time.monotonic)
        stack.callback(self._keep, learner)
        self.run_thread(stack, "overlay", drawer.run)
        self._done = done = threading.Event()
        self.run_thread(stack, "learner", lambda stop: self._learn_until_done(learner, done))
        stack.callback(_closed, learner, done)
        for name, answer in (("pause", self._on_pause), ("resume", self._on_resume), ("reset", self._on_reset)):
            self.serve(stack, Trigger, f"~/{name}", partial(_answered, answer))
        self.every(stack, _STATUS_S, self._publish_status)
        self._topics.publish_labels(self._frame())
        learner.begin(self._avatar, anew=False)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return super().on_activate(state) if self._has_ended() else TransitionCallbackReturn.FAILURE

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return super().on_cleanup(state) if self._has_ended() else TransitionCallbackReturn.FAILURE

    def _has_ended(self) -> bool:
        """A training that outlived its deactivation still uses prior and server: another one beside it would break both."""
        ended = self._done.wait(_LAST_WORK_S)
        if not ended:
            self._warn("the training of the last activation has not ended yet: try again later")
        return ended

    def open_source(self, stack: ExitStack) -> FrameSource:
        """What is learned from; freed with the stack."""
        config, compressed = self._config, self._config.transport == "compressed"
        topic = "image_raw/compressed" if compressed else "image_raw"
        self._input = pictures = PictureInput(
            self.resolve_topic_name(topic),
            config.session.source,
            estimate=config.estimate_focal,
            rectified=config.rectified,
            on_warning=self._warn,
        )
        stack.enter_context(pictures.source)
        qos = qos_profile(config.input_qos)
        self.subscribe(stack, CameraInfo, "camera_info", pictures.on_info, qos)
        self.subscribe(stack, CompressedImage if compressed else Image, topic, pictures.on_picture, qos)
        return pictures.source

    def learn(self, learner: Learner) -> None:
        """The learner's thread."""
        learner.run()

    def _learn_until_done(self, learner: Learner, done: threading.Event) -> None:
        try:
            self.learn(learner)
        finally:
            done.set()

    def _opened_priors(self, stack: ExitStack) -> OpenPriors:
        config = self._config
        priors = open_priors(
            config.prior,
            mediapipe=config.session.mediapipe,
            landmarks=config.landmarks,
            options=parsed_options(shlex.split(config.prior_options)),
            sapiens=config.sapiens,
            on_progress=lambda what, share: self._say(Preparing(f"{what}: {share:.0%}")),
        )
        stack.callback(priors.close)
        return priors

    def _opened_server(self, stack: ExitStack) -> SnapshotServer:
        config = self._config.snapshots
        keys = None if config.keys is None else ServerKeys.read(config.keys)
        return stack.enter_context(SnapshotServer(config.bind, keys, advertise=config.advertise))

    def _keep(self, learner: Learner) -> None:
        """What was learned is gone on from at the next activation."""
        self._avatar, self._learner, self._input = learner.snapshot, None, None
        if self._avatar is not None:
            self._autosave(self._avatar)

    def _reconfigure(self, config: AvatarConfig) -> None:
        """Of a running node: only what may change at once; `configure` reads the rest."""
        self._config = replace(self._config, **{name: getattr(config, name) for name in _LIVE})

    # -- what the learner tells, from its threads

    def _on_tracked(self, frame: Frame, maps: PriorMaps, tracked: TrackedBody) -> None:
        self._topics.publish_tracked(frame, maps, tracked, self._frame(), with_tf=self._config.publish_tf)
        self._latencies.add((self.get_clock().now().nanoseconds - frame.stamp_ns) * 1e-6)
        self._tracked.tick()
        if self._topics.overlay_is_wanted:
            self._drawer.show(Seen(frame, tracked.state, self._frame()))

    def _on_snapshot(self, snapshot: AvatarSnapshot) -> None:
        self._announced = self._server.publish(snapshot)
        stamp_ns = self._learner.status.stamp_ns if self._learner else 0
        self._topics.publish_snapshot(self._announced, stamp_ns, self._frame())
        if self._autosave_beat.due():
            self._autosave(snapshot)

    def _on_mended(self) -> None:
        self.get_logger().info("going on after a failure")
        self.fault = None

    def _on_overlay(self, picture: Any, seen: Seen) -> None:
        self._topics.publish_overlay(picture, seen.frame.stamp_ns, seen.frame_id)

    def _autosave(self, snapshot: AvatarSnapshot) -> None:
        """A disk that is full for a while must not end the learning."""
        if self._config.autosave is None:
            return
        try:
            avatar_files.save(self._config.autosave, snapshot)
        except OSError as error:
            self._warn(f"{self._config.autosave}: the avatar could not be saved, it is tried again later: {error}")

    def _say(self, event: Event) -> None:
        if isinstance(event, Preparing):
            self.get_logger().info(event.what)

    def _warn(self, message: str) -> None:
        self.get_logger().warning(message)

    def _frame(self) -> str:
        """The optical frame, by parameter or as the pictures say."""
        return self._config.camera_frame or (self._input.frame_id if self._input else "")

    # -- services

    def _serve_files(self, stack: ExitStack) -> None:
        """Also while the node is not active."""
        for name, answer in (("save", self._on_save), ("load", self._on_load), ("export", self._on_export),
                             ("save_timings", self._on_save_timings)):  # fmt: skip
            self.serve(stack, FilePath, f"~/{name}", partial(_answered, answer))

    def _newest(self) -> AvatarSnapshot:
        return avatar_files.learned(self._learner.snapshot if self._learner else self._avatar)

    def _on_save(self, request: Any) -> str:
        return avatar_files.save(avatar_files.named(request.file_path), self._newest())

    def _on_export(self, request: Any) -> str:
        """A second or two, in which callbacks wait; tracking and training go on."""
        return avatar_files.export(avatar_files.named(request.file_path), self._newest(), self._body)

    def _on_load(self, request: Any) -> str:
        snapshot, said = avatar_files.load(avatar_files.named(request.file_path), self._body)
        self._begin(snapshot)
        return said

    def _on_save_timings(self, request: Any) -> str:
        content = {
            "stages_ms": self._learner.timings_ms() if self._learner else {},
            "latency_ms": self._latencies.figures(),
            "frames_per_s": self._tracked.rate_hz,
        }
        return avatar_files.save_timings(avatar_files.named(request.file_path), content)

    def _on_pause(self, request: Any) -> str:
        self._active_learner().pause()
        return "paused: pictures are dropped, nothing is learned"

    def _on_resume(self, request: Any) -> str:
        self._active_learner().go_on()
        return "going on"

    def _on_reset(self, request: Any) -> str:
        self._begin(None)
        return "starting from nothing"

    def _active_learner(self) -> Learner:
        assert self._learner is not None, "these services end with the activation"
        return self._learner

    def _begin(self, snapshot: AvatarSnapshot | None) -> None:
        self.fault = None
        if self._learner is None:
            self._avatar = snapshot
            self._server.start_anew()
        else:
            self._learner.begin(snapshot)

    # -- beats

    def _publish_status(self) -> None:
        version = self._announced.version if self._announced else 0
        self._topics.publish_status(self._active_learner().status, self._tracked.rate_hz, version, self._frame())

    def _health(self) -> Health:
        status = self._learner.status if self._learner else None
        rests = status is not None and status.state in (State.PAUSED, State.FINISHED)
        figures = {} if status is None else {
            "state": status.state.name.lower(),
            "pictures looked at": status.frames,
            "pictures dropped": status.frames_dropped,
            "iterations": status.iterations,
            "iterations per second": status.iterations_per_s,
            "Gaussians": status.gaussians,
        }  # fmt: skip
        return Health(
            active=status is not None,
            doing=status.message if status else "not active",
            fault=self.fault or (self._input.fault if self._input else None),
            idle=status.message if status and rests else None,
            age_s=self._tracked.age_s,
            rate_hz=self._tracked.rate_hz,
            values=figures | self._latencies.figures(),
        )


def _closed(learner: Learner, done: threading.Event) -> None:
    """Asks it to end and waits longer than for other threads: a look at all frames again cannot be broken off."""
    learner.close()
    done.wait(_LAST_WORK_S)


def _answered(answer: Callable[[Any], str], request: Any, response: Any) -> Any:
    """Calls it; what it returns or refuses is the message."""
    try:
        response.message, response.success = answer(request), True
    except (ValueError, OSError) as error:
        response.message, response.success = str(error), False
    return response


def main(arguments: list[str] | None = None) -> int:
    return run_node(AvatarNode, arguments)
