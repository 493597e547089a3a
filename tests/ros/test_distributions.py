"""What Humble, Jazzy, Kilted and Lyrical have in common is all that is used. Kind: structure, read with ast.

The names were looked up in the sources of Humble and of the newest rclpy, launch, launch_ros and geometry2.
"""

import ast
from pathlib import Path

import pytest
from catkin_pkg.package import parse_package

REPOSITORY = Path(__file__).parents[2]
FILES = sorted([*REPOSITORY.glob("fmgs_ros/*.py"), *REPOSITORY.glob("launch/*.py")])
HUMBLE_PYTHON = (3, 10)
IN_HUMBLE = {
    "rclpy": {"init", "try_shutdown"},
    "rclpy.clock": {"Clock", "ClockType"},
    "rclpy.executors": {"ExternalShutdownException", "SingleThreadedExecutor"},
    "rclpy.lifecycle": {"LifecycleNode", "LifecycleState", "TransitionCallbackReturn"},
    "rclpy.logging": {"get_logger"},
    "rclpy.parameter": {"Parameter"},
    "rclpy.qos": {"DurabilityPolicy", "HistoryPolicy", "QoSProfile", "ReliabilityPolicy"},
    "rclpy.signals": {"SignalHandlerOptions"},
    "rclpy.time": {"Time"},
    "rclpy.utilities": {"remove_ros_args"},
    "tf2_ros": {"Buffer", "TransformBroadcaster", "TransformException", "TransformListener"},
    "launch": {"LaunchContext", "LaunchDescription"},
    "launch.actions": {
        "DeclareLaunchArgument", "EmitEvent", "ExecuteProcess", "OpaqueFunction", "RegisterEventHandler",
    },
    "launch.event_handlers": {"OnProcessExit", "OnProcessStart"},
    "launch.events": {"Shutdown", "matches_action"},
    "launch.launch_context": {"LaunchContext"},
    "launch.substitutions": {"LaunchConfiguration"},
    "launch_ros.actions": {"LifecycleNode", "Node"},
    "launch_ros.event_handlers": {"OnStateTransition"},
    "launch_ros.events.lifecycle": {"ChangeState"},
    "ament_index_python.packages": {"get_package_share_directory"},
}  # fmt: skip
SINCE_JAZZY = {"rclpy.experimental.events_executor"}
"""Imported where it is there."""
OPTIONAL = {"hri_msgs"}


def ros_imports(file: Path) -> set[tuple[str, str]]:
    """Modules of ROS and the names taken from them."""
    roots = {module.split(".")[0] for module in IN_HUMBLE}
    found = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.module]
    return {(n.module, a.name) for n in found for a in n.names if n.module and n.module.split(".")[0] in roots}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_names_of_ros_are_in_humble_too(file: Path):
    unknown = {(m, name) for m, name in ros_imports(file) if m not in SINCE_JAZZY and name not in IN_HUMBLE.get(m, ())}
    attributes = {n.attr for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)
                  and isinstance(n.value, ast.Name) and n.value.id == "rclpy"}  # fmt: skip
    assert not unknown and attributes <= IN_HUMBLE["rclpy"]


def test_all_of_it_is_python_of_humble():
    """Syntax; what the standard library gained since is not seen by this."""
    for file in [*FILES, *REPOSITORY.glob("fmgs_core/**/*.py"), *REPOSITORY.glob("scripts/ros/*")]:
        ast.parse(file.read_text(), str(file), feature_version=HUMBLE_PYTHON)


def test_packages_of_ros_that_are_imported_are_declared():
    package = parse_package(str(REPOSITORY / "package.xml"))
    declared = {d.name for d in package.exec_depends} | {package.name}
    declared |= {d.name for d in package.build_depends}
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {m.split(".")[0] for m in modules}
    ros = {name for name in found if name.endswith(("_msgs", "_srvs")) or name in {m.split(".")[0] for m in IN_HUMBLE}}
    assert ros - declared <= OPTIONAL
