#!/usr/bin/env python3
"""How well the tracker follows a ground-truth sequence by detectors of each layout of landmarks: a table in Markdown.

    python scripts/keypoint_layouts.py SEQUENCE

MediaPipe is run. The other layouts have no detector here: their landmarks are those of the true body (joints, and the vertices
of face and feet) with the noise below, so the figures say what a layout could give and not what a network of it does give.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fmgs_core.body.default import default_body
from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_joints, posed_vertices
from fmgs_core.body.template import BodyModel
from fmgs_core.config import SessionConfig
from fmgs_core.evaluation import metrics
from fmgs_core.keypoints import LAYOUTS, with_depth_of
from fmgs_core.priors.mediapipe import MediaPipePrior
from fmgs_core.stream.sequence import Sequence, SequenceSplit
from fmgs_core.tracking import BodyTracker, SecondLook
from fmgs_core.types import BodyState, Camera, Keypoints, PriorMaps

NOISE_PX, HIDDEN_NOISE_PX = 3.0, 6.0
CONFIDENCE, HIDDEN_CONFIDENCE = (0.75, 0.95), (0.3, 0.6)
# A landmark this far behind the body's nearest surface is hidden; joints lie up to 10 cm inside.
HIDDEN_M = 0.12

_VERTICES = {"nose": 9120, "left_eye": 9448, "right_eye": 9929, "left_ear": 6, "right_ear": 616,
             "left_toe": 5770, "right_toe": 8463, "left_small_toe": 5780, "right_small_toe": 8474,
             "left_heel": 8846, "right_heel": 8635}  # fmt: skip
_KNUCKLES = {"index": "index1", "pinky": "pinky1"}


def true_points(body: BodyModel, state: BodyState, names: list[str]) -> Float[np.ndarray, "n 3"]:
    """World positions of the named landmarks on the posed body [m]."""
    vertices, joints = posed_vertices(body, state), posed_joints(body, state)
    joint_of = dict(zip(body.joint_names, joints, strict=True))
    for side in ("left_", "right_"):
        joint_of |= {side + name: joint_of[side + joint] for name, joint in _KNUCKLES.items()}
    return np.stack([vertices[_VERTICES[name]] if name in _VERTICES else joint_of[name] for name in names])


def detected(body: BodyModel, state: BodyState, camera: Camera, layout: str, rng: np.random.Generator) -> Keypoints:
    """The true landmarks with noise; those on the far side of the body with more of it, and less confidence."""
    rows = LAYOUTS[layout].rows
    points = true_points(body, state, list(rows))
    pixels, z = camera.project(points), (points @ camera.T_camera_world[2, :3] + camera.T_camera_world[2, 3])
    surface = draw_mesh(posed_vertices(body, state), body.faces, camera).depth
    at = np.clip(pixels.astype(int), 0, (camera.width - 1, camera.height - 1))
    hidden = z - surface[at[:, 1], at[:, 0]] > HIDDEN_M  # NaN, beside the body, compares false
    noise = np.where(hidden, HIDDEN_NOISE_PX, NOISE_PX)[:, None] * rng.standard_normal(pixels.shape)
    confidence = np.where(hidden, rng.uniform(*HIDDEN_CONFIDENCE, len(hidden)), rng.uniform(*CONFIDENCE, len(hidden)))
    found = np.full((LAYOUTS[layout].count, 3), np.nan)
    found[list(rows.values())] = np.column_stack([pixels + noise, confidence])
    return Keypoints(layout, found)


@dataclass(frozen=True)
class Followed:
    """One run over all frames."""

    tracked: list[BodyState]
    again: list[BodyState]
    """After the second look."""
    misses: int
    """Frames without a believed state; they have that of the frame before."""


def followed(body: BodyModel, train: SequenceSplit, maps: list[PriorMaps], late: list[Keypoints] | None = None) -> Followed:
    """By the tracker that is told the height, and by its second look, to which `late` landmarks come three frames late."""
    config = SessionConfig()
    tracker = BodyTracker(body, replace(config.tracker, subject_height_m=body.height(train.states[0].betas)))
    look, tracked, stamps, misses = SecondLook(body, config.tracker, config.smoothing), list[BodyState](), list[int](), 0
    for i, seen in enumerate(maps):
        frame = train.frame(i)
        found = tracker.update(frame, seen)
        misses += found.evidence is None
        if found.state is None:
            raise ValueError(f"frame {i}: expected a person, got none ({found.status.value})")
        tracked.append(found.state)
        stamps.append(frame.stamp_ns)
        if found.evidence is not None:
            look.add(found.evidence)
        if look.due:
            look.states()
        if late is not None and i >= 3:
            look.attach(stamps[i - 3], late[i - 3])
    states = look.states()
    return Followed(tracked, [states.get(stamp, state) for stamp, state in zip(stamps, tracked, strict=True)], misses)


def row(name: str, run: Followed, body: BodyModel, train: SequenceSplit) -> str:
    truth = np.stack([posed_joints(body, train.states[i]) for i in range(len(run.tracked))])
    tracked, again = (np.stack([posed_joints(body, s) for s in states]) for states in (run.tracked, run.again))
    figures = [
        metrics.mpjpe_mm(tracked, truth),
        metrics.pa_mpjpe_mm(tracked, truth),
        metrics.mpjpe_mm(again, truth),
        metrics.pa_mpjpe_mm(again, truth),
    ]
    return f"| {name} | " + " | ".join(f"{figure:.1f}" for figure in figures) + f" | {run.misses} |"


def rows(sequence: Path) -> Iterator[str]:
    body, train = default_body(), Sequence(sequence).split("train")
    prior = MediaPipePrior()
    mediapipe = [prior.predict(train.frame(i)) for i in range(len(train))]
    prior.close()
    yield row("mediapipe33, as it is", followed(body, train, mediapipe), body, train)

    def by(give: Callable[[int, PriorMaps], Keypoints | None]) -> list[PriorMaps]:
        return [replace(maps, keypoints=give(i, maps)) for i, maps in enumerate(mediapipe)]

    for layout in ("coco17", "coco_wholebody133", "sapiens308"):
        rng = np.random.default_rng(0)
        found = [detected(body, train.states[i], train.frame(i).camera, layout, rng) for i in range(len(train))]
        yield row(f"{layout}, no 3-D", followed(body, train, by(lambda i, maps, found=found: found[i])), body, train)
        joined = by(lambda i, maps, found=found: with_depth_of(found[i], maps.keypoints) if maps.keypoints else found[i])
        yield row(f"{layout}, MediaPipe's 3-D", followed(body, train, joined), body, train)
        yield row(f"mediapipe33, {layout} late", followed(body, train, mediapipe, found), body, train)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sequence", type=Path, help="folder of an avatar_gt/1 sequence")
    print("| landmarks | MPJPE mm | PA | after the second look | PA | frames not believed |\n|---|---|---|---|---|---|")
    for line in rows(parser.parse_args().sequence):
        print(line, flush=True)


if __name__ == "__main__":
    main()
