"""The classes of the semantic masks: vision_msgs/LabelInfo beside a mask, and the mask in colours for people."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from fmgs_core.body.parts import SAPIENS28_COLORS, SAPIENS28_NAMES
from fmgs_core.types import Image

LABEL_SET = "sapiens28"
UNLABELLED = 255
"""As vision_msgs/LabelInfo has it for ids of one byte."""

CLASSES: tuple[tuple[int, str], ...] = (*enumerate(SAPIENS28_NAMES), (UNLABELLED, "Unlabelled"))
"""Id and name."""

_COLOR_TABLE = np.zeros((256, 3), np.uint8)
_COLOR_TABLE[: len(SAPIENS28_COLORS)] = SAPIENS28_COLORS


def colored(labels: UInt8[np.ndarray, "h w"]) -> Image:
    """The drawing colour of each class; black where unlabelled."""
    return _COLOR_TABLE[labels]


def vision_info(header: Any, version: int, labels_topic: str) -> Any:
    """A vision_msgs/VisionInfo: which version of an avatar that is still being learned the classes are of; 0 is a file."""
    from vision_msgs.msg import VisionInfo

    return VisionInfo(header=header, method=f"fmgs_ros {LABEL_SET}", database_location=labels_topic, database_version=version)


def label_info(header: Any) -> Any:
    """A vision_msgs/LabelInfo of CLASSES."""
    from vision_msgs.msg import LabelInfo, VisionClass

    classes = [VisionClass(class_id=id, class_name=name) for id, name in CLASSES]
    return LabelInfo(header=header, class_map=classes, threshold=0.0)
