# Each target makes what it needs. `make demo` and `make test` are all a newcomer has to know.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test test-ros lint bench clean

help:
	@echo "make demo   fit an avatar to the sample bag and show where its pictures are (out/demo)"
	@echo "make test   run the tests"
	@echo "make test-ros   build the package with colcon in a temporary workspace and run the tests that need ROS 2 on it"
	@echo "make lint   ruff and pyright"
	@echo "make bench  time every stage beside a C++ twin (needs g++) and compare with benchmarks/baseline.json; four minutes"

demo: $(READY)
	$(BIN)/fmgs demo --out out/demo

test: $(READY)
	$(BIN)/python -m pytest --ignore=tests/ros/live

# Of the sourced ROS 2, or that below /opt/ros; minutes.
test-ros: $(READY)
	scripts/test_ros.sh

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(READY)
	$(BIN)/fmgs bench

# mediapipe is taken without its dependencies: of those it names, the pose model needs only what constraints.txt lists
# (not jax, sounddevice or an OpenCV that wants libGL), which keeps the install small and free of system packages.
$(READY): constraints.txt constraints-no-deps.txt setup.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or 3.12, or make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV) \
	  || { echo "python venv failed: apt install python3-venv"; rm -rf $(VENV); exit 1; }; }
	@echo "Installing the packages of constraints.txt into $(VENV) (about 2 GB with torch; minutes on the first run)"
	$(BIN)/pip install --disable-pip-version-check $(PIP_ARGS) -r constraints.txt
	$(BIN)/pip install --disable-pip-version-check $(PIP_ARGS) --no-deps -r constraints-no-deps.txt
	$(BIN)/pip install --disable-pip-version-check $(PIP_ARGS) --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
