"""After warm_up no stream waits for a compiler. Kind: behaviour, in processes of their own, where nothing is loaded yet."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
HEAD = """
import sys
from numba.core.dispatcher import Dispatcher
from fmgs_core.body.default import default_body
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.session.warmup import warm_up

def compiled():
    names = [name for name in sys.modules if name.startswith("fmgs_core.")]
    kernels = {k for name in names for k in vars(sys.modules[name]).values() if isinstance(k, Dispatcher)}
    return {(k.py_func.__module__, k.py_func.__name__, str(s)) for k in kernels for s in k.signatures}

"""
# A person who moves for long enough that frames are looked at again, and an avatar that learns all it can.
SESSION = (
    HEAD
    + """
from fmgs_core.priors.mediapipe import MediaPipePrior
from fmgs_core.session.session import Session
from fmgs_core.stream.source import open_source
from fmgs_core.tracking.tracker import BodyTracker

body, config = default_body(), SessionConfig(iterations_per_frame=1, final_iterations=2)
warm_up(body, config, lambda event: None)
before = compiled()
with open_source(sys.argv[1]) as source:
    left = [40]
    def read(read=source.read):
        left[0] -= 1
        return read() if left[0] >= 0 else None
    source.read = read
    prior = MediaPipePrior(config.mediapipe)
    result = Session(source, prior, BodyTracker(body, config.tracker), body, config, lambda event: None).run(Pace.ALL)
    prior.close()
assert result.frames_with_person > 20, result.frames_with_person
print(*sorted(compiled() - before), sep="\\n")
"""
)
# Every layout, with 3-D and without, on people who are tracked, lost, found and looked at again with late landmarks.
KEYPOINTS = (
    HEAD
    + """
from fmgs_core.keypoints import LAYOUTS
from fmgs_core.tracking.second_look import SecondLook
from fmgs_core.tracking.tracker import BodyTracker
from tests.core.tracking.synthetic import CAMERA, frame_at, keypoints_of, maps_of, state_of

body, config = default_body(), SessionConfig()
warm_up(body, config, lambda event: None)
before = compiled()
for layout in LAYOUTS:
    for depth in (True, False):
        tracker, second = BodyTracker(body, config.tracker), SecondLook(body, config.tracker, config.smoothing)
        for i in range(40):
            seen = keypoints_of(state_of(0.1 * i), CAMERA, layout=layout, depth=depth) if i not in range(20, 27) else None
            evidence = tracker.update(frame_at(i), maps_of(seen)).evidence
            if evidence is not None:
                second.add(evidence)
        assert second.attach(frame_at(3).stamp_ns, keypoints_of(state_of(0.3), CAMERA, layout="coco17", depth=False))
        assert len(second.states()) > 30
print(*sorted(compiled() - before), sep="\\n")
"""
)


def printed(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=REPOSITORY, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_tracked_session_compiles_nothing_after_it():
    assert not printed(SESSION, str(REPOSITORY / "samples" / "dressed_a"))


def test_no_layout_of_keypoints_compiles_anything_after_it():
    assert not printed(KEYPOINTS)
