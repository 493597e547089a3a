"""Messages and services. Kind: contract. Type hashes (REP-2011) as rosbags computes them, no ROS needed; where ROS and a
build of this package are, rosidl's are compared.

A hash that changes means that bags and nodes of before no longer fit: record the new one and say so in the CHANGELOG.
"""

import json
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

REPOSITORY = Path(__file__).parents[2]
HASHES = {
    "msg/AvatarSnapshot": "c16ff679a348a040832ff4766b643fbca702eaa9ca2c72d58d0b93bea2d7675c",
    "msg/BodyState": "0ddab4f33a82b21dd48653f70de8104e4f46f5f5701c0738d22e6e58924723b7",
    "msg/TrainingStatus": "3f2402a5df4ad423bc85a2eca5f49d7ae9a7fe72ceb8fbaad9a216f3950631a5",
    "srv/FilePath_Request": "c2894c2f6dfe087948d9ba83fa4647ba33c82e9998154d900c87badf7ca63ed3",
    "srv/FilePath_Response": "d00d4f3190fd0cac9158a13df84dc1aec2cb43d1a3329ae79330f5a01058beda",
    "srv/RenderView_Request": "c19af428630b09a2a1dd38820422692a62830879dd3b26a431871649beee38e1",
    "srv/RenderView_Response": "2c7531cc1f760b9bd4444ab20d715c72bfba6dc584076ef826e4d0a17ef25895",
}


def definitions() -> dict[str, str]:
    """Text of each message, those that make up a service included."""
    texts = {f"msg/{file.stem}": file.read_text() for file in (REPOSITORY / "msg").glob("*.msg")}
    for file in (REPOSITORY / "srv").glob("*.srv"):
        parts = file.read_text().split("---\n")
        texts |= {f"srv/{file.stem}_{kind}": text for kind, text in zip(("Request", "Response"), parts, strict=True)}
    return texts


def hashes() -> dict[str, str]:
    store, texts = get_typestore(Stores.ROS2_JAZZY), definitions()
    for name, text in sorted(texts.items()):
        # rosbags knows no services: their halves are read as messages and then named as rosidl names them.
        as_message = f"fmgs_ros/msg/{name.split('/')[1]}"
        store.register(get_types_from_msg(text, as_message))
        store.fielddefs[f"fmgs_ros/{name}"] = store.fielddefs[as_message]
    return {name: store.hash_rihs01(f"fmgs_ros/{name}").removeprefix("RIHS01_") for name in texts}


def test_type_hashes_are_those_on_record():
    assert hashes() == HASHES


def test_type_hashes_are_those_of_rosidl():
    found = 0
    for name, expected in HASHES.items():
        kind, base = name.split("/")
        file = _share() / kind / f"{base.removesuffix('_Request').removesuffix('_Response')}.json"
        said = {entry["type_name"]: entry["hash_string"] for entry in json.loads(file.read_text())["type_hashes"]}
        assert said[f"fmgs_ros/{name}"] == f"RIHS01_{expected}"
        found += 1
    assert found == len(HASHES)


def _share() -> Path:
    packages = pytest.importorskip("ament_index_python.packages", reason="needs ROS (ament_index_python)")
    try:
        return Path(packages.get_package_share_directory("fmgs_ros"))
    except packages.PackageNotFoundError:
        pytest.skip("needs a build of this package (colcon build)")


@pytest.mark.parametrize("name", sorted(n for n in definitions() if n.startswith("msg/")))
def test_header_comes_first(name: str):
    first = next(line for line in definitions()[name].splitlines() if line and not line.startswith("#"))
    assert first.split()[:2] == ["std_msgs/Header", "header"]


def test_the_status_constants_are_those_of_the_nodes():
    from fmgs_core.tracking.tracker import TrackingStatus
    from fmgs_ros.bodies import STATUS

    text = definitions()["msg/BodyState"]
    for status in TrackingStatus:
        assert f"uint8 {status.name}={STATUS[status]}" in text
