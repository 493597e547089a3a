"""The doctor's judgement on machines made up for the purpose. Kind: behaviour; one look at the real machine."""

from dataclasses import replace

import pytest

from fmgs_core.doctor import Check, Machine, Status, diagnose, healthy, inspect_machine

LAPTOP = Machine(
    python=(3, 11),
    cores=8,
    packages={
        "torch": "2.13.0",
        "numba": "0.68.1",
        "numpy": "1.26.4",
        "mediapipe": "0.10.21",
        "opencv-contrib-python": "4.11.0.86",
    },
    torch_error=None,
    cuda_device=None,
    torch_cuda=None,
    gsplat_compiled=False,
    build_tools={},
    nvidia_driver=False,
    onnx_providers=(),
    stored_models=0,
    libgl=True,
    ros_distro=None,
)
WORKSTATION = replace(
    LAPTOP,
    packages=LAPTOP.packages
    | {"gsplat": "1.5.3", "onnxruntime-gpu": "1.22.0", "tensorrt": "10.9", "viser": "1.1.1", "smplx": "0.1.28"},
    cuda_device="NVIDIA RTX 4090",
    torch_cuda="12.8",
    build_tools={"nvcc": "12.6", "ninja": "/usr/bin/ninja", "c++": "/usr/bin/c++"},
    nvidia_driver=True,
    onnx_providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
    stored_models=4,
    ros_distro="jazzy",
)


def check(machine: Machine, name: str) -> Check:
    return {check.name: check for check in diagnose(machine)}[name]


def installed(machine: Machine, **versions: str | None) -> Machine:
    packages = machine.packages | {name.replace("_", "-"): v for name, v in versions.items()}
    return replace(machine, packages={name: v for name, v in packages.items() if v is not None})


def test_a_bare_laptop_is_healthy_and_lacks_only_extras():
    checks = diagnose(LAPTOP)
    assert healthy(checks)
    missing = {check.name for check in checks if check.status is Status.MISSING}
    assert missing == {"CUDA", "gsplat", "onnxruntime", "tensorrt", "viser", "smplx", "models", "ROS 2"}
    assert check(LAPTOP, "rasterizer in use").detail == "cpu: numba on 8 cores"
    assert check(LAPTOP, "prior in use").detail.startswith("mediapipe")


def test_a_full_workstation_needs_nothing():
    assert [c for c in diagnose(WORKSTATION) if c.status is not Status.OK or c.remedy] == []
    assert check(WORKSTATION, "rasterizer in use").detail == "cuda: gsplat on NVIDIA RTX 4090"


@pytest.mark.parametrize(
    ("machine", "name", "detail", "remedy"),
    [
        (replace(LAPTOP, python=(3, 13)), "Python", "3.13", "python3.12 -m venv"),
        (replace(LAPTOP, python=(3, 9)), "Python", "3.9", "python3.12 -m venv"),
        (installed(LAPTOP, torch=None), "torch", "not installed", "pip install fmgs_ros[cpu]"),
        (replace(LAPTOP, torch_error="libfoo.so missing"), "torch", "libfoo.so missing", "--force-reinstall torch"),
        (installed(LAPTOP, numba=None), "rasterizer in use", "none", "pip install fmgs_ros[cpu]"),
        (installed(LAPTOP, numpy="2.1.0"), "numpy", "2.1.0", 'pip install "numpy>=1.26,<2"'),
        (installed(LAPTOP, mediapipe="0.10.30"), "mediapipe", "last version that carries", "pip install mediapipe==0.10.21"),
        (replace(LAPTOP, libgl=False), "OpenCV", "libGL", "sudo apt install libgl1 libglib2.0-0"),
        (
            installed(LAPTOP, opencv_python_headless="4.11"),
            *("OpenCV", "overwrite", "pip uninstall -y opencv-contrib-python opencv-python-headless && "),
        ),
        (replace(LAPTOP, nvidia_driver=True), "CUDA", "sees no GPU", "pip install --force-reinstall torch"),
        (installed(WORKSTATION, gsplat="1.4.0"), "gsplat", "expected 1.5.3", "pip install fmgs_ros[gpu]"),
        (
            replace(WORKSTATION, build_tools={"ninja": "x", "c++": "x"}),
            "gsplat",
            "without nvcc",
            "CUDA toolkit 12.8",
        ),
        (replace(WORKSTATION, build_tools={"nvcc": "12.8"}), "gsplat", "ninja and c++", "; apt install g++"),
        (
            replace(WORKSTATION, build_tools=WORKSTATION.build_tools | {"nvcc": "13.0"}),
            *("gsplat", "nvcc is of CUDA 13.0, torch of 12.8", "install the CUDA toolkit 12.8"),
        ),
        (installed(WORKSTATION, onnxruntime="1.31.1"), "onnxruntime", "overwrite", "&& pip install onnxruntime-gpu"),
        (
            replace(WORKSTATION, onnx_providers=("CPUExecutionProvider",)),
            *("onnxruntime", "1.22.0: CPUExecutionProvider", "pip install --force-reinstall onnxruntime-gpu"),
        ),
        (
            installed(LAPTOP, onnxruntime="1.31.1"),
            *("onnxruntime", "1.31.1: cannot be imported", "pip install --force-reinstall onnxruntime"),
        ),
        (replace(LAPTOP, stored_models="models.json: expected a list"), "models", "expected a list", "fmgs models list"),
        (
            installed(LAPTOP, onnxruntime="1.31.1", onnxruntime_gpu="1.22.0"),
            *("onnxruntime", "overwrite", "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"),
        ),
    ],
)
def test_a_problem_is_named_with_its_remedy(machine, name, detail, remedy):
    found = check(machine, name)
    assert found.status is Status.PROBLEM
    assert detail in found.detail
    assert remedy in found.remedy
    assert not healthy(diagnose(machine))


def test_headless_opencv_needs_no_libgl():
    machine = installed(replace(LAPTOP, libgl=False), opencv_contrib_python=None, opencv_contrib_python_headless="4.11.0.86")
    assert check(machine, "OpenCV").status is Status.OK


def test_without_mediapipe_a_run_knows_recorded_maps_only():
    machine = installed(LAPTOP, mediapipe=None)
    assert healthy(diagnose(machine))
    found = check(machine, "prior in use")
    assert (found.status, found.remedy) == (Status.MISSING, "pip install fmgs_ros[cpu]")


def test_a_gpu_without_gsplat_draws_on_the_cpu_and_says_what_to_install():
    machine = installed(WORKSTATION, gsplat=None)
    assert check(machine, "rasterizer in use").detail.startswith("cpu")
    assert check(machine, "gsplat").remedy == "pip install fmgs_ros[gpu]"
    assert check(LAPTOP, "gsplat").remedy == "", "nothing to install without a GPU"


def test_gsplat_that_cannot_be_compiled_is_not_used_unless_its_wheel_was():
    machine = replace(WORKSTATION, build_tools={})
    assert check(machine, "rasterizer in use").detail.startswith("cpu")
    compiled = installed(replace(machine, gsplat_compiled=True), gsplat="1.5.3+pt24cu124")
    assert check(compiled, "gsplat").detail == "1.5.3+pt24cu124, compiled in its wheel"
    assert check(compiled, "rasterizer in use").detail.startswith("cuda")


def test_whatever_is_a_problem_has_a_remedy():
    broken = replace(LAPTOP, python=(3, 9), packages={}, libgl=False, nvidia_driver=True)
    problems = [c for c in diagnose(broken) if c.status is Status.PROBLEM]
    assert {c.name for c in problems} >= {"Python", "torch", "numba", "numpy", "OpenCV", "rasterizer in use"}
    assert all(c.remedy for c in problems)


def test_this_machine_can_be_inspected():
    machine = inspect_machine()
    assert machine.torch_error is None and "torch" in machine.packages and machine.cores >= 1
    assert check(machine, "torch").status is Status.OK


def test_what_runs_networks_is_named():
    assert check(WORKSTATION, "onnxruntime").detail == "1.22.0: CUDAExecutionProvider, CPUExecutionProvider"
    assert check(WORKSTATION, "models").detail.startswith("4 stored")
    assert check(LAPTOP, "models").remedy == "fmgs models add FILE"
