"""`ros2 run fmgs_ros render_node`: the avatar, posed by a live body, a motion or not at all, seen from anywhere."""

import queue
import threading
import time
from concurrent.futures import Future, TimeoutError
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.time import Time
from std_msgs.msg import Header
from tf2_ros import Buffer, TransformBroadcaster, TransformException, TransformListener

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.concurrency import Latest
from fmgs_core.rendering.motion import load_motion
from fmgs_core.rendering.outputs import Output, draw_outputs
from fmgs_core.rendering.view_sources import AroundView
from fmgs_core.transport import Announcement, SnapshotClient
from fmgs_core.types import BodyState, Camera
from fmgs_ros.avatar_keeper import AvatarKeeper, AvatarMaker, Drawable
from fmgs_ros.bodies import state_from_optical, state_of
from fmgs_ros.convert import camera_of, fill_header, stamp_ns, unposed
from fmgs_ros.diagnostics import Health, RateMeter, publish_diagnostics
from fmgs_ros.lifecycle import ManagedNode
from fmgs_ros.lifecycle import main as run_node
from fmgs_ros.msg import AvatarSnapshot as SnapshotMessage
from fmgs_ros.msg import BodyState as BodyMessage
from fmgs_ros.params import declare, read
from fmgs_ros.qos import latched, qos_profile
from fmgs_ros.render_config import RenderConfig
from fmgs_ros.render_scene import Latencies, Posed, camera_pose_of_view, fill_rigid, motion_at, rigid_of, view_in_optical
from fmgs_ros.render_topics import ENCODINGS, RenderTopics, image_message, info_message
from fmgs_ros.srv import FilePath, RenderView

# The drawing thread looks whether it is to stop this often, and a service waits this long for it [s].
_STOP_CHECK_S, _REQUEST_S = 0.2, 20.0
_NS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class _Request:
    """A call of ~/render_view, answered by the drawing thread."""

    message: Any
    response: Any
    done: "Future[None]"


class RenderNode(ManagedNode):
    """Three threads: callbacks only hand over, one keeps the avatar, one draws."""

    def __init__(self, **options: Any):
        super().__init__("render_node", **options)
        declare(self, RenderConfig, live=("view", "drive", "background"), on_change=self._reconfigure)
        self._config = RenderConfig()
        self._is_active = False

    # -- the lifecycle

    def configure(self, stack: ExitStack) -> None:
        self._config = config = read(self, RenderConfig())
        self._body = config.body.load()
        self._maker = AvatarMaker(self._body, config.backend, config.fill_unseen)
        self._keys = config.fetch.client_keys()
        self._view_frame = f"{self.get_name()}_view_optical"
        self._drawn, self._latencies = RateMeter(), Latencies()
        self._world_frame, self._problem = config.frame_id, None
        self._topics = RenderTopics(self, stack, config.output_qos, config.jpeg_quality)
        self._tf = TransformBroadcaster(self)
        stack.callback(self.destroy_publisher, self._tf.pub_tf)
        self._forget_scene()
        self._drawing: str | Path | None = None
        self._warm_up()
        self._keeper = AvatarKeeper(
            self._maker,
            retry_s=config.fetch.retry_s,
            on_problem=self.get_logger().warning,
            on_new=self._say_new,
        )
        if config.avatar_file is not None:
            self._keeper.load_now(config.avatar_file)
        publish_diagnostics(self, stack, config.frame_id, self._health, config.diagnostics)

    def activate(self, stack: ExitStack) -> None:
        self.fault = None
        qos = qos_profile(self._config.input_qos)
        self._states: Latest[Any] = Latest()
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._wake, self._pose, self._told = threading.Event(), None, None
        self._transforms = Buffer()
        listener = TransformListener(self._transforms, self, spin_thread=False)
        stack.callback(listener.unregister)
        client = SnapshotClient(self._config.fetch.timeout_s, self._keys)
        self.run_thread(stack, "avatars", partial(self._keeper.run, client))
        stack.callback(client.close)  # ends a fetch before its thread is waited for
        self.run_thread(stack, "drawing", self._draw_on)
        self._snapshot = self.subscribe(stack, SnapshotMessage, "snapshot", self._on_snapshot, latched())
        self.subscribe(stack, BodyMessage, "body_state", self._on_body_state, qos)
        self.subscribe(stack, PoseStamped, "view", self._on_view, qos)
        self.serve(stack, FilePath, "~/load", self._on_load)
        self.serve(stack, RenderView, "~/render_view", self._on_render_view)
        self._topics.publish_labels(self._header(self.get_clock().now().nanoseconds))
        self._is_active = True
        stack.callback(partial(setattr, self, "_is_active", False))

    def _warm_up(self) -> None:
        """Loads or compiles the kernels, so that the first picture is not seconds late."""
        if self._config.backend == "cuda":
            from fmgs_core.raster.cuda import compile_gsplat

            compile_gsplat(self.get_logger().info, len(SAPIENS28_NAMES))
        state = replace(self._body.neutral_state(), transl=np.array([0.0, 0.0, -3.0]))
        camera = replace(self._config.view.lens, width=64, height=64).camera()
        draw_outputs(
            Avatar(self._body, device=self._config.backend), state, camera, frozenset(Output), backend=self._config.backend
        )

    def _reconfigure(self, config: RenderConfig) -> None:
        """Of a running node; the drawing thread notices."""
        self._config = config

    def _forget_scene(self) -> None:
        """What depends on the configuration or on the past: made again by the next drawing."""
        self._last: Posed | None = None
        self._around: tuple[Any, AroundView] | None = None
        self._motion: tuple[Any, list[BodyState]] | None = None
        self._motion_start_ns = 0

    def _say_new(self, drawable: Drawable) -> None:
        """Another avatar aloud; its versions, one a second while it learns, to those who debug."""
        which = drawable.key[0] if isinstance(drawable.key, tuple) else drawable.key
        say = self.get_logger().debug if which == self._drawing else self.get_logger().info
        self._drawing = which
        say(f"drawing {drawable.name}")

    # -- callbacks hand over

    def _on_snapshot(self, message: Any) -> None:
        names = Announcement.__dataclass_fields__
        try:
            self._keeper.announce(Announcement(**{name: getattr(message, name) for name in names}))
        except ValueError as error:
            self.get_logger().warning(f"snapshot announcement refused: {error}")

    def _on_body_state(self, message: Any) -> None:
        if self._config.drive.mode == "live" and message.pose:
            self._states.put(message)
            self._wake.set()

    def _on_view(self, message: Any) -> None:
        self._pose = message
        self._wake.set()

    def _on_load(self, request: Any, response: Any) -> Any:
        """An empty path takes up the trainer's snapshots again. Callbacks wait meanwhile; their slots keep the newest."""
        path = Path(request.file_path) if request.file_path else None
        try:
            response.message, response.success = self._keeper.load(path).result(_REQUEST_S), True
        except (ValueError, OSError, TimeoutError) as error:
            response.message = str(error) or f"not loaded within {_REQUEST_S:g} s"
        return response

    def _on_render_view(self, request: Any, response: Any) -> Any:
        """Drawn by the drawing thread; callbacks wait meanwhile."""
        self._requests.put(job := _Request(request, response, Future()))
        self._wake.set()
        try:
            job.done.result(_REQUEST_S)
        except (ValueError, TimeoutError) as error:
            response.success, response.message = False, str(error) or f"not drawn within {_REQUEST_S:g} s"
        return response

    # -- the drawing thread

    def _draw_on(self, stop: threading.Event) -> None:
        next_s = time.monotonic()
        while not stop.is_set():
            live = self._config.drive.mode == "live"
            self._wake.wait(_STOP_CHECK_S if live else min(_STOP_CHECK_S, max(0.0, next_s - time.monotonic())))
            self._wake.clear()
            self._answer_requests()
            message = self._states.take(0.0)
            if live and message is not None:
                self._attempt(partial(self._posed_live, message))
            elif not live and time.monotonic() >= next_s:
                next_s = max(next_s + 1 / self._config.drive.rate_hz, time.monotonic())
                self._attempt(self._posed_by_itself)

    def _attempt(self, pose: Any) -> None:
        """Bad input is said once and then kept for the diagnostics; the next input may be good."""
        try:
            posed = pose()
            if posed is not None:
                self._draw(posed)
            self._problem = None
        except ValueError as error:
            if self._problem is None:
                self.get_logger().warning(f"not drawn: {error}")
            self._problem = str(error)

    def _posed_live(self, message: Any) -> Posed | None:
        if message.body_model != self._body.name:
            raise ValueError(f"body_state: expected body model {self._body.name!r}, got {message.body_model!r}")
        state = state_of(self._body, message)
        if state is None:
            return None
        self._world_frame = message.header.frame_id or self._config.frame_id
        return Posed(state_from_optical(self._body, state), stamp_ns(message.header.stamp), self._world_frame)

    def _posed_by_itself(self) -> Posed | None:
        """In rest or motion, at the present time; nothing while that stands still, as simulated time may."""
        now_ns = self.get_clock().now().nanoseconds
        if (drawable := self._keeper.current) is None or (self._last is not None and self._last.stamp_ns == now_ns):
            return None
        return Posed(self._own_state(drawable, now_ns), now_ns, self._world_frame)

    def _own_state(self, drawable: Drawable, now_ns: int) -> BodyState:
        drive = self._config.drive
        if drive.mode != "file":
            return replace(self._body.neutral_state(), betas=drawable.avatar.betas)
        assert drive.file is not None
        if self._motion is None or self._motion[0] != (drive.file, drawable):
            self._motion = (drive.file, drawable), load_motion(drive.file, drawable.avatar)
            self._motion_start_ns = self._motion_start_ns or now_ns
        return motion_at(self._motion[1], drive.fps, (now_ns - self._motion_start_ns) / _NS)

    def _draw(self, posed: Posed) -> None:
        """One drawing, for those who listen; the view's frame and camera in any case."""
        self._last = posed
        drawable, config = self._keeper.current, self._config
        if drawable is None:
            return
        camera = self._camera(posed)
        if camera is None:
            return
        self._publish_frame(camera, posed)
        if self._told is not drawable:
            self._topics.publish_version(self._header(posed.stamp_ns), drawable.version)
            self._told = drawable
        wanted = self._topics.wanted
        drawn = draw_outputs(drawable.avatar, posed.state, camera, wanted, config.background, config.backend)
        self._topics.publish(drawn, camera, posed.stamp_ns, self._view_frame)
        if drawn:
            self._drawn.tick()
            self._latencies.add((self.get_clock().now().nanoseconds - posed.stamp_ns) / 1e6)

    def _camera(self, posed: Posed) -> Camera | None:
        """Where the view is now; None before it was ever told."""
        view = self._config.view
        if view.mode in ("follow", "orbit"):
            if self._around is None or self._around[0] is not view:
                turns = view.mode == "follow"
                self._around = view, AroundView(self._body, view.around, view.lens, turns_with_body=turns)
            return self._around[1].camera(posed.state, posed.stamp_ns / _NS)
        if view.mode == "camera":
            return view.lens.camera()
        if view.mode == "frame":
            return view.lens.camera(camera_pose_of_view(self._found(posed.frame_id, view.frame)))
        return None if self._pose is None else view.lens.camera(self._pose_of(self._pose, posed.frame_id))

    def _pose_of(self, stamped: Any, world_frame: str) -> np.ndarray:
        """T_view_world of a PoseStamped in any frame that tf knows."""
        T = rigid_of(stamped.pose.position, stamped.pose.orientation)
        frame = stamped.header.frame_id or world_frame
        return camera_pose_of_view(T if frame == world_frame else self._found(world_frame, frame) @ T)

    def _found(self, target: str, source: str) -> np.ndarray:
        """T_target_source, the newest that tf has.

        Raises:
            ValueError: it has none.
        """
        try:
            transform = self._transforms.lookup_transform(target, source, Time()).transform
        except TransformException as error:
            raise ValueError(f"view: expected a transform from {source} to {target}, got: {error}") from error
        return rigid_of(transform.translation, transform.rotation)

    def _publish_frame(self, camera: Camera, posed: Posed) -> None:
        transform = TransformStamped(child_frame_id=self._view_frame)
        fill_header(transform.header, posed.stamp_ns, posed.frame_id)
        fill_rigid(transform.transform.translation, transform.transform.rotation, view_in_optical(camera.T_camera_world))
        self._tf.sendTransform(transform)

    # -- ~/render_view

    def _answer_requests(self) -> None:
        while not self._requests.empty():
            job = self._requests.get()
            try:
                self._fill_response(job.message, job.response)
                job.done.set_result(None)
            except Exception as error:
                job.done.set_exception(error)

    def _fill_response(self, request: Any, response: Any) -> None:
        drawable, outputs = self._keeper.current, _outputs(request.channels)
        if drawable is None:
            raise ValueError("no avatar yet: " + (self._keeper.problem or "no snapshot was announced and no file loaded"))
        posed = self._requested_body(request.body, drawable)
        camera = self._requested_camera(request, posed)
        drawn = draw_outputs(drawable.avatar, posed.state, camera, outputs, self._config.background, self._config.backend)
        header = self._header(posed.stamp_ns)
        response.camera_info = info_message(header, camera)
        for output, values in drawn.items():
            setattr(response, output.value, image_message(header, values, ENCODINGS[output]))
        response.success, response.snapshot_version = True, drawable.version

    def _requested_body(self, message: Any, drawable: Drawable) -> Posed:
        """The node's own body where the message's pose is empty: the last one drawn, or the motion's at this time."""
        if message.pose:
            posed = self._posed_live(message)
            assert posed is not None
            return posed
        if self._last is not None:
            return self._last
        now_ns = self.get_clock().now().nanoseconds
        return Posed(self._own_state(drawable, now_ns), now_ns, self._world_frame)

    def _requested_camera(self, request: Any, posed: Posed) -> Camera:
        own = self._config.view.lens.camera()
        asked = unposed(camera_of(request.camera_info)) if request.camera_info.k[0] else own
        if request.view.header.frame_id:
            return replace(asked, T_camera_world=self._pose_of(request.view, posed.frame_id))
        present = self._camera(posed)
        if present is None:
            raise ValueError("view: expected a pose, or one on the topic view before, got none")
        return replace(asked, T_camera_world=present.T_camera_world)

    # -- what it says of itself

    def _header(self, ns: int) -> Header:
        fill_header(header := Header(), ns, self._view_frame)
        return header

    def _health(self) -> Health:
        drawable, keeper = self._keeper.current, self._keeper
        snapshots = self.resolve_topic_name("snapshot")  # as it is remapped, which count_publishers does not ask
        away = self._is_active and not keeper.holds_file and not self.count_publishers(snapshots)
        idle = None if not self._is_active or self._topics.wanted else "nobody subscribes to a picture"
        return Health(
            active=self._is_active,
            doing=f"drawing {drawable.name}" if drawable else "",
            fault=self.fault or (keeper.problem if drawable is None else None),
            warning=self._problem or keeper.problem or ("the trainer is away" if away else None),
            idle=idle,
            age_s=self._drawn.age_s,
            rate_hz=self._drawn.rate_hz,
            waits_for=self._lack(drawable),
            values=self._figures(drawable),
        )

    def _lack(self, drawable: Drawable | None) -> str:
        if drawable is None:
            return "an avatar from the trainer, or a file (avatar_file, ~/load)"
        if self._config.view.mode == "pose" and self._is_active and self._pose is None:
            return "a pose on view"
        return "body_state" if self._config.drive.mode == "live" else "the clock"

    def _figures(self, drawable: Drawable | None) -> dict[str, Any]:
        figures: dict[str, Any] = {"pictures": self._drawn.count, "view": self._config.view.mode}
        if drawable is not None:
            figures |= {"snapshot version": drawable.version, "gaussians": len(drawable.avatar.faces)}
        return figures | self._latencies.figures()


def _outputs(channels: list[str]) -> frozenset[Output]:
    """Raises:
    ValueError: a name that is none.
    """
    known = {output.value: output for output in Output}
    if unknown := [name for name in channels if name not in known]:
        raise ValueError(f"channels: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    return frozenset(known[name] for name in channels or ("image",))


def main(arguments: list[str] | None = None) -> int:
    # The kernels bring their own threads; torch's operations here are too small to gain from a second one.
    torch.set_num_threads(1)
    return run_node(RenderNode, arguments)
