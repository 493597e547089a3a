"""What a Sapiens network can be asked for."""

from enum import Enum


class Task(Enum):
    """What a network gives; each published file is for one of them."""

    NORMAL = "normal"
    DEPTH = "depth"
    SEG = "seg"
    POSE = "pose"
    MATTING = "matting"
    """How much of a pixel is the person; Sapiens2 only."""
