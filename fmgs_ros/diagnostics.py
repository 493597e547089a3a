"""One DiagnosticStatus a node, once a second: OK, WARN when it is stale or slow, ERROR with the reason."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

PERIOD_S = 1.0


class Level(IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When a node counts as stale or slow."""

    stale_after_s: float = 2.0
    """Seconds without an output, or without an input, after which the node warns."""
    least_rate_hz: float = 0.0
    """Outputs per second below which the node warns; 0 never does."""

    def __post_init__(self):
        if not self.stale_after_s > 0:
            raise ValueError(f"DiagnosticsConfig.stale_after_s: expected more than zero seconds, got {self.stale_after_s}")
        if self.least_rate_hz < 0:
            raise ValueError(f"DiagnosticsConfig.least_rate_hz: expected zero or more, got {self.least_rate_hz}")


@dataclass(frozen=True)
class Health:
    """What a node knows of itself."""

    active: bool
    doing: str = "running"
    """One sentence for people, while all is well."""
    fault: str | None = None
    """What keeps it from its work; None while all is well."""
    warning: str | None = None
    """What is amiss although it goes on working; None while nothing is."""
    idle: str | None = None
    """Why no output is due: nobody subscribes, paused, finished. None while outputs are due."""
    age_s: float | None = None
    """Since the last output; None before the first."""
    rate_hz: float = 0.0
    waits_for: str = "pictures"
    """What it lacks when there is no output."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Figures for the status, in their units."""


def judged(health: Health, config: DiagnosticsConfig = DiagnosticsConfig()) -> tuple[Level, str, dict[str, str]]:
    """Level, message and values of the status."""
    values = {"rate [Hz]": health.rate_hz, **health.values}
    if health.age_s is not None:
        values["age of the last output [s]"] = health.age_s
    return *_verdict(health, config), {name: _text(value) for name, value in values.items()}


class RateMeter:
    """Counts what happens, and how often in the last seconds. For one writer and one reader thread."""

    def __init__(self, window_s: float = 5.0, clock_s: Callable[[], float] = time.monotonic):
        self._window_s, self._clock_s = window_s, clock_s
        self._times: deque[float] = deque(maxlen=1000)
        self.count = 0

    def tick(self) -> None:
        self.count += 1
        self._times.append(self._clock_s())

    @property
    def rate_hz(self) -> float:
        times, now = tuple(self._times), self._clock_s()
        recent = [t for t in times if t >= now - self._window_s]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0

    @property
    def age_s(self) -> float | None:
        times = tuple(self._times)
        return self._clock_s() - times[-1] if times else None


def publish_diagnostics(
    node: Any, stack: ExitStack, hardware_id: str, health: Callable[[], Health], config: DiagnosticsConfig = DiagnosticsConfig()
) -> None:
    """Publishes from `configure` on, so that an inactive node is not taken for a dead one."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    stack.callback(node.destroy_publisher, publisher)

    def publish() -> None:
        level, message, values = judged(health(), config)
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        status = DiagnosticStatus(
            level=bytes([level]), name=f"{node.get_name()}: state", message=message, hardware_id=hardware_id, values=pairs
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(array)

    node.every(stack, PERIOD_S, publish)


def _verdict(health: Health, config: DiagnosticsConfig) -> tuple[Level, str]:
    if health.fault is not None:
        return Level.ERROR, health.fault
    if not health.active:
        return Level.OK, "not active"
    if health.warning is not None:
        return Level.WARN, health.warning
    if health.idle is not None:
        return Level.OK, health.idle
    if health.age_s is None:
        return Level.WARN, f"waiting for {health.waits_for}"
    if health.age_s > config.stale_after_s:
        return Level.WARN, f"stale: no {health.waits_for} for {health.age_s:.1f} s"
    if health.rate_hz < config.least_rate_hz:
        return Level.WARN, f"slow: {health.rate_hz:.1f} Hz, expected at least {config.least_rate_hz:g} Hz"
    return Level.OK, health.doing


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
