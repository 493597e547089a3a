#!/usr/bin/env bash
# Builds the package with colcon in a workspace of its own outside of the checkout and runs tests/ros on it.
# ROS is the one that is sourced, or the one below /opt/ros. Usage: scripts/test_ros.sh [--if-present] [pytest arguments]
#   --if-present: where there is no ROS, colcon or virtual environment that fits, say so and succeed.
set -euo pipefail
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=$REPOSITORY/.venv/bin/python
# Far more than they need on two cores (build 30 to 70 s, tests 4 to 6 minutes); only what hangs meets them.
BUILD_S=600 TESTS_S=1800

absent=1
if [ "${1:-}" = --if-present ]; then absent=0; shift; fi

lacking() {
  echo "tests on ROS 2 not run: $1"
  exit $absent
}

sourced() { set +u; . "$1"; set -u; }  # ROS' setup files read variables that are not set

if [ -z "${ROS_DISTRO:-}" ]; then
  for setup in /opt/ros/*/setup.bash; do
    [ -e "$setup" ] || lacking "no ROS 2 is sourced, and there is none below /opt/ros"
    sourced "$setup"
    break
  done
fi
command -v ros2 >/dev/null || lacking "ROS 2 $ROS_DISTRO has no ros2 command (ros2cli)"
command -v colcon >/dev/null || lacking "there is no colcon (python3-colcon-common-extensions)"
[ -x "$PYTHON" ] || lacking "there is no .venv (make test makes it)"
# Messages are compiled for the Python that ROS is of, which its command names; that of .venv has to be of the same version.
ros_python=$(sed -n '1s/^#! *//p' "$(command -v ros2)")
version() { "$@" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }
wanted=$(version $ros_python) || lacking "$ros_python, the Python of ROS 2 $ROS_DISTRO, does not run"
found=$(version "$PYTHON")
[ "$wanted" = "$found" ] || lacking "ROS 2 $ROS_DISTRO is of Python $wanted and .venv of $found (make clean test PYTHON=python$wanted)"
"$PYTHON" -c "import rclpy" || lacking "$PYTHON cannot import rclpy of ROS 2 $ROS_DISTRO"

workspace=$(mktemp -d)
trap 'rm -rf "$workspace"' EXIT
SECONDS=0
echo "ROS 2 $ROS_DISTRO, Python $wanted: colcon build"
(cd "$workspace" && timeout --foreground --kill-after=10 $BUILD_S colcon build --base-paths "$REPOSITORY" --event-handlers console_cohesion+ \
  --cmake-args -DPython3_EXECUTABLE="$($ros_python -c 'import sys; print(sys.executable)')" -DBUILD_TESTING=OFF) \
  >"$workspace/build.txt" 2>&1 || { cat "$workspace/build.txt"; echo "colcon build failed after $SECONDS s"; exit 1; }
echo "built in $SECONDS s; tests/ros"
sourced "$workspace/install/setup.bash"
# All of it stays on this machine and in a domain of its own.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-$((1 + RANDOM % 100))}
cd "$REPOSITORY"
SECONDS=0
timeout --foreground --signal=INT --kill-after=60 $TESTS_S "$PYTHON" -m pytest tests/ros "$@" \
  || { code=$?; echo "tests on ROS 2 $ROS_DISTRO failed after $SECONDS s (exit code $code)"; exit 1; }
echo "tests on ROS 2 $ROS_DISTRO passed in $SECONDS s"
