"""Round trips of `fmgs render` and `fmgs export`: what they write is read back by the readers of the formats."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot, save_avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.mapfiles import read_maps, read_rgb
from fmgs_core.types import BodyState, Camera

from .conftest import Fmgs
from .streams import read_video

BODY = default_body()
KINDS = ("rgb", "mask", "depth", "normal", "label")


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red in front, blue behind, as opaque as a learned one."""
    made = Avatar(BODY)
    centers = BODY.v_template[made.faces.numpy()].mean(1)
    with torch.no_grad():
        front = torch.from_numpy(centers[:, 2] > 0)[:, None]
        made.field.color_logit.copy_(torch.where(front, torch.tensor([4.0, -4.0, -4.0]), torch.tensor([-4.0, -4.0, 4.0])))
        made.field.opacity_logit.fill_(6.0)
    path = tmp_path_factory.mktemp("avatar") / "avatar.safetensors"
    save_avatar(path, AvatarSnapshot.of(made, 1, 1))
    return path


@pytest.fixture
def motion(shared: Path) -> Path:
    return shared / "gt" / "dressed_a" / "test_view" / "params.npz"


def test_an_orbit_shows_the_front_first_and_the_back_half_way(fmgs: Fmgs, avatar: Path, tmp_path: Path):
    code, said = fmgs("render", avatar, "--out", tmp_path, "--size-px", 96, "--frames", 4)
    assert code == 0 and f"4 pictures in {tmp_path}" in said
    front, back = (read_rgb(tmp_path / "rgb" / f"{i:06d}.png")[30:60, 40:56].reshape(-1, 3).mean(0) for i in (0, 2))
    assert front[0] > 4 * front[2] and back[2] > 4 * back[0]
    video = read_video(tmp_path / "render.mp4")
    assert [p.shape for p in video] == [(96, 96, 3)] * 4
    assert video[0][0, 0].min() > 240  # over white


def test_poses_and_cameras_of_a_sequence_give_maps_in_its_layout(fmgs: Fmgs, avatar: Path, tmp_path: Path, motion: Path):
    code, _ = fmgs("render", avatar, "--out", tmp_path, "--poses", motion, "--camera", motion, "--frames", 2)
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == {*KINDS, "confidence", "render.mp4"}
    with np.load(motion) as params:
        T, K = params["T_camera_world"], params["K"]
        state = BodyState(np.zeros(16), params["pose"][1], params["transl"][1], np.zeros(BODY.exprdirs.shape[-1]))
    camera = Camera(K, 512, 512, T[1] if T.ndim == 3 else T)
    drawing, maps = draw_mesh(posed_vertices(BODY, state), BODY.faces, camera), read_maps(tmp_path, 1)
    assert maps.mask is not None and maps.depth is not None and maps.normal is not None and maps.labels is not None
    body, shown = drawing.face >= 0, maps.mask > 0.5
    # Gaussians reach a little over the rim of the naked body's mesh, and leave out its eyes.
    assert (body & shown).sum() / (body | shown).sum() > 0.9
    both = body & np.isfinite(maps.depth)
    assert np.median(np.abs(maps.depth[both] - drawing.depth[both])) < 0.01  # splats are flat, faces are up to 2 cm wide
    np.testing.assert_allclose(np.linalg.norm(maps.normal[maps.normal.any(-1)], axis=-1), 1, atol=1e-5)
    assert np.array_equal(np.isfinite(maps.depth), maps.normal.any(-1))
    assert maps.labels.max() < 28


def test_a_lamp_brightens_the_side_it_stands_on(fmgs: Fmgs, avatar: Path, tmp_path: Path):
    """Azimuth 90 is the body's left, the right half of a picture from the front; the learned light of this avatar is even."""
    halves = {}
    for light in ("learned", "even", "90,0,0.5", "-90,0,0.5"):
        folder = tmp_path / light
        assert fmgs("render", avatar, "--out", folder, "--size-px", 96, "--frames", 1, f"--light={light}")[0] == 0
        torso = read_rgb(folder / "rgb" / "000000.png")[30:60, 40:56].astype(float)[..., 0]
        halves[light] = torso[:, :8].mean(), torso[:, 8:].mean()
    assert halves["learned"] == halves["even"]
    # The lit half of this red is clipped at white; measured 1.07.
    assert halves["90,0,0.5"][1] > 1.04 * halves["90,0,0.5"][0] and halves["-90,0,0.5"][0] > 1.04 * halves["-90,0,0.5"][1]


@pytest.mark.parametrize("light", ["bright", "90", "1,2,3,4", "nan,0"])
def test_a_light_that_is_none_is_named(fmgs: Fmgs, avatar: Path, tmp_path: Path, light: str):
    code, said = fmgs("render", avatar, "--out", tmp_path, f"--light={light}")
    assert code == 1 and "light: expected learned, even, or AZIMUTH,ELEVATION[,STRENGTH] in degrees" in said and light in said


def test_a_single_camera_serves_every_pose(fmgs: Fmgs, avatar: Path, tmp_path: Path):
    file = tmp_path / "one.npz"
    pose = np.zeros((3, BODY.num_joints, 3))
    pose[:, 0, 1] = (0, 0.5, 1)
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[2, 3] = 3.0
    K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    np.savez(file, pose=pose, transl=np.zeros((3, 3)), K=K, T_camera_world=T)
    code, _ = fmgs("render", avatar, "--out", tmp_path / "out", "--poses", file, "--camera", file)
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "out" / "rgb").iterdir()) == ["000000.png", "000001.png", "000002.png"]
    assert read_rgb(tmp_path / "out" / "rgb" / "000000.png").shape == (48, 64, 3)


@pytest.mark.parametrize("option", ["--poses", "--camera"])
def test_motion_and_camera_files_that_cannot_be_used_are_named(fmgs: Fmgs, avatar: Path, tmp_path: Path, option: str):
    text, cut, empty, other, pickled, shapes = (
        tmp_path / f"{n}.npz" for n in ("text", "cut", "empty", "other", "pickled", "s")
    )
    text.write_text("no arrays")
    np.savez(other, something=np.zeros(3))
    cut.write_bytes(other.read_bytes()[:-30])
    empty.write_bytes(b"")
    np.savez(pickled, pose=np.array([{}]), transl=0, K=np.array([{}]), T_camera_world=0)
    np.savez(shapes, pose=np.zeros((2, 3)), transl=np.zeros(3), K=np.zeros(3), T_camera_world=np.eye(3))
    for path in (text, cut, empty, other, pickled, shapes, tmp_path / "none.npz"):
        code, said = fmgs("render", avatar, "--out", tmp_path / "out", option, path, "--frames", 1)
        assert code == 1 and f"error: {path}: expected" in said, (path, said)
    assert not (tmp_path / "out").exists()


def test_fewer_cameras_than_pictures_are_refused(fmgs: Fmgs, avatar: Path, tmp_path: Path, motion: Path):
    file = tmp_path / "two.npz"
    np.savez(file, K=np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), T_camera_world=np.stack([np.eye(4)] * 2))
    code, said = fmgs("render", avatar, "--out", tmp_path / "out", "--camera", file, "--frames", 3)
    assert code == 1 and "expected at least 3 cameras, one per picture, got 2" in said


def test_a_picture_count_of_zero_is_a_wrong_argument(fmgs: Fmgs, avatar: Path, tmp_path: Path):
    assert fmgs("render", avatar, "--out", tmp_path, "--frames", 0)[0] in (1, 2)


def test_a_ply_has_one_gaussian_per_face(fmgs: Fmgs, avatar: Path, tmp_path: Path):
    code, said = fmgs("export", avatar, tmp_path / "new" / "a.ply")
    assert code == 0 and str(tmp_path / "new" / "a.ply") in said
    cloud = trimesh.load(tmp_path / "new" / "a.ply")
    assert len(cloud.vertices) == len(BODY.kept_faces)
    # T-pose of the default body: centres lie inside its box, give or take nothing.
    assert np.ptp(cloud.vertices, axis=0) == pytest.approx(np.ptp(BODY.v_template, axis=0), abs=0.02)


def test_a_glb_is_a_coloured_mesh(fmgs: Fmgs, avatar: Path, tmp_path: Path):
    assert fmgs("export", avatar, tmp_path / "a.glb")[0] == 0
    (mesh,) = trimesh.load(tmp_path / "a.glb").geometry.values()
    assert isinstance(mesh, trimesh.Trimesh) and len(mesh.faces) > 10_000
    colors, z = mesh.visual.vertex_attributes["color"], mesh.vertices[:, 2]  # linear light
    front, back = np.median(colors[z > z.max() - 0.05], axis=0), np.median(colors[z < z.min() + 0.05], axis=0)
    assert front[0] > 0.8 > 0.1 > front[2] and back[2] > 0.8 > 0.1 > back[0]


@pytest.mark.parametrize("name", ["a.obj", "a"])
def test_another_kind_of_export_is_refused(fmgs: Fmgs, avatar: Path, tmp_path: Path, name: str):
    code, said = fmgs("export", avatar, tmp_path / name)
    assert code == 1 and "expected a file name ending in .ply or .glb" in said


@pytest.mark.parametrize("command", ["render", "export"])
def test_what_is_not_an_avatar_is_named(fmgs: Fmgs, tmp_path: Path, command: str):
    file = tmp_path / "x.safetensors"
    file.write_text("nothing")
    target = ("--out", tmp_path / "out") if command == "render" else (tmp_path / "x.ply",)
    code, said = fmgs(command, file, *target)
    assert code == 1 and f"error: avatar file {file}: expected a whole safetensors file" in said
