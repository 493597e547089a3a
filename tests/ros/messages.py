"""Stand-ins for messages: the fields that ROS' classes have, and nothing of what ROS does."""

from array import array
from types import SimpleNamespace as Message

import numpy as np


def header(ns: int = 0, frame_id: str = "camera") -> Message:
    return Message(stamp=Message(sec=ns // 10**9, nanosec=ns % 10**9), frame_id=frame_id)


def image(ns: int = 0) -> Message:
    return Message(header=header(ns), height=0, width=0, encoding="", is_bigendian=0, step=0, data=array("B"))


def compressed(ns: int = 0) -> Message:
    return Message(header=header(ns), format="", data=array("B"))


def camera_info(ns: int = 0) -> Message:
    roi = Message(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    matrices = {"d": array("d"), "k": np.zeros(9), "r": np.zeros(9), "p": np.zeros(12)}
    return Message(header=header(ns), height=0, width=0, distortion_model="", roi=roi, binning_x=0, binning_y=0, **matrices)


def body_state() -> Message:
    arrays = {name: array("f") for name in ("betas", "pose", "expression")}
    return Message(header=header(), body_id="", body_model="", status=0, confidence=0.0, transl=np.zeros(3, "f4"), **arrays)
