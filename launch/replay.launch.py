"""An avatar of a recording: every picture, in order, the same avatar each time. Ends when it is written.

ros2 launch fmgs_ros replay.launch.py bag:=sample out:=avatar.safetensors
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown

from fmgs_ros.launching import Given, arguments, managed_node, share, started

SWITCH = ["true", "false"]
ARGUMENTS = {
    "bag": ("sample", "Bag, video or folder of pictures; `sample` is the bag that comes with the package"),
    "topic": ("", "Image topic of a bag that has several"),
    "out": ("avatar.safetensors", "Avatar file that is written"),
    "preset": ("cpu", "Where the training's settings start from", ["cpu", "gpu", "paper"]),
    "prior": ("auto", "auto (MediaPipe), sapiens (stored models beside it), a folder of recorded maps, or a plugin"),
    "avatar": ("", "Avatar file to go on from"),
    "publish": ("false", "Whether body_state, tf and snapshots are published while it goes, and drawn", SWITCH),
    "namespace": ("", "Namespace of the nodes"),
    "body_id": ("person", "Names the person in topics and frames (REP-155)"),
    "params_file": ("", "Parameter yaml for all nodes; arguments given here count more"),
    "python": ("", "Interpreter of the nodes, e.g. ~/venv/bin/python; empty: that of the environment"),
    "log_level": ("info", "Of our nodes", ["debug", "info", "warn", "error", "fatal"]),
}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*arguments(ARGUMENTS), OpaqueFunction(function=actions)])


def actions(context: LaunchContext) -> list:
    given = Given(context, ARGUMENTS)
    common = {
        "params_file": given.path("params_file"),
        "namespace": given["namespace"],
        "python": str(Path(given["python"]).expanduser()) if given["python"] else "",
        "log_level": given["log_level"],
    }
    replay = managed_node(
        "replay",
        parameters={
            "bag": share("samples", "dressed_a") if given["bag"] == "sample" else given.path("bag"),
            "out": given.path("out"),
            "session.source.topic": given["topic"],
            "preset": given["preset"],
            "prior": given.path_or_name("prior"),
            "avatar": given.path("avatar"),
            "publish": given.on("publish"),
            "body_id": given["body_id"],
        },
        **common,
    )
    # It starts itself, and all else ends with it.
    ended = OnProcessExit(target_action=replay, on_exit=[EmitEvent(event=Shutdown(reason="the replay has ended"))])
    found = [RegisterEventHandler(ended), replay]
    if given.on("publish"):
        drawn = {"snapshot": "replay/snapshot", "body_state": "replay/body_state"}
        found += started(managed_node("render_node", parameters={}, remappings=drawn, **common))
    return found
