"""What a Sapiens network can be asked for."""

from enum import Enum


class Task(Enum):
    """The four heads of Sapiens; each published file has one of them."""

    NORMAL = "normal"
    DEPTH = "depth"
    SEG = "seg"
    POSE = "pose"
