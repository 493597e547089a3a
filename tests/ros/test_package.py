"""package.xml, CMakeLists.txt and the executables. Kind: structure; colcon itself is asked where ROS is."""

import ast
import os
import re
from pathlib import Path

import pytest
from catkin_pkg.package import parse_package

REPOSITORY = Path(__file__).parents[2]
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text()
EXECUTABLES = sorted((REPOSITORY / "scripts" / "ros").iterdir())


def test_package_xml_is_valid():
    """colcon would take an invalid one for a plain Python package, silently."""
    package = parse_package(str(REPOSITORY / "package.xml"), warnings=(warnings := []))
    package.validate(warnings=warnings)
    assert not warnings
    assert package.get_build_type() == "ament_cmake" and package.package_format == 3
    assert [group.name for group in package.member_of_groups] == ["rosidl_interface_packages"]


def test_pip_and_ros_agree_on_name_version_and_licence():
    package = parse_package(str(REPOSITORY / "package.xml"))
    setup = (REPOSITORY / "setup.py").read_text()
    for key, value in (("name", package.name), ("version", package.version), ("license", package.licenses[0])):
        assert f'{key}="{value}"' in setup


def test_what_cmake_finds_is_declared():
    package = parse_package(str(REPOSITORY / "package.xml"))
    declared = {d.name for d in package.buildtool_depends + package.build_depends}
    assert set(re.findall(r"find_package\((\w+)", CMAKE)) <= declared


def test_every_interface_is_built():
    files = {f"{kind}/{file.name}" for kind in ("msg", "srv") for file in (REPOSITORY / kind).iterdir()}
    assert files == set(re.findall(r"(?:msg|srv)/\w+\.(?:msg|srv)", CMAKE))


def test_python_goes_over_the_generated_package():
    generated, ours = CMAKE.index("rosidl_generate_interfaces("), CMAKE.index("install(DIRECTORY fmgs_ros/")
    assert generated < ours
    assert not (REPOSITORY / "fmgs_ros" / "msg").exists() and not (REPOSITORY / "fmgs_ros" / "srv").exists()


@pytest.mark.parametrize("file", EXECUTABLES, ids=lambda file: file.name)
def test_executables_are_installed_and_have_a_module(file: Path):
    assert f"scripts/ros/{file.name}\n" in CMAKE
    assert os.access(file, os.X_OK) and file.read_text().startswith("#!/usr/bin/env python3\n")
    assert f'run("fmgs_ros.{file.name}")' in file.read_text()
    module = REPOSITORY / "fmgs_ros" / f"{file.name}.py"
    functions = [node.name for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert "main" in functions


def test_folders_of_a_build_are_ignored_by_git():
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    assert {".venv/", "build/", "install/", "log/"} <= set(ignored)


def test_what_is_installed_is_there():
    for folder in re.findall(r"install\(DIRECTORY ([\w ]+) DESTINATION share/\$\{PROJECT_NAME\} PATTERN", CMAKE)[0].split():
        assert (REPOSITORY / folder).is_dir(), folder
