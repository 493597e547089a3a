"""Nodes as processes of their own, and an independent participant of the graph inside the test. Needs a sourced ROS."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

REPOSITORY = Path(__file__).parents[3]
START_S, WAIT_S, END_S = 400.0, 60.0, 30.0
"""Deadlines: of a node that compiles its kernels on a busy machine (20 to 190 s were seen), of an answer, of an end (a node
gives up after 12 s). Only what hangs meets them."""


class NodeProcess:
    """An executable of scripts/ros with parameters, as `ros2 run` would start it. A context manager that ends it.

    Args:
        parameters: by dotted name.
        remaps: from name to name, "__ns" and "__node" included.
    """

    def __init__(self, executable: str, folder: Path, parameters: dict[str, Any], remaps: dict[str, str] | None = None):
        self._log = folder / f"{executable}-{time.monotonic_ns()}.log"
        file = self._log.with_suffix(".yaml")
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        renamed = [word for pair in (remaps or {}).items() for word in ("-r", f"{pair[0]}:={pair[1]}")]
        script = REPOSITORY / "scripts" / "ros" / executable
        command = [sys.executable, str(script), "--ros-args", "--params-file", str(file), *renamed]
        self._process = started(command, self._log)

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_said(self, text: str, timeout_s: float = START_S) -> None:
        until(lambda: text in self.said or not self.is_running, timeout_s, lambda: f"{text!r} in:\n{self.said}")
        assert text in self.said, self.said

    def wait_for(self, inbox: "Inbox", count: int = 1, timeout_s: float = START_S) -> list[Any]:
        """So many messages that depend on this node; fails at once, with what it said, when it ends instead."""
        until(lambda: len(inbox.messages) >= count or not self.is_running, timeout_s, lambda: f"{inbox.topic}:\n{self.said}")
        assert len(inbox.messages) >= count, self.said
        return list(inbox.messages)

    def end(self, *signals: int) -> int:
        """Sends signals a tenth of a second apart; the exit code."""
        for k, signum in enumerate(signals or (signal.SIGINT,)):
            time.sleep(0.1 * bool(k))
            if self.is_running:
                self._process.send_signal(signum)
        return self._process.wait(END_S)

    def __enter__(self) -> "NodeProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            try:
                self.end(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise


class Inbox:
    """What came on one topic."""

    def __init__(self, topic: str):
        self.topic = topic
        self.messages: list[Any] = []
        self.subscription: Any = None

    def wait(self, count: int = 1, timeout_s: float = WAIT_S) -> list[Any]:
        """At least so many messages."""
        until(lambda: len(self.messages) >= count, timeout_s, lambda: f"{count} on {self.topic}, got {len(self.messages)}")
        return list(self.messages)

    def next(self, timeout_s: float = WAIT_S) -> Any:
        """One that comes from now on."""
        return self.wait(len(self.messages) + 1, timeout_s)[-1]

    def matching(self, wanted: Callable[[Any], bool], timeout_s: float = WAIT_S) -> Any:
        until(lambda: any(map(wanted, list(self.messages))), timeout_s, lambda: f"a certain message on {self.topic}")
        return next(m for m in list(self.messages) if wanted(m))


class Participant:
    """A node of the test's own, spun in a thread."""

    def __init__(self, node: Node):
        self.node = node

    def listen(
        self, kind: type, topic: str, *, latched: bool = False, on_message: Callable[[Any], None] | None = None
    ) -> Inbox:
        """`on_message` takes them in place of the inbox."""
        inbox = Inbox(topic)
        inbox.subscription = self.node.create_subscription(kind, topic, on_message or inbox.messages.append, _qos(latched))
        return inbox

    def forget(self, inbox: Inbox) -> None:
        """No more of its topic is taken."""
        self.node.destroy_subscription(inbox.subscription)

    def talk(self, kind: type, topic: str, *, latched: bool = False) -> Any:
        return self.node.create_publisher(kind, topic, _qos(latched))

    def call(self, kind: type, service: str, request: Any, timeout_s: float = WAIT_S) -> Any:
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(timeout_s), f"no service {service}"
        future = client.call_async(request)
        until(future.done, timeout_s, lambda: f"an answer of {service}")
        self.node.destroy_client(client)
        return future.result()


@contextmanager
def participant(name: str = "test") -> Iterator[Participant]:
    """In a context of its own, so that tests do not share one."""
    rclpy.init(context=(context := Context()))
    node = rclpy.create_node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor,), daemon=True)
    thread.start()
    try:
        yield Participant(node)
    finally:
        executor.shutdown()
        thread.join(WAIT_S)
        node.destroy_node()
        rclpy.shutdown(context=context)


def started(command: list[Any], log: Path) -> subprocess.Popen:
    """In a session of its own, heeding SIGINT also where the tests run as a background job, which ignores it."""
    with log.open("w") as file:
        return subprocess.Popen(
            [str(word) for word in command],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def until(condition: Callable[[], bool], timeout_s: float, what: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what()}"
        time.sleep(0.02)


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return


def _qos(latched: bool) -> QoSProfile:
    return QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)
