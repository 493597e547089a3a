"""The rasterizer's peer: benchmarks/peers/raster_twin.cpp, compiled for this machine and called on the same splats."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fmgs_core.benchmark.scenes import ellipsoid_camera, ellipsoid_splats
from fmgs_core.types import Camera, Channel, Splats

# All of -ffast-math but finite-math-only; by that name it would also link code that makes the whole process flush denormals.
_FAST_MATH = ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math")
COMPILE = ("g++", "-O3", "-march=native", *_FAST_MATH, "-fopenmp", "-std=c++17", "-shared", "-fPIC", "-w")
CHANNELS = {
    3: frozenset({Channel.RGB}),
    7: frozenset({Channel.RGB, Channel.NORMAL, Channel.DEPTH}),
    35: frozenset(Channel),
}
"""What the twin is built for, by number of blended channels (the last with 28 classes)."""
GRADIENTS = ("means", "quats", "scales", "opacities", "colors", "logits")
_PICTURES = {"alpha": None, "rgb": Channel.RGB, "normal": Channel.NORMAL, "depth": Channel.DEPTH, "logits": Channel.LOGITS}


class PeerUnavailable(RuntimeError):
    """The twin cannot be compiled here; the message says why."""


class _Inputs(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("n", "width", "height", "cull_backfaces", "threads")),
        *((name, ctypes.c_void_p) for name in GRADIENTS),
        *((name, ctypes.c_float * size) for name, size in (("R", 9), ("t", 3), ("K", 4), ("c", 2))),
    ]  # fmt: skip


class RasterPeer:
    """The compiled twin."""

    def __init__(self, library: ctypes.CDLL):
        self.library = library
        library.twin_new.restype = ctypes.c_void_p

    @classmethod
    def compiled(cls, source: Path) -> "RasterPeer":
        """Kept in the user's cache directory until the source, the flags or the CPU change.

        Raises:
            PeerUnavailable: no source, no g++, or g++ refuses.
        """
        if not source.is_file():
            raise PeerUnavailable(f"{source} not found: the peer comes with a checkout, not with the package")
        if shutil.which(COMPILE[0]) is None:
            raise PeerUnavailable(f"{COMPILE[0]} not found: apt install g++")
        library = _cache_directory() / f"{source.stem}-{_key(source)}.so"
        if not library.is_file():
            _compile(source, library)
        return cls(ctypes.CDLL(str(library)))

    def job(self, splats: Splats, camera: Camera, channels: int, cull_backfaces: bool = True) -> "PeerJob":
        """Everything to draw `splats` with one of the CHANNELS."""
        return PeerJob(self, splats, camera, channels, cull_backfaces)

    def reference_call(self) -> Callable[[], object]:
        """One fixed job, forward and backward: 9.5 k splats in view, 3 channels, 512 px. A unit of this machine's speed."""
        job = self.job(ellipsoid_splats(19_000), ellipsoid_camera(512), 3)
        gradients = {name: np.ones_like(picture) for name, picture in job.forward().items()}
        return lambda: job.backward(job.forward(), gradients)


def _compile(source: Path, library: Path) -> None:
    unfinished = library.with_suffix(f".{os.getpid()}")
    run = subprocess.run([*COMPILE, str(source), "-o", str(unfinished)], capture_output=True, text=True)
    if run.returncode:
        raise PeerUnavailable(f"{' '.join(COMPILE)} {source} failed: {run.stderr.strip()[-2000:]}")
    unfinished.replace(library)  # at once, for another process may be looking


def _cache_directory() -> Path:
    directory = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fmgs_ros"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _key(source: Path) -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else [platform.processor()]
    cpu = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join([source.read_text(), *COMPILE, *cpu]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Structure:
    """Addresses of arrays, in order, as the twin takes them; holds on to the arrays."""

    arrays: list[np.ndarray | None]

    @property
    def address(self) -> ctypes.Array:
        return (ctypes.c_void_p * len(self.arrays))(*(None if a is None else a.ctypes.data for a in self.arrays))


class PeerJob:
    """One set of splats and one camera. Each stage runs on what the stage before has left; `forward` runs all."""

    def __init__(self, peer: RasterPeer, splats: Splats, camera: Camera, channels: int, cull_backfaces: bool):
        self.channels, self.size = CHANNELS[channels], (camera.height, camera.width)
        self._library, self._count = peer.library, channels
        self._twin = ctypes.c_void_p(peer.library.twin_new())
        self._splats = {name: _values(getattr(splats, name)) for name in GRADIENTS if getattr(splats, name) is not None}
        peer.library.twin_inputs(self._twin, ctypes.byref(_inputs(self._splats, camera, cull_backfaces)))

    def __del__(self):
        self._library.twin_delete(self._twin)

    def project(self) -> None:
        self._call("project")

    def tile(self) -> None:
        self._library.twin_tile(self._twin)

    def composite(self) -> dict[str, np.ndarray]:
        return self._drawn("composite")

    def forward(self) -> dict[str, np.ndarray]:
        """Fresh pictures (alpha, rgb, normal, depth, logits), those of the channels."""
        return self._drawn("forward")

    def composite_backward(self, pictures: dict[str, np.ndarray], gradients: dict[str, np.ndarray]) -> None:
        self._call("composite_backward", *map(_pictures, (pictures, gradients)))

    def backward(self, pictures: dict[str, np.ndarray], gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fresh dL/dsplats for dL/dpictures of the last `forward`; `gradients` has every picture of the channels."""
        wanted = GRADIENTS if Channel.LOGITS in self.channels else GRADIENTS[:-1]
        found = {name: np.zeros_like(self._splats[name]) for name in wanted}
        structure = _Structure([found.get(name) for name in GRADIENTS])
        self._call("backward", *map(_pictures, (pictures, gradients)), structure)
        return found

    def _drawn(self, stage: str) -> dict[str, np.ndarray]:
        sizes = {"alpha": (), "rgb": (3,), "normal": (3,), "depth": (), "logits": (self._splats["logits"].shape[1],)}
        names = [n for n, c in _PICTURES.items() if c is None or c in self.channels]
        pictures = {n: np.zeros((*self.size, *sizes[n]), np.float32) for n in names}
        if "depth" in pictures:
            pictures["depth"].fill(np.nan)
        self._call(stage, _pictures(pictures))
        return pictures

    def _call(self, stage: str, *structures: _Structure) -> None:
        function = getattr(self._library, f"twin_{stage}_{self._count}")
        function(self._twin, *(s.address for s in structures))


def _threads() -> int:
    """Said outright: torch.set_num_threads would decide otherwise, for it speaks to the same OpenMP."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _values(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy(), np.float32)


def _pictures(arrays: dict[str, np.ndarray]) -> _Structure:
    return _Structure([arrays.get(name) for name in _PICTURES])


def _inputs(splats: dict[str, np.ndarray], camera: Camera, cull_backfaces: bool) -> _Inputs:
    T, K = camera.T_camera_world, camera.K
    addresses = [splats[name].ctypes.data if name in splats else None for name in GRADIENTS]
    scalars = [(ctypes.c_float * v.size)(*v.ravel().tolist()) for v in (T[:3, :3], T[:3, 3], K[:2, :2], K[:2, 2])]
    return _Inputs(len(splats["means"]), camera.width, camera.height, int(cull_backfaces), _threads(), *addresses, *scalars)
