"""Pieces of the launch files. Runs in the process of `ros2 launch`, so nothing of fmgs_core is imported here."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, EmitEvent, ExecuteProcess, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

PACKAGE = "fmgs_ros"
PATIENCE_S = 15
"""Seconds that a node has to end after Ctrl-C; it gives up by itself before."""


def managed_node(
    executable: str,
    *,
    parameters: Mapping[str, Any],
    params_file: str = "",
    namespace: str = "",
    remappings: Mapping[str, str] | None = None,
    python: str = "",
    log_level: str = "info",
    respawn: bool = False,
) -> LifecycleNode:
    """One of our nodes. Parameters count more than those of the file.

    Args:
        python: interpreter to run it with; empty takes `python3` of the environment, an active virtual one included.
        respawn: it then starts itself: the requests of launch would go to the dead process, which the middleware takes for
            alive for ten seconds, and launch would wait for their answers for ever.
    """
    return LifecycleNode(
        package=PACKAGE,
        executable=executable,
        name=executable,
        namespace=namespace,
        parameters=[
            *([params_file] if params_file else []),
            {**parameters, "autostart": respawn},
        ],
        remappings=list((remappings or {}).items()),
        prefix=[python] if python else None,
        ros_arguments=["--log-level", f"{_logger(namespace, executable)}:={log_level}"],
        respawn=respawn,
        respawn_delay=2.0,
        output="screen",
        exec_name=executable,
        # A training step on a busy machine takes longer than the five seconds that launch waits by itself.
        sigterm_timeout=str(PATIENCE_S),
    )


def started(node: LifecycleNode, *, respawn: bool = False) -> list[Any]:
    """The node with what configures and activates it as soon as its process runs, unless it does that itself. Later
    transitions are left to whoever asks for them."""
    if respawn:
        return [node]
    starting = threading.Event()

    def emit(transition: int) -> EmitEvent:
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))

    def configure(_context: LaunchContext) -> list[EmitEvent]:
        starting.set()
        return [emit(Transition.TRANSITION_CONFIGURE)]

    def activate(_context: LaunchContext) -> list[EmitEvent]:
        if not starting.is_set():
            return []
        starting.clear()
        return [emit(Transition.TRANSITION_ACTIVATE)]

    on_start = OnProcessStart(target_action=node, on_start=[OpaqueFunction(function=configure)])
    on_configured = OnStateTransition(
        target_lifecycle_node=node,
        start_state="configuring",
        goal_state="inactive",
        entities=[OpaqueFunction(function=activate)],
    )
    return [RegisterEventHandler(on_start), RegisterEventHandler(on_configured), node]


def plain_node(package: str, executable: str, *, namespace: str = "", arguments: tuple[str, ...] = (), **options: Any) -> Node:
    """A node of another package, such as rviz2; ros2 launch says when the package is not installed."""
    return Node(package=package, executable=executable, namespace=namespace, arguments=list(arguments), **options)


def recording(folder: str, topics: list[str]) -> ExecuteProcess:
    """`ros2 bag record` of the topics into a folder that must not exist yet."""
    return ExecuteProcess(cmd=["ros2", "bag", "record", "--output", folder, *topics], output="screen")


def arguments(described: Mapping[str, tuple[str, str] | tuple[str, str, list[str]]]) -> list[Any]:
    """Launch arguments from name: (default, description, and perhaps the choices)."""
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices[0] if choices else None)
        for name, (default, text, *choices) in described.items()
    ]


class Given:
    """The values of the launch arguments."""

    def __init__(self, context: LaunchContext, names: Mapping[str, Any]):

        self._values = {name: LaunchConfiguration(name).perform(context) for name in names}

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def on(self, name: str) -> bool:
        return self[name].lower() in ("true", "1", "on", "yes")

    def path(self, name: str) -> str:
        """Absolute: a node need not share the folder that launch was called in. Empty stays empty."""
        return str(Path(self[name]).expanduser().absolute()) if self[name] else ""

    def path_or_name(self, name: str) -> str:
        """Absolute where there is such a folder or file; else as it is."""
        path = Path(self[name]).expanduser()
        return str(path.absolute()) if self[name] and path.exists() else self[name]


def share(*parts: str) -> str:
    """A file that the package has installed."""
    return str(Path(get_package_share_directory(PACKAGE), *parts))


def _logger(namespace: str, name: str) -> str:
    """Name of a node's logger, so that the level is not that of the middleware too."""
    return ".".join([*namespace.strip("/").split("/"), name]).lstrip(".")
