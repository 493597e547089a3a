"""What a run leaves behind: the avatar, three videos, a picture of when each part switched on, and a report."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import save_avatar
from fmgs_core.body.skinning import posed_joints
from fmgs_core.config import SessionConfig
from fmgs_core.evaluation.metrics import mask_iou
from fmgs_core.evaluation.report import Curve, Picture, RunReport, write_report
from fmgs_core.evaluation.timeline import Mark, Timeline, write_timeline
from fmgs_core.export.video import VideoWriter
from fmgs_core.rendering.pictures import color_picture, composite, draw, label_map, label_picture, normal_picture
from fmgs_core.rendering.views import around
from fmgs_core.session import SessionResult
from fmgs_core.session.recording import FrameRecord
from fmgs_core.session.side_car import SideCarReport
from fmgs_core.types import BodyState, Channel

TURNTABLE_VIEWS, TURNTABLE_PX, TURNTABLE_FPS = 90, 512, 30.0
STRIP_VIEWS = 8
REPORT_ROWS = 4
NOTHING = 30  # grey value where nothing is drawn
COLOR = frozenset({Channel.RGB})
LABELS = frozenset({Channel.RGB, Channel.LOGITS})

Progress = Callable[[str, int, int], None]
"""Gets what is being written, how many of how many pictures are done."""


@dataclass(frozen=True)
class Written:
    """Where the results are."""

    avatar: Path
    turntable: Path
    overlay: Path
    masks: Path
    schedule: Path
    report: Path
    figures: dict[str, float | int | str]


def write_results(
    out: Path, result: SessionResult, config: SessionConfig, source_name: str, progress: Progress = lambda *_: None
) -> Written:
    """Fills `out`, which is made when missing; files of an earlier run are replaced one by one, each whole."""
    out.mkdir(parents=True, exist_ok=True)
    avatar_path = out / "avatar.safetensors"
    save_avatar(avatar_path, result.snapshot)
    records = result.recording.frames
    shown = [result.states[r.stamp_ns] for r in records if r.stamp_ns in result.states]
    front = resting_state(result.avatar, shown or list(result.states.values()))
    strip = _write_turntable(out / "turntable.mp4", result.avatar, front, progress)
    rows, ious = _write_overlays(out / "overlay.mp4", out / "masks.mp4", result, records, progress)
    figures, timeline = _figures(result, ious), _timeline(result)
    write_timeline(out / "schedule.svg", timeline)
    report = RunReport(
        title="fmgs_ros: online avatar",
        source=source_name,
        figures=figures,
        timeline=timeline,
        curves=_curves(result),
        pictures={"Turntable": strip, "Input, reconstruction, labels": rows, "Normals": _normals(result.avatar, front)},
        timings_ms={k: round(v, 2) for k, v in result.timings_ms.items()},
        config=asdict(config),
        warnings=result.warnings,
    )
    write_report(out / "report.html", report)
    return Written(
        avatar=avatar_path,
        turntable=out / "turntable.mp4",
        overlay=out / "overlay.mp4",
        masks=out / "masks.mp4",
        schedule=out / "schedule.svg",
        report=out / "report.html",
        figures=figures,
    )


def resting_state(avatar: Avatar, states: list[BodyState]) -> BodyState:
    """The observed state with the lowest wrists: arms down is how people stand, and what hides least."""
    wrists = [avatar.body.joint_names.index(f"{side}_wrist") for side in ("left", "right")]

    def wrist_height(state: BodyState) -> float:
        joints = posed_joints(avatar.body, state)
        return float((joints[wrists] - joints[0])[:, 1].sum())

    return min(states, key=wrist_height)


def _write_turntable(path: Path, avatar: Avatar, state: BodyState, progress: Progress) -> list[Picture]:
    strip = []
    with VideoWriter(path, TURNTABLE_FPS) as video:
        for i, camera in enumerate(around(avatar.body, avatar.betas, state, TURNTABLE_VIEWS, TURNTABLE_PX)):
            picture = color_picture(draw(avatar, state, camera, COLOR))
            video.write(picture)
            if i * STRIP_VIEWS % TURNTABLE_VIEWS < STRIP_VIEWS:
                strip.append(Picture(f"{360 * i // TURNTABLE_VIEWS}°", picture))
            progress("turntable.mp4", i + 1, TURNTABLE_VIEWS)
    return strip


def _write_overlays(
    overlay_path: Path, masks_path: Path, result: SessionResult, records: list[FrameRecord], progress: Progress
) -> tuple[list[Picture], list[float]]:
    """Every recorded frame beside what the avatar makes of it; beside nothing where no body state is known."""
    rows, ious = [], []
    size, fps = _usual_size(records), _frame_rate(records)
    with VideoWriter(overlay_path, fps) as overlay, VideoWriter(masks_path, fps) as masks:
        for i, record in enumerate(records):
            seen, mask = record.rgb(), record.mask()
            drawn = labels = behind = np.full_like(seen, NOTHING)
            if record.stamp_ns in result.states:
                rendering = draw(result.avatar, result.states[record.stamp_ns], record.camera, LABELS)
                drawn = color_picture(rendering, background=NOTHING / 255)
                labels, behind = label_picture(label_map(rendering)), composite(rendering, seen // 4)
                if mask is not None:
                    ious.append(mask_iou(rendering.alpha.clamp(0, 1), mask))
            overlay.write(np.concatenate([_fitted(seen, size), _fitted(drawn, size)], 1))
            masks.write(np.concatenate([_fitted(seen, size), _fitted(labels, size)], 1))
            if i % max(1, len(records) // REPORT_ROWS) == 0 and len(rows) < REPORT_ROWS:
                rows.append(Picture(f"frame {record.index}", np.concatenate([seen, behind, labels], 1)))
            progress("overlay.mp4, masks.mp4", i + 1, len(records))
    return rows, ious


def _usual_size(records: list[FrameRecord]) -> tuple[int, int]:
    """Width and height that most frames have: a video has one size, a stream may change it."""
    return Counter((r.camera.width, r.camera.height) for r in records).most_common(1)[0][0]


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture as large as it fits into width and height, in the middle of grey."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    fitted = np.full((size[1], size[0], 3), NOTHING, np.uint8)
    fitted[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return fitted


def _normals(avatar: Avatar, state: BodyState) -> list[Picture]:
    cameras = around(avatar.body, avatar.betas, state, 4, TURNTABLE_PX)
    channels = frozenset({Channel.NORMAL})
    return [Picture(f"{90 * i}°", normal_picture(draw(avatar, state, c, channels))) for i, c in enumerate(cameras)]


def _frame_rate(records: list[FrameRecord]) -> float:
    if len(records) < 2:
        return 15.0
    gaps = np.diff([r.stamp_ns for r in records]) * 1e-9
    return float(np.clip(1 / max(np.median(gaps), 1e-3), 1, 60))


def _figures(result: SessionResult, ious: list[float]) -> dict[str, float | int | str]:
    """How good it is first, then what it took: the report's headline is the first six."""
    last = result.progress[-1]
    figures: dict[str, float | int | str] = {}
    if last.psnr_db is not None:
        figures["psnr_held_out_db"] = round(last.psnr_db, 2)
    if ious:
        figures |= {"mask_iou_median": round(float(np.median(ious)), 4), "mask_iou_worst": round(float(np.min(ious)), 4)}
    return (
        figures
        | {
            "frames": result.frames,
            "iterations": result.snapshot.iterations,
            "fit_wall_s": round(result.fit_wall_s, 2),
            "frames_with_person": result.frames_with_person,
            "frames_dropped": last.frames_dropped,
            "keyframes": last.keyframes,
            "iterations_per_s": round(last.iterations / max(result.fit_wall_s, 1e-9), 2),
            "steps_skipped": result.skipped_steps,
            "ended": result.reason,
        }
        | _side_car_figures(result.side_car)
    )


def _side_car_figures(report: SideCarReport | None) -> dict[str, float | int | str]:
    """Of the model beside the session: what it did, and how its maps agree with the body."""
    if report is None:
        return {}
    check = report.check
    figures: dict[str, float | int | str] = {
        "maps_model": report.model,
        "maps_made": report.maps,
        "maps_dropped": report.dropped,
        "maps_failed": report.failures,
        "maps_checked": check.maps,
    }
    if report.ms is not None:
        figures["maps_ms"] = round(report.ms, 1)
    if check.normal_deg is not None and check.as_given_deg is not None:
        figures |= {
            "maps_normal_signs": " ".join(f"{sign:+d}" for sign in check.signs),
            "maps_normal_deg": round(check.normal_deg, 1),
            "maps_normal_as_given_deg": round(check.as_given_deg, 1),
        }
    if check.depth_correlation is not None:
        figures["maps_depth_correlation"] = round(check.depth_correlation, 3)
    return figures


def _timeline(result: SessionResult) -> Timeline:
    progress = result.progress
    return Timeline(
        [p.elapsed_s for p in progress],
        [p.yaw_deg for p in progress],
        [p.keyframes for p in progress],
        [Mark(s.elapsed_s, s.what, s.why) for s in result.switches],
    )


def _curves(result: SessionResult) -> dict[str, Curve]:
    progress, frames = result.progress, result.recording.frames
    wall_s = [p.elapsed_s for p in progress]
    measured = [(p.elapsed_s, p.psnr_db) for p in progress if p.psnr_db is not None]
    speed = {"iterations/s": [p.iterations_per_s for p in progress], "frames/s": [p.frames_per_s for p in progress]}
    stream_s = [(r.stamp_ns - frames[0].stamp_ns) * 1e-9 for r in frames]
    return {
        "Loss": Curve(wall_s, {"weighted sum": [p.loss for p in progress]}, "wall time [s]", "loss"),
        "Held-back keyframes": Curve(
            [t for t, _ in measured], {"PSNR": [v for _, v in measured]}, "wall time [s]", "PSNR [dB]"
        ),
        "Speed": Curve(wall_s, speed, "wall time [s]", "per second"),
        "Tracking confidence": Curve(stream_s, {"confidence": [r.confidence for r in frames]}, "stream time [s]", "confidence"),
    }
