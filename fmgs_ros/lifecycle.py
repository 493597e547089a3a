"""What every node of this package does alike: the lifecycle as two stacks of resources, threads, faults, and a clean end.

A node overrides `configure(stack)` and `activate(stack)`. What it opens goes onto the stack together with how it is closed, so
that deactivate and cleanup need no code, run in reverse order, and a transition that breaks half-way leaves nothing behind.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

# Signals are looked at this often while nothing else happens [s].
WAKE_S = 0.25
# A thread that ignores its stop event [s], and a node that does not end [s].
JOIN_S, END_S = 6.0, 12.0

AUTOSTART = "Configure and activate at once, without a launch file or `ros2 lifecycle set`."


class Ending:
    """Whether the process was asked to end. Signals only set a flag, so that a second one does no harm; a transition that may
    take long is broken off by the first."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._interruptible = False

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        self._asked.set()

    def listen(self) -> None:
        """Takes SIGINT and SIGTERM for the rest of the process; main thread only."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._on_signal)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it the first signal raises KeyboardInterrupt."""
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, _signum: int, _frame: object) -> None:
        self._asked.set()
        if self._interruptible:
            self._interruptible = False
            raise KeyboardInterrupt


class ManagedNode(LifecycleNode):
    """Base of our lifecycle nodes. Parameters are declared in the constructor, as other nodes and launch files expect."""

    def __init__(self, name: str, **options: Any):
        super().__init__(name, **options)
        self.fault: str | None = None
        """What keeps the node from its work, in one sentence, for the diagnostics; None while all is well."""
        self.ending = Ending()
        self._configured, self._active = ExitStack(), ExitStack()
        self._finished = False
        self.declare_parameter("autostart", False, ParameterDescriptor(description=AUTOSTART, read_only=True))

    # -- what a node is made of

    def configure(self, stack: ExitStack) -> None:
        """Reads parameters, loads, allocates and makes publishers. Whatever it raises is said in one sentence."""

    def activate(self, stack: ExitStack) -> None:
        """Makes subscriptions, services and timers and starts threads; publishers are open already."""

    # -- resources that end with their stack

    def publisher(self, stack: ExitStack, kind: type, topic: str, qos: Any) -> Any:
        """A publisher that is silent while the node is not active; for `configure`."""
        publisher = self.create_lifecycle_publisher(kind, topic, qos)
        stack.callback(self.destroy_lifecycle_publisher, publisher)
        return publisher

    def subscribe(self, stack: ExitStack, kind: type, topic: str, callback: Callable[[Any], None], qos: Any) -> Any:
        """The callback must only hand the message over: it runs in the thread of all other callbacks."""
        subscription = self.create_subscription(kind, topic, callback, qos)
        stack.callback(self.destroy_subscription, subscription)
        return subscription

    def serve(self, stack: ExitStack, kind: type, name: str, callback: Callable[[Any, Any], Any]) -> Any:
        service = self.create_service(kind, name, callback)
        stack.callback(self.destroy_service, service)
        return service

    def every(self, stack: ExitStack, period_s: float, callback: Callable[[], None]) -> Any:
        """A timer of the steady clock: it goes on while simulated time stands still."""
        timer = self.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
        stack.callback(self.destroy_timer, timer)
        return timer

    def run_thread(self, stack: ExitStack, name: str, work: Callable[[threading.Event], None]) -> None:
        """Runs work(stop) beside the callbacks until the stack is left; what it raises becomes the node's fault."""
        stop = threading.Event()
        thread = threading.Thread(target=self._guarded, args=(name, work, stop), name=name, daemon=True)
        stack.callback(self._join, thread, stop)
        thread.start()

    def report_fault(self, what: str, error: BaseException | None = None) -> None:
        """Says it once, and keeps it for the diagnostics."""
        self.fault = what if error is None else f"{what}: {sentence(error)}"
        self.get_logger().error(self.fault)

    def start(self) -> None:
        """Configures and activates, as far as that goes."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def finish(self) -> None:
        """Frees everything, whatever state the node is in. It is finalized afterwards."""
        if self._finished:
            return
        if self.context.ok():
            self.trigger_shutdown()
        self._leave("shut down", self._active, self._configured)

    # -- transitions, called by rclpy

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.fault = None
        return self._enter("configured", self.configure, self._configured)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        super().on_activate(state)
        return self._enter("activated", self.activate, self._active)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        left = self._leave("deactivated", self._active)
        super().on_deactivate(state)
        return left

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._leave("cleaned up", self._configured)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._finished = True
        return self._leave("shut down", self._active, self._configured)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured with everything freed, so that it can be configured again when the cause is gone."""
        return self._leave("freed", self._active, self._configured)

    def _enter(self, what: str, enter: Callable[[ExitStack], None], kept: ExitStack) -> TransitionCallbackReturn:
        try:
            with ExitStack() as attempt, self.ending.interruptible():
                enter(attempt)
                kept.push(attempt.pop_all().__exit__)
        except KeyboardInterrupt:
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.report_fault(f"{self.get_name()} cannot be {what}", error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _leave(self, what: str, *stacks: ExitStack) -> TransitionCallbackReturn:
        try:
            with ExitStack() as leaving:
                for stack in reversed(stacks):
                    leaving.push(stack.pop_all().__exit__)
        except Exception as error:
            self.report_fault(f"{self.get_name()} was not {what} in order", error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _guarded(self, name: str, work: Callable[[threading.Event], None], stop: threading.Event) -> None:
        try:
            work(stop)
        except Exception as error:
            self.report_fault(f"{name} ended", error)

    def _join(self, thread: threading.Thread, stop: threading.Event) -> None:
        stop.set()
        thread.join(JOIN_S)
        if thread.is_alive():
            self.get_logger().warning(f"{thread.name} is still busy {JOIN_S:g} s after it was asked to stop")


def main(make_node: Callable[[], ManagedNode], arguments: list[str] | None = None) -> int:
    """Runs a node for the life of the process; returns its exit code.

    0 after SIGINT or SIGTERM, however many of them, and when the context is shut down; 1, with one sentence, when the node
    cannot be made. An error in a callback is a bug: it ends the node in order and then shows its traceback.
    """
    ending = Ending()
    ending.listen()
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make_node()
    except Exception as error:
        get_logger("fmgs_ros").fatal(sentence(error))
        rclpy.try_shutdown()
        return 1
    node.ending = ending
    try:
        _spin(node, ending)
    finally:
        _end(node)
    return 0


def sentence(error: BaseException) -> str:
    """An error in one line. ValueErrors and OSErrors speak for themselves, others are named."""
    text = " ".join(str(error).split()) or "no reason given"
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"


def _spin(node: ManagedNode, ending: Ending) -> None:
    executor = _executor()
    executor.add_node(node)
    try:
        if node.get_parameter("autostart").value:
            node.start()
        # In the main thread, where Python runs its signal handlers: after each callback, or after WAKE_S.
        while not ending.asked and node.context.ok():
            executor.spin_once(timeout_sec=WAKE_S)
    except (ExternalShutdownException, KeyboardInterrupt):
        ending.ask()
    finally:
        executor.remove_node(node)
        executor.shutdown()


def _executor() -> Any:
    """rclpy's events executor, from Kilted on; the other one rebuilds its wait set for every message."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor()
    return EventsExecutor()


def _end(node: ManagedNode) -> None:
    """Frees the node; a thread that hangs in a driver or a kernel does not keep the process alive."""
    watchdog = threading.Timer(END_S, _give_up, (node.get_name(),))
    watchdog.daemon = True
    watchdog.start()
    node.finish()
    node.destroy_node()
    rclpy.try_shutdown()
    watchdog.cancel()


def _give_up(name: str) -> None:
    sys.stderr.write(f"{name} did not end within {END_S:g} s\n")
    sys.stderr.flush()
    os._exit(1)
