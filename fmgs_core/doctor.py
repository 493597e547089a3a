"""What of fmgs works on this machine, what does not, and what to type to change that. Facts first, then judgement."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from fmgs_core.priors.manifest import default_folder, read_manifest

PACKAGES = (
    *("torch", "numba", "numpy", "mediapipe", "gsplat", "onnxruntime", "onnxruntime-gpu", "tensorrt", "viser", "smplx"),
    *("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless"),
)
MEDIAPIPE_VERSION = "0.10.21"
"""The last one that carries its models."""
GSPLAT_VERSION = "1.5.3"
"""Pinned because its interface moves."""
GSPLAT_BUILD_TOOLS = ("nvcc", "ninja", "c++")
"""What it compiles its CUDA code with at its first use; it asks for nvcc and ninja at every start."""
PYTHONS = ((3, 10), (3, 12))
"""First and last for which MediaPipe 0.10.21 has wheels and this package is tested."""


class Status(Enum):
    OK = "ok"
    MISSING = "missing"
    """Not there; what depends on it is switched off."""
    PROBLEM = "problem"
    """There, but it will not work, or nothing works without it."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    """What to type; empty where nothing needs doing."""


@dataclass(frozen=True)
class Machine:
    """The facts that the checks judge."""

    python: tuple[int, int]
    cores: int
    packages: dict[str, str]
    """Version by distribution name, of those of PACKAGES that are installed."""
    torch_error: str | None
    """Why torch cannot be imported; None where it can, or is not installed."""
    cuda_device: str | None
    """Name of the GPU that torch sees."""
    torch_cuda: str | None
    """Version of CUDA that torch was built with; None for a CPU build."""
    gsplat_compiled: bool
    """Whether the installed gsplat is one of its own wheels with compiled code."""
    build_tools: dict[str, str]
    """Of GSPLAT_BUILD_TOOLS those that are found: nvcc's CUDA version, the paths of the others."""
    nvidia_driver: bool
    onnx_providers: tuple[str, ...]
    """Of the installed onnxruntime; none where it cannot be imported."""
    stored_models: int | str
    """How many of the user's own model files are known, or why that cannot be said."""
    libgl: bool
    """libGL and glib, which OpenCV's wheels with windows need from the system."""
    ros_distro: str | None
    """ROS distribution whose rclpy can be imported here."""


def inspect_machine() -> Machine:
    """Looks, and changes nothing. Takes about two seconds, which are torch's import."""
    torch_error, cuda_device, torch_cuda = _torch_and_cuda()
    return Machine(
        python=sys.version_info[:2],
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        packages=_installed(),
        torch_error=torch_error,
        cuda_device=cuda_device,
        torch_cuda=torch_cuda,
        gsplat_compiled=_gsplat_compiled(),
        build_tools=_build_tools(),
        nvidia_driver=Path("/proc/driver/nvidia/version").exists(),
        onnx_providers=_onnx_providers(),
        stored_models=_stored_models(),
        libgl=bool(find_library("GL") and find_library("glib-2.0")),
        ros_distro=os.environ.get("ROS_DISTRO", "unnamed") if find_spec("rclpy") else None,
    )


def diagnose(machine: Machine) -> list[Check]:
    """All checks, base install first, then GPU, then extras, then what a run would use."""
    return [
        *_base_checks(machine),
        _mediapipe_check(machine),
        _opencv_check(machine),
        _cuda_check(machine),
        _gsplat_check(machine),
        _onnxruntime_check(machine),
        *_extra_checks(machine),
        _models_check(machine),
        _ros_check(machine),
        rasterizer_check(machine),
        prior_check(machine),
    ]


def healthy(checks: list[Check]) -> bool:
    """Whether nothing is broken; what is merely missing does not count."""
    return all(check.status is not Status.PROBLEM for check in checks)


def rasterizer_check(machine: Machine) -> Check:
    """The backend that draws and trains here."""
    if _cuda_works(machine) and _gsplat_check(machine).status is Status.OK:
        return Check("rasterizer in use", Status.OK, f"cuda: gsplat on {machine.cuda_device}")
    if "numba" in machine.packages:
        return Check("rasterizer in use", Status.OK, f"cpu: numba on {machine.cores} cores")
    return Check("rasterizer in use", Status.PROBLEM, "none", "pip install fmgs_ros[cpu]")


def prior_check(machine: Machine) -> Check:
    """The provider of masks and landmarks here; Sapiens is the user's choice and never picked by itself."""
    if machine.packages.get("mediapipe") == MEDIAPIPE_VERSION:
        return Check("prior in use", Status.OK, "mediapipe: mask and landmarks; geometry from the fitted body")
    detail = "recorded maps only: a live stream or a plain video has nobody to find the person"
    return Check("prior in use", Status.MISSING, detail, "pip install fmgs_ros[cpu]")


def _installed() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _torch_and_cuda() -> tuple[str | None, str | None, str | None]:
    try:
        import torch
    except ModuleNotFoundError:
        return None, None, None
    except (ImportError, OSError) as error:
        return str(error), None, None
    return None, torch.cuda.get_device_name() if torch.cuda.is_available() else None, torch.version.cuda


def _gsplat_compiled() -> bool:
    try:
        return any(str(file).startswith("gsplat/csrc.") for file in files("gsplat") or ())
    except PackageNotFoundError:
        return False


def _build_tools() -> dict[str, str]:
    """Looked for where torch's extension builder looks."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = which(f"{home}/bin/nvcc") if home else which("nvcc") or which("/usr/local/cuda/bin/nvcc")
    found = {"nvcc": nvcc and _nvcc_version(nvcc), "ninja": which("ninja"), "c++": which(os.environ.get("CXX", "c++"))}
    return {name: value for name, value in found.items() if value}


def _nvcc_version(nvcc: str) -> str | None:
    try:
        text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"release (\d+\.\d+)", text)
    return found and found[1]


def _onnx_providers() -> tuple[str, ...]:
    try:
        import onnxruntime
    except (ImportError, OSError):
        return ()
    return tuple(onnxruntime.get_available_providers())


def _stored_models() -> int | str:
    try:
        return len(read_manifest(default_folder()).models)
    except (ValueError, OSError) as error:
        return str(error)


def _cuda_works(machine: Machine) -> bool:
    return machine.cuda_device is not None


def _base_checks(machine: Machine) -> Iterator[Check]:
    first, last = PYTHONS
    python, supported = ".".join(map(str, machine.python)), f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
    if first <= machine.python <= last:
        yield Check("Python", Status.OK, f"{python}, {machine.cores} cores")
    else:
        yield Check("Python", Status.PROBLEM, f"{python}; MediaPipe's wheels are for {supported}", "python3.12 -m venv .venv")
    for name in ("torch", "numba"):
        yield _required(machine, name)
    numpy = machine.packages.get("numpy", "not installed")
    if numpy.startswith("1."):
        yield Check("numpy", Status.OK, numpy)
    else:
        detail = f"{numpy}; MediaPipe {MEDIAPIPE_VERSION} and ROS Jazzy's cv_bridge need 1.x"
        yield Check("numpy", Status.PROBLEM, detail, 'pip install "numpy>=1.26,<2"')


def _required(machine: Machine, name: str) -> Check:
    if name not in machine.packages:
        return Check(name, Status.PROBLEM, "not installed; nothing works without it", "pip install fmgs_ros[cpu]")
    if name == "torch" and machine.torch_error is not None:
        remedy = "pip install --force-reinstall torch"
        return Check(name, Status.PROBLEM, f"{machine.packages[name]} cannot be imported: {machine.torch_error}", remedy)
    return Check(name, Status.OK, machine.packages[name])


def _mediapipe_check(machine: Machine) -> Check:
    found = machine.packages.get("mediapipe")
    if found is None:
        return Check("mediapipe", Status.MISSING, "masks and landmarks of the default prior", "pip install fmgs_ros[cpu]")
    if found != MEDIAPIPE_VERSION:
        detail = f"{found}; {MEDIAPIPE_VERSION} is the last version that carries its models"
        return Check("mediapipe", Status.PROBLEM, detail, f"pip install mediapipe=={MEDIAPIPE_VERSION}")
    return Check("mediapipe", Status.OK, found)


def _opencv_check(machine: Machine) -> Check:
    found = [name for name in PACKAGES if name.startswith("opencv-") and name in machine.packages]
    if not found:
        return Check("OpenCV", Status.PROBLEM, "not installed; no picture can be read", "pip install fmgs_ros[cpu]")
    if len(found) > 1:
        detail = f"{', '.join(found)} overwrite each other's files"
        remedy = f"pip uninstall -y {' '.join(found)} && pip install fmgs_ros[cpu]"
        return Check("OpenCV", Status.PROBLEM, detail, remedy)
    detail = f"{machine.packages[found[0]]} ({found[0]})"
    if found[0].endswith("-headless") or machine.libgl:
        return Check("OpenCV", Status.OK, detail)
    return Check("OpenCV", Status.PROBLEM, f"{detail} needs libGL and glib", "sudo apt install libgl1 libglib2.0-0")


def _cuda_check(machine: Machine) -> Check:
    if _cuda_works(machine):
        return Check("CUDA", Status.OK, str(machine.cuda_device))
    if machine.nvidia_driver and "torch" in machine.packages:
        detail = f"an NVIDIA driver is there, but torch {machine.packages['torch']} sees no GPU"
        return Check("CUDA", Status.PROBLEM, detail, "pip install --force-reinstall torch")
    return Check("CUDA", Status.MISSING, "no NVIDIA GPU; everything runs on the CPU")


def _gsplat_check(machine: Machine) -> Check:
    found, remedy = machine.packages.get("gsplat"), "pip install fmgs_ros[gpu]"
    if found is None:
        detail = "CUDA rasterizer" + _only_with_gpu(machine)
        return Check("gsplat", Status.MISSING, detail, remedy if _cuda_works(machine) else "")
    if found.split("+")[0] != GSPLAT_VERSION:  # its own wheels append torch's and CUDA's version: 1.5.3+pt24cu124
        return Check("gsplat", Status.PROBLEM, f"{found}; expected {GSPLAT_VERSION}", remedy)
    if not _cuda_works(machine):
        return Check("gsplat", Status.OK, f"{found}; unused without a GPU")
    if machine.gsplat_compiled:
        return Check("gsplat", Status.OK, f"{found}, compiled in its wheel")
    return _gsplat_build_check(machine, found, machine.build_tools.get("nvcc", ""))


def _gsplat_build_check(machine: Machine, found: str, nvcc: str) -> Check:
    """Of a gsplat that has to compile its CUDA code here."""
    toolkit = f"install the CUDA toolkit {machine.torch_cuda} and set CUDA_HOME"
    if missing := [name for name in GSPLAT_BUILD_TOOLS if name not in machine.build_tools]:
        remedies = {"nvcc": toolkit, "ninja": "pip install ninja, into an activated environment", "c++": "apt install g++"}
        detail = f"{found} cannot be compiled without {' and '.join(missing)}"
        return Check("gsplat", Status.PROBLEM, detail, "; ".join(remedies[name] for name in missing))
    if nvcc.split(".")[0] != str(machine.torch_cuda).split(".")[0]:
        return Check("gsplat", Status.PROBLEM, f"{found}: nvcc is of CUDA {nvcc}, torch of {machine.torch_cuda}", toolkit)
    return Check("gsplat", Status.OK, f"{found}, compiled by nvcc {nvcc} at its first use, for minutes")


def _only_with_gpu(machine: Machine) -> str:
    return "" if _cuda_works(machine) else "; of use with an NVIDIA GPU only"


def _onnxruntime_check(machine: Machine) -> Check:
    cpu, gpu = (machine.packages.get(name) for name in ("onnxruntime", "onnxruntime-gpu"))
    wanted = "onnxruntime-gpu" if _cuda_works(machine) else "onnxruntime"
    if cpu and gpu:
        detail = f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other's files"
        remedy = f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install {wanted}"
        return Check("onnxruntime", Status.PROBLEM, detail, remedy)
    if not (cpu or gpu):
        return Check("onnxruntime", Status.MISSING, "Sapiens through ONNX", f"pip install {wanted}")
    detail = f"{cpu or gpu}: {', '.join(machine.onnx_providers) or 'cannot be imported'}"
    if not machine.onnx_providers or (gpu and "CUDAExecutionProvider" not in machine.onnx_providers):
        remedy = f"pip install --force-reinstall {'onnxruntime-gpu' if gpu else 'onnxruntime'}"
        return Check("onnxruntime", Status.PROBLEM, detail, remedy)
    return Check("onnxruntime", Status.OK, detail)


def _models_check(machine: Machine) -> Check:
    if isinstance(machine.stored_models, str):
        return Check("models", Status.PROBLEM, machine.stored_models, "fmgs models list")
    if not machine.stored_models:
        return Check("models", Status.MISSING, "no Sapiens files of your own; everything works without", "fmgs models add FILE")
    return Check("models", Status.OK, f"{machine.stored_models} stored; `fmgs models list`")


def _extra_checks(machine: Machine) -> Iterator[Check]:
    gpu_only = _only_with_gpu(machine)
    tensorrt = "pip install tensorrt" if _cuda_works(machine) else ""
    for name, purpose, remedy in (
        ("tensorrt", f"the fastest Sapiens; several gigabytes{gpu_only}", tensorrt),
        ("viser", "the avatar in a browser", "pip install fmgs_ros[viewer]"),
        ("smplx", "cross-check of SMPL-X files in the tests; non-commercial licence", "pip install fmgs_ros[smplx]"),
    ):
        found = machine.packages.get(name)
        yield Check(name, Status.OK, found) if found else Check(name, Status.MISSING, purpose, remedy)


def _ros_check(machine: Machine) -> Check:
    if machine.ros_distro is not None:
        return Check("ROS 2", Status.OK, f"rclpy of {machine.ros_distro}")
    return Check("ROS 2", Status.MISSING, "the nodes; bags are read without it", "source /opt/ros/jazzy/setup.bash")
