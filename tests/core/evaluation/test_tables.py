"""The paper's tables from small folders in the published forms. Kinds: parity, behaviour, refusal."""

from pathlib import Path

import numpy as np
import pytest

from fmgs_core.body.smpl_files import smpl_file
from fmgs_core.cli.measure import table_text
from fmgs_core.config import PRESETS, SessionConfig
from fmgs_core.evaluation import tables
from fmgs_core.evaluation.peer_ssim import peer_ssim
from fmgs_core.evaluation.tables import TABLES, MeasuredTable, Row, measure_table
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.trainer import TrainerConfig
from tests.core.stream.datasets.folders import write_neuman, write_zju
from tests.core.stream.datasets.people import write_smpl

SHORT = SessionConfig(
    trainer=TrainerConfig(memory=MemoryConfig(held_out=0, min_novelty_m=0.0), newest_share=0.0),
    gaussians=0,
    iterations_per_frame=0,
    final_iterations=40,
)


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smpl(tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz")


def test_a_table_is_measured_from_the_folder_as_it_is_published(tmp_path: Path, body: Path):
    write_neuman(tmp_path, body, "lab")
    measured = measure_table("neuman", tmp_path, body, SHORT, subjects=("lab",))
    (row,) = measured.rows
    assert row.figures["iterations"] == 40
    # An avatar that is grey and in place scores 17 dB; one that stands elsewhere, or a black picture, 12.
    assert 18 < row.figures["psnr"] < 60 and 0.6 < row.figures["ssim"] <= row.figures["peer_ssim"] <= 1
    assert measured.as_dict()["ours"]["lab"]["lpips"] is None


def test_test_views_of_training_instants_are_drawn_in_the_learned_pose(tmp_path: Path, body: Path, monkeypatch):
    write_zju(tmp_path, body)
    drawn = []
    real = tables.draw
    monkeypatch.setattr(tables, "draw", lambda avatar, state, *rest: drawn.append(state) or real(avatar, state, *rest))
    seen = {}

    class Recorded(tables.Session):
        def run(self, pace):
            seen["result"] = super().run(pace)
            return seen["result"]

    monkeypatch.setattr(tables, "Session", Recorded)
    measure_table("zju", tmp_path, body, SHORT, subjects=("392",))
    assert len(drawn) == 2 and all(state is seen["result"].states[0] for state in drawn)


def test_unknown_subjects_and_tables_are_named(tmp_path: Path, body: Path):
    with pytest.raises(ValueError, match=r"subjects: expected some of 377, .* got 313"):
        measure_table("zju", tmp_path, body, SHORT, subjects=("313",))
    with pytest.raises(ValueError, match="table: expected one of zju, people-snapshot, neuman, got 'iper'"):
        measure_table("iper", tmp_path, body, SHORT)


def test_the_text_has_ours_beside_what_is_printed_and_no_lpips_of_ours():
    figures = {"psnr": 30.0, "ssim": 0.95, "peer_ssim": 0.97, "fit_wall_s": 12.0, "iterations": 100.0}
    measured = MeasuredTable(TABLES["zju"], (Row("377", figures), Row("386", figures | {"psnr": 32.0})), ("a note",))
    lines = table_text(measured).splitlines()
    mean = lines[lines.index("mean") + 1 :]
    assert mean[0].split() == ["ours", "31.00", "0.9500", "0.9700", "-", "12"]
    assert mean[1].split() == ["FMGS-Avatar", "30.89", "-", "0.9720", "28.59", "-"]
    assert lines[lines.index("377") + 2].split() == ["FMGS-Avatar", "31.22", "-", "-", "-", "-"]
    assert lines[-1] == "* a note"


def test_subjects_are_the_papers():
    assert TABLES["zju"].subjects == ("377", "386", "387", "392", "393", "394")
    assert set(TABLES["people-snapshot"].published["FMGS-Avatar"]) == set(TABLES["people-snapshot"].subjects)


def test_peer_ssim_is_that_of_scikit_image():
    """skimage.metrics.structural_similarity(a, b, channel_axis=2, data_range=2) of these pictures, computed once."""
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(24, 31, 3))
    b = np.clip(a + rng.normal(0, 0.2, a.shape), 0, 1)
    assert peer_ssim(a, b) == pytest.approx(0.8343157263361901, abs=1e-9)
    assert peer_ssim(a, a) == pytest.approx(1)
    with pytest.raises(ValueError, match="expected the truth's shape"):
        peer_ssim(a, b[:, 1:])


def test_smpl_files_are_found_by_gender(tmp_path: Path):
    names = ("basicModel_f_lbs_10_207_0_v1.0.0.pkl", "basicmodel_m_lbs_10_207_0_v1.1.0.pkl", "SMPL_NEUTRAL.npz", "LICENSE.txt")
    for name in names:
        (tmp_path / name).touch()
    assert [smpl_file(tmp_path, g).name for g in ("female", "male", "neutral")] == list(names[:3])
    assert smpl_file(tmp_path / names[0], "male").name == names[0]  # the user's own choice of one file for all
    (tmp_path / "SMPL_MALE.pkl").touch()
    with pytest.raises(ValueError, match=r"expected one male SMPL model \(SMPL_MALE\.pkl\), got 2 of: SMPL_MALE\.pkl, "):
        smpl_file(tmp_path, "male")
    with pytest.raises(ValueError, match="got nothing by that name"):
        smpl_file(tmp_path / "nowhere", "male")


def test_the_paper_preset_says_what_is_printed():
    paper = PRESETS["paper"]
    assert (paper.iterations_per_frame, paper.final_iterations) == (0, 15_000)
    assert paper.trainer.schedule.geometry_after_iterations == 3000 and paper.trainer.schedule.pose_after_iterations == 5000
    assert 0.5 ** (15_000 / paper.trainer.schedule.decay_iterations) == pytest.approx(0.1)
    assert PRESETS["cpu"] == SessionConfig() and PRESETS["gpu"].trainer.backend == "cuda"
