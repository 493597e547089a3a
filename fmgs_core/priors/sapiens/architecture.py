"""Sizes of Sapiens v1 networks: what tells one of them from another, without weights."""

from dataclasses import dataclass

from fmgs_core.priors.sapiens.tasks import Task

PATCH = 16
"""Side of a patch, and so of a token [px]."""
ASPECT_HW = (4, 3)
"""Every published network looks at pictures of this height to width."""
INPUT_HW = (1024, 768)
"""Input of every published network [px]."""


@dataclass(frozen=True)
class Architecture:
    """A vision transformer of Sapiens' kind: pre-norm, MLP four times as wide, no class token, no layer scale."""

    name: str
    embed_dim: int
    layers: int
    heads: int
    head_width: int = 768
    """Channels inside the decoding heads; depth takes half of it."""

    def __post_init__(self):
        for name in ("embed_dim", "layers", "heads", "head_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"Architecture.{name}: expected at least 1, got {getattr(self, name)}")
        if self.embed_dim % self.heads:
            raise ValueError(f"Architecture.heads: expected a divisor of embed_dim {self.embed_dim}, got {self.heads}")


ARCHITECTURES = {
    a.name: a
    for a in (
        Architecture("0.3b", 1024, 24, 16),
        Architecture("0.6b", 1280, 32, 16),
        Architecture("1b", 1536, 40, 24),
        Architecture("2b", 1920, 48, 32),
    )
}
"""The published sizes (the paper's table 2)."""
TINY = Architecture("tiny", 64, 2, 2, head_width=32)
"""Not published: a network of 0.1 million weights to try a whole pipeline with. Files of it are read like the others."""


@dataclass(frozen=True)
class Head:
    """Layers of a decoding head and their names in a file."""

    prefix: str
    final: str
    """Name of the last 1 x 1 convolution."""
    deconvs: int
    """Transposed convolutions, each of which doubles the size."""
    convs: int
    """1 x 1 convolutions after them."""
    width_share: float
    """Of `Architecture.head_width`."""


HEADS = {
    Task.NORMAL: Head("decode_head", "conv_seg", 3, 3, 1.0),
    Task.SEG: Head("decode_head", "conv_seg", 3, 3, 1.0),
    Task.DEPTH: Head("decode_head", "conv_seg", 4, 2, 0.5),
    Task.POSE: Head("head", "final_layer", 2, 2, 1.0),
}


@dataclass(frozen=True)
class NetworkSpec:
    """All that shapes a network: build it from this alone.

    Raises:
        ValueError: an input that is not a whole number of patches, or channels or a padding that no such task has.
    """

    architecture: Architecture
    task: Task
    channels: int
    """Of the output: 3 for normals, 1 for depth, else the number of classes or keypoints."""
    padding: int
    """Of the patch embedding's convolution [px]. A wrong one loads silently and shifts every patch: see `padding_of`."""
    input_hw: tuple[int, int] = INPUT_HW

    def __post_init__(self):
        if min(self.input_hw) < PATCH or any(side % PATCH for side in self.input_hw):
            raise ValueError(f"NetworkSpec.input_hw: expected multiples of {PATCH}, got {self.input_hw}")
        if self.task not in HEADS:
            raise ValueError(f"NetworkSpec.task: expected {', '.join(t.value for t in HEADS)}, got {self.task.value}")
        fixed = {Task.NORMAL: 3, Task.DEPTH: 1}.get(self.task, self.channels)
        if self.channels != fixed or self.channels < 1:
            raise ValueError(f"NetworkSpec.channels: expected {max(fixed, 1)} for {self.task.value}, got {self.channels}")
        if self.padding not in (0, 2):
            raise ValueError(f"NetworkSpec.padding: expected 0 or 2, got {self.padding}")

    @property
    def tokens_hw(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.input_hw[0] // PATCH, self.input_hw[1] // PATCH

    @property
    def head(self) -> Head:
        return HEADS[self.task]

    @property
    def head_width(self) -> int:
        return max(1, int(self.architecture.head_width * self.head.width_share))

    @property
    def output_hw(self) -> tuple[int, int]:
        scale = 2**self.head.deconvs
        return self.tokens_hw[0] * scale, self.tokens_hw[1] * scale


def padding_of(task: Task, channels: int) -> int:
    """Padding [px] of the patch embedding, which nothing in a file tells: 0 for depth and 28 classes, 2 for all others."""
    return 0 if task is Task.DEPTH or (task is Task.SEG and channels == 28) else 2


def spec_for(
    architecture: Architecture, task: Task, channels: int | None = None, input_hw: tuple[int, int] = INPUT_HW
) -> NetworkSpec:
    """The network of a task as published; channels default to 3, 1, 28 classes or 308 keypoints."""
    usual = {Task.NORMAL: 3, Task.SEG: 28, Task.POSE: 308}
    channels = usual.get(task, 1) if channels is None else channels
    return NetworkSpec(architecture, task, channels, padding_of(task, channels), input_hw)
