"""A camera, a recording or an image topic in; a tracked person, an avatar that is learned, and pictures of it out.

ros2 launch fmgs_ros avatar.launch.py source:=0
ros2 launch fmgs_ros avatar.launch.py source:=sample loop:=true rviz:=true
ros2 launch fmgs_ros avatar.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch fmgs_ros avatar.launch.py --show-args
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from fmgs_ros.launching import Given, arguments, managed_node, plain_node, recording, share, started

SWITCH = ["true", "false"]
ARGUMENTS = {
    "source": ("", "Camera index or /dev/videoN, URL, video, folder of pictures or bag that capture_node publishes; `sample` "
               "is the bag that comes with the package; empty: pictures come from the topic `image`"),
    "loop": ("false", "Whether a recording starts over at its end", SWITCH),
    "calibration": ("", "Calibration yaml of the camera (camera_calibration); empty: what the source knows"),
    "image": ("image_raw", "Topic of the pictures; /compressed is added where transport asks for it"),
    "camera_info": ("camera_info", "Topic of their camera_info"),
    "transport": ("raw", "How avatar_node takes pictures", ["raw", "compressed"]),
    "estimate_focal": ("true", "Whether an uncalibrated camera is used with a guessed focal length", SWITCH),
    "preset": ("cpu", "Where the training's settings start from", ["cpu", "gpu"]),
    "prior": ("auto", "auto (MediaPipe), sapiens (stored models beside it), a folder of recorded maps, or a plugin"),
    "device": ("", "What trains and draws: cpu or cuda; empty: as the preset says", ["", "cpu", "cuda"]),
    "namespace": ("", "Namespace of all nodes"),
    "body_id": ("person", "Names the person in topics and frames (REP-155)"),
    "humans": ("false", "Whether the topics of REP-155 are published too; needs hri_msgs", SWITCH),
    "avatar": ("", "Avatar file to go on from"),
    "autosave": ("", "Avatar file that is written while the training runs"),
    "render": ("true", "Whether render_node draws the avatar", SWITCH),
    "view": ("follow", "From where render_node draws", ["follow", "orbit", "camera", "pose"]),
    "use_sim_time": ("false", "Whether the clock is that of /clock (ros2 bag play --clock)", SWITCH),
    "params_file": ("", "Parameter yaml for all nodes; templates are in config/. Arguments given here count more"),
    "rviz": ("false", "Start RViz with the package's view", SWITCH),
    "foxglove": ("false", "Start foxglove_bridge; config/foxglove_layout.json is the layout for it", SWITCH),
    "aggregator": ("false", "Start diagnostic_aggregator with config/diagnostics.yaml", SWITCH),
    "record": ("", "Folder for a bag of all outputs; must not exist yet"),
    "python": ("", "Interpreter of the nodes, e.g. ~/venv/bin/python; empty: that of the environment"),
    "log_level": ("info", "Of our nodes", ["debug", "info", "warn", "error", "fatal"]),
    "respawn": ("false", "Whether a node that dies is started again", SWITCH),
}  # fmt: skip
OUTPUTS = (
    "avatar_node/body_state", "avatar_node/status", "avatar_node/snapshot", "avatar_node/label_info", "avatar_node/vision_info",
    "render_node/image_raw/compressed", "render_node/camera_info", "render_node/depth", "render_node/mask",
    "render_node/label_info", "render_node/vision_info", "/tf", "/diagnostics",
)  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*arguments(ARGUMENTS), OpaqueFunction(function=actions)])


def actions(context: LaunchContext) -> list:
    given = Given(context, ARGUMENTS)
    respawn = given.on("respawn")
    found = [*_capture(given), *started(_avatar(given), respawn=respawn)]
    if given.on("render"):
        found += started(_render(given), respawn=respawn)
    if given["record"]:
        found.append(recording(given.path("record"), [_in_namespace(given, topic) for topic in OUTPUTS]))
    return found + _tools(given)


def _common(given: Given) -> dict:
    return {
        "params_file": given.path("params_file"),
        "namespace": given["namespace"],
        "python": str(Path(given["python"]).expanduser()) if given["python"] else "",
        "log_level": given["log_level"],
        "respawn": given.on("respawn"),
    }


def _capture(given: Given) -> list:
    if not given["source"]:
        return []
    node = managed_node(
        "capture_node",
        parameters={
            "source": _source(given["source"]),
            "loop": given.on("loop"),
            "calibration": given.path("calibration"),
            # A recording waits for the nodes, some of which take seconds to come up.
            "start_when_subscribed": True,
            "use_sim_time": given.on("use_sim_time"),
        },
        remappings={
            "~/image_raw": given["image"],
            "~/image_raw/compressed": f"{given['image']}/compressed",
            "~/camera_info": given["camera_info"],
        },
        **_common(given),
    )
    return started(node, respawn=given.on("respawn"))


def _source(name: str) -> str:
    """Paths as they are seen from here; numbers and URLs as they are."""
    if name == "sample":
        return share("samples", "dressed_a")
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() and not name.isdecimal() else name


def _avatar(given: Given):
    parameters = {
        "preset": given["preset"],
        "transport": given["transport"],
        "estimate_focal": given.on("estimate_focal"),
        "body_id": given["body_id"],
        "humans": given.on("humans"),
        "avatar": given.path("avatar"),
        "autosave": given.path("autosave"),
        "prior": given.path_or_name("prior"),
        "use_sim_time": given.on("use_sim_time"),
    }
    if given["device"]:
        parameters["session.trainer.backend"] = given["device"]
    return managed_node(
        "avatar_node",
        parameters=parameters,
        remappings={
            "image_raw": given["image"],
            "image_raw/compressed": f"{given['image']}/compressed",
            "camera_info": given["camera_info"],
        },
        **_common(given),
    )


def _render(given: Given):
    parameters = {"view.mode": given["view"], "use_sim_time": given.on("use_sim_time")}
    if given["device"] or given["preset"] == "gpu":
        parameters["backend"] = given["device"] or "cuda"
    return managed_node(
        "render_node",
        parameters=parameters,
        remappings={"snapshot": "avatar_node/snapshot", "body_state": "avatar_node/body_state"},
        **_common(given),
    )


def _tools(given: Given) -> list:
    found = []
    if given.on("rviz"):
        view = ("-d", share("config", "fmgs.rviz"))
        found.append(plain_node("rviz2", "rviz2", namespace=given["namespace"], arguments=view))
    if given.on("foxglove"):
        found.append(plain_node("foxglove_bridge", "foxglove_bridge"))
    if given.on("aggregator"):
        parameters = [share("config", "diagnostics.yaml")]
        found.append(plain_node("diagnostic_aggregator", "aggregator_node", parameters=parameters))
    return found


def _in_namespace(given: Given, topic: str) -> str:
    return topic if topic.startswith("/") else f"/{given['namespace'].strip('/')}/{topic}".replace("//", "/")
