#!/usr/bin/env python3
"""Makes samples/dressed_a, the small bag that the demo and the tests run on, from an avatar_gt/1 sequence.

    python scripts/make_sample_bag.py ../shared/gt/dressed_a

Running it again gives the same bytes (with the same versions of OpenCV and rosbags).
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from fmgs_core.stream.sequence import Sequence
from fmgs_core.types import Camera, Image

IMAGE_TOPIC, INFO_TOPIC = "/camera/image_raw/compressed", "/camera/camera_info"
FRAME_ID = "camera_color_optical_frame"
# All 100 frames in 3 MB; at 85 the file would be 2 MB and the blocks show on the face.
JPEG_QUALITY = 92

STORE = get_typestore(Stores.ROS2_JAZZY)


def main() -> None:
    repo = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequence", type=Path, help="folder of an avatar_gt/1 sequence")
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", type=Path, default=repo / "samples/dressed_a", help="folder of the bag, replaced")
    parser.add_argument("--quality", type=int, default=JPEG_QUALITY)
    arguments = parser.parse_args()
    write_bag(arguments.sequence, arguments.split, arguments.out, arguments.quality)
    size = sum(p.stat().st_size for p in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e6:.2f} MB")


def write_bag(sequence: Path, split: str, out: Path, quality: int = JPEG_QUALITY) -> None:
    """Writes beside `out` and swaps at the end, so that a run that fails leaves the old bag."""
    data = Sequence(sequence).split(split)
    # The storage file takes the folder's name, so the part lies in a folder of its own.
    scratch = out.with_name(f".{out.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with Writer(scratch / out.name, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
            images = bag.add_connection(IMAGE_TOPIC, "sensor_msgs/msg/CompressedImage", typestore=STORE)
            infos = bag.add_connection(INFO_TOPIC, "sensor_msgs/msg/CameraInfo", typestore=STORE)
            for index in range(len(data)):
                frame = data.frame(index)
                info, image = camera_info(frame.stamp_ns, frame.camera), compressed(frame.stamp_ns, frame.rgb, quality)
                bag.write(infos, frame.stamp_ns, STORE.serialize_cdr(info, info.__msgtype__))
                bag.write(images, frame.stamp_ns, STORE.serialize_cdr(image, image.__msgtype__))
        shutil.rmtree(out, ignore_errors=True)
        (scratch / out.name).rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def compressed(stamp_ns: int, rgb: Image, quality: int) -> Any:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    message = STORE.types["sensor_msgs/msg/CompressedImage"]
    return message(header=header(stamp_ns), format="rgb8; jpeg compressed bgr8", data=data.reshape(-1))


def camera_info(stamp_ns: int, camera: Camera) -> Any:
    """ROS puts the centre of the first pixel at 0, this project at 0.5."""
    types = STORE.types
    K = camera.K.copy()
    K[:2, 2] -= 0.5
    return types["sensor_msgs/msg/CameraInfo"](
        header=header(stamp_ns),
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=K.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([K, np.zeros((3, 1))]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def header(stamp_ns: int) -> Any:
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=FRAME_ID)


if __name__ == "__main__":
    main()
