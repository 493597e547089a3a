"""The pip project: the core library and the command `fmgs`, without ROS. colcon builds the ROS package from CMakeLists.txt."""

from setuptools import find_packages, setup

setup(
    name="fmgs_ros",
    version="0.1.0",
    description="Online, animatable 2D-Gaussian avatars of people from a camera stream or a rosbag",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["fmgs_core", "fmgs_core.*"]),
    package_data={"fmgs_core.body": ["body_template.npz"]},
    install_requires=[
        "av>=12",
        "jaxtyping>=0.2.28",
        "matplotlib>=3.8",
        "numba>=0.60",
        "numpy>=1.26,<2",
        "opencv-contrib-python>=4.9,<4.12",
        "pyzmq>=25",
        "rich>=13",
        "rosbags>=0.10",
        "safetensors>=0.4",
        "scipy>=1.11",
        "torch>=2.3",
        "trimesh>=4",
        "tyro>=0.9",
        # Metrics of `fmgs eval`, small and without downloaded weights.
        "flip-evaluator>=1.6",
        "pytorch-msssim>=1.0",
    ],
    extras_require={
        "cpu": ["mediapipe==0.10.21", "protobuf>=4.25.3,<5"],
        "gpu": [
            "gsplat==1.5.3",
            "mediapipe==0.10.21",
            "onnx>=1.16",
            "onnxruntime-gpu>=1.18",
            "onnxscript>=0.5",
            "protobuf>=4.25.3,<5",
        ],
        # Not beside gpu: onnxruntime and onnxruntime-gpu share one folder.
        "sapiens": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
        "sapiens2": ["transformers>=5.23"],
        "viewer": ["viser>=1"],
        "smplx": ["smplx==0.1.28"],
        "datasets": ["h5py"],
        "dev": ["beartype", "catkin_pkg", "hypothesis", "lark", "pyright", "pytest", "pyyaml", "ruff"],
    },
    entry_points={"console_scripts": ["fmgs = fmgs_core.cli.main:main"]},
)
