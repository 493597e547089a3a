"""Behaviour of `fmgs run`, MediaPipe and tracker included, on broken files and on streams that do not keep still."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core.avatar.snapshot import load_avatar

from .conftest import Fmgs, figures
from .streams import FPS, Stage, read_video, write_folder, write_video

FEW = ("--config.iterations-per-frame", 1, "--config.final-iterations", 0)
LATE = 2 * FPS


def people(stage: Stage, count: int, first: int = 0) -> list[np.ndarray]:
    return [stage.person(first + 2 * i) for i in range(count)]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "expected a video file with a video stream, got an empty file"),
        ("text.mp4", b"not a video at all" * 50, "got one that does not open (another kind of file, or cut)"),
        ("photo.mp3", b"ID3" + bytes(500), "got one that does not open"),
        ("empty.mcap", b"", "empty.mcap"),
        ("text.db3", b"not a bag" * 50, "text.db3"),
    ],
)
def test_a_file_that_is_no_stream_is_named_and_nothing_is_written(
    fmgs: Fmgs, tmp_path: Path, name: str, content: bytes, reason: str
):
    (tmp_path / name).write_bytes(content)
    code, said = fmgs("run", tmp_path / name, "--out", tmp_path / "out")
    assert code == 1 and said.startswith("error: ") and reason in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_folder_without_pictures_is_named(fmgs: Fmgs, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    code, said = fmgs("run", tmp_path, "--out", tmp_path / "out")
    assert code == 1 and "expected pictures" in said and "notes.txt" in said


def test_a_cut_video_gives_what_it_has(fmgs: Fmgs, stage: Stage, tmp_path: Path):
    whole = write_video(tmp_path / "whole.mkv", people(stage, 12)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    code, said = fmgs("run", tmp_path / "cut.mkv", "--out", tmp_path / "out", *FEW)
    assert code == 0, said
    assert 4 <= figures(tmp_path / "out")["frames_with_person"] < 12


def test_a_person_who_comes_late_leaves_and_returns(fmgs: Fmgs, stage: Stage, tmp_path: Path):
    """Nobody for two seconds, the person, nobody long enough to be lost, the person again."""
    room = stage.room()
    pictures = [room] * LATE + people(stage, 6) + [room] * 7 + people(stage, 6, first=12)
    code, said = fmgs("run", write_video(tmp_path / "v.mkv", pictures), "--out", tmp_path / "out", *FEW)
    assert code == 0, said
    changes = [line.split(": ")[1] for line in said.splitlines() if line.startswith(tuple("0123456789"))]
    assert changes == [
        "following the person",
        "person lost; what was learned is kept, still looking",
        "following the person",
    ]
    assert said.index("2.00 s: following") < said.index("person lost")
    got = figures(tmp_path / "out")
    # The first frames after an appearance may be believed too little; most are not.
    assert got["frames"] == len(pictures) and 8 <= got["frames_with_person"] <= 12
    assert got["mask_iou_worst"] > 0.7
    drawn = [p[:, stage.side :].max() > 60 for p in read_video(tmp_path / "out" / "overlay.mp4")]
    assert not any(drawn[:LATE]) and sum(drawn) == got["frames_with_person"]


def test_a_second_person_does_not_get_into_the_avatar(fmgs: Fmgs, stage: Stage, tmp_path: Path):
    """A dyed copy, all blue, walks past behind the person: nothing of the avatar becomes blue that is not jeans."""
    xs = np.linspace(stage.side, -stage.side, 16).astype(int)
    alone = [stage.people((2 * i, 20)) for i in range(6)]
    pictures = alone + [stage.people((12 + 2 * i, 20), (50 + 2 * i, int(x))) for i, x in enumerate(xs)]
    code, said = fmgs("run", write_video(tmp_path / "v.mkv", pictures), "--out", tmp_path / "out", *FEW)
    assert code == 0, said
    assert said.count("following the person") == 1 and "person lost" not in said
    drawn = np.stack(read_video(tmp_path / "out" / "overlay.mp4"))[-8:, :, 2 * stage.side :].astype(int)
    dyed = np.stack(pictures)[-8:].astype(int)

    def share_of_dye(p: np.ndarray) -> float:
        """Pixels with blue far above red: the dye more than doubles the one over the other, jeans stay below."""
        return float((p[..., 2] - p[..., 0] > 110).sum()) / p[..., 0].size

    assert share_of_dye(drawn) < 0.1 * share_of_dye(dyed)


def test_pictures_that_change_their_size_are_all_used(fmgs: Fmgs, stage: Stage, tmp_path: Path):
    pictures = people(stage, 4)
    pictures += [cv2.resize(p, (128, 128), interpolation=cv2.INTER_AREA) for p in people(stage, 4, first=8)]
    pictures += [np.ascontiguousarray(p[:, 30:161]) for p in people(stage, 4, first=16)]
    code, said = fmgs("run", write_folder(tmp_path / "v", pictures), "--out", tmp_path / "out", *FEW)
    assert code == 0, said
    assert said.count("its camera is adapted") == 2
    assert figures(tmp_path / "out")["frames_with_person"] == 12 and figures(tmp_path / "out")["mask_iou_worst"] > 0.7
    assert len(read_video(tmp_path / "out" / "overlay.mp4")) == 12


@pytest.mark.parametrize("kind", ["odd", "grey", "large"])
def test_unusual_pictures_are_pictures(fmgs: Fmgs, stage: Stage, tmp_path: Path, kind: str):
    pictures = people(stage, 3)
    if kind == "odd":
        source = write_video(tmp_path / "v.mkv", [cv2.resize(p, (189, 191)) for p in pictures])
    elif kind == "large":
        source = write_folder(tmp_path / "v", [cv2.resize(p, (1500, 1500)) for p in pictures])
    else:
        source = write_folder(tmp_path / "v", [np.repeat(p.mean(-1, keepdims=True), 3, -1).astype(np.uint8) for p in pictures])
    code, said = fmgs("run", source, "--out", tmp_path / "out", *FEW)
    assert code == 0, said
    assert figures(tmp_path / "out")["frames_with_person"] == 3
    height, width = read_video(tmp_path / "out" / "overlay.mp4")[0].shape[:2]
    # Videos have even sides; recorded pictures are at most 1280 px wide.
    assert (height, width) == {"odd": (192, 378), "grey": (192, 384), "large": (1280, 2560)}[kind]


def test_large_pictures_are_shrunk_on_demand(fmgs: Fmgs, stage: Stage, tmp_path: Path):
    source = write_folder(tmp_path / "v", [cv2.resize(p, (1500, 1500)) for p in people(stage, 2)])
    code, said = fmgs("run", source, "--out", tmp_path / "out", *FEW, "--config.source.max-side-px", 192)
    assert code == 0 and "192 x 192" in said


def test_the_same_video_gives_the_same_file_byte_for_byte(fmgs: Fmgs, stage: Stage, tmp_path: Path):
    video = write_video(tmp_path / "v.mkv", people(stage, 6))
    for out in ("a", "b"):
        assert fmgs("run", video, "--out", tmp_path / out, *FEW)[0] == 0
    a, b = ((tmp_path / out / "avatar.safetensors").read_bytes() for out in ("a", "b"))
    assert a == b and load_avatar(tmp_path / "a" / "avatar.safetensors").iterations == 6
