"""Small folders in the published forms, written from the formats' own formulas and not by way of the readers."""

import pickle
import struct
from pathlib import Path

import cv2
import numpy as np

from fmgs_core.body.smplx import load_smpl
from fmgs_core.body.template import BodyModel

from .people import Performance, perform, photograph

K = np.array([[150.0, 0, 61.3], [0, 148.0, 66.1], [0, 0, 1]])
DISTORTION = np.array([-0.12, 0.03, 0.002, -0.001, 0.0])
SIZE = (128, 136)
DISTANCE_M = 3.2


# -- ZJU-MoCap


def studio_camera(index: int) -> tuple[np.ndarray, np.ndarray]:
    """R and T [m] of a level camera on a circle around the origin of a studio with z up."""
    angle = 2.1 * index
    eye = DISTANCE_M * np.array([np.sin(angle), -np.cos(angle), 0.0]) + [0, 0, 1]
    forward = np.array([-np.sin(angle), np.cos(angle), 0.0])
    right = np.cross(forward, [0, 0, 1.0])
    R = np.stack([right, np.cross(forward, right), forward])
    return R, -R @ eye


def zju_world(body: BodyModel, performance: Performance, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints in the studio: x = R(Rh) x_SMPL + Th, with the root's rotation inside x_SMPL zero."""
    Rh, Th = zju_placing(performance, index)
    pose = performance.poses[index].copy()
    pose[0] = 0
    R = cv2.Rodrigues(Rh)[0]
    return tuple(points @ R.T + Th for points in performance.model_points(body, index, pose))  # type: ignore[return-value]


def zju_placing(performance: Performance, index: int) -> tuple[np.ndarray, np.ndarray]:
    return performance.poses[index][0], np.array([0.1, 0.05 * index, 1.1])


def write_zju(root: Path, body_file: Path, subject: str = "392", frames: int = 3, cameras: int = 3) -> Performance:
    """CoreView_<subject>; the person stands up in z."""
    folder, body = root / f"CoreView_{subject}", load_smpl(body_file)
    performance = perform(frames, np.array([np.pi / 2, 0, 0]))
    placed = [studio_camera(c) for c in range(cameras)]
    for i in range(frames):
        vertices, _ = zju_world(body, performance, i)
        for c, (R, T) in enumerate(placed):
            picture, mask = photograph(vertices @ R.T + T, body, K, DISTORTION, SIZE)
            _write(folder / f"Camera_B{c + 1}" / f"{i:06d}.jpg", picture)
            _write(folder / "mask_cihp" / f"Camera_B{c + 1}" / f"{i:06d}.png", mask * 13)
        Rh, Th = zju_placing(performance, i)
        pose = performance.poses[i].copy()
        pose[0] = 0
        content = {"poses": pose.reshape(1, 72), "shapes": performance.betas[None], "Rh": Rh[None], "Th": Th[None]}
        (folder / "new_params").mkdir(exist_ok=True)
        np.save(folder / "new_params" / f"{i}.npy", np.array(content, dtype=object), allow_pickle=True)
    names = [{"ims": [f"Camera_B{c + 1}/{i:06d}.jpg" for c in range(cameras)]} for i in range(frames)]
    cams = {
        "K": [K] * cameras, "D": [DISTORTION[:, None]] * cameras,
        "R": [R for R, _ in placed], "T": [(T * 1000)[:, None] for _, T in placed],
    }  # fmt: skip
    np.save(folder / "annots.npy", np.array({"cams": cams, "ims": names}, dtype=object), allow_pickle=True)
    return performance


# -- PeopleSnapshot


def snapshot_transl(count: int) -> np.ndarray:
    return np.stack([[0.05 * (i % 4), 0.1, DISTANCE_M] for i in range(count)])


def snapshot_points(body: BodyModel, performance: Performance, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints in camera axes: x = x_SMPL(pose) + transl, the root turning about the pelvis."""
    transl = snapshot_transl(index + 1)[index]
    return tuple(points + transl for points in performance.model_points(body, index))  # type: ignore[return-value]


def _snapshot_pictures(body_file: Path, count: int, distortion: np.ndarray):
    """Facing the camera in OpenCV's axes: upside down about x."""
    body, performance = load_smpl(body_file), perform(count, np.array([np.pi, 0, 0]))
    used = {i: snapshot_points(body, performance, i)[0] for i in range(count)}
    return performance, {i: photograph(v, body, K, distortion, SIZE) for i, v in used.items()}


def write_snapshot_prepared(
    root: Path, body_file: Path, subject: str, count: int, splits: dict[str, range] | None
) -> Performance:
    """With Anim-NeRF's poses when `splits` is given, else with those of all frames."""
    folder = root / subject
    performance, pictures = _snapshot_pictures(body_file, count, np.zeros(5))
    for i, (picture, mask) in pictures.items():
        _write(folder / "images" / f"image_{i:04d}.png", picture)
        (folder / "masks").mkdir(exist_ok=True)
        np.save(folder / "masks" / f"mask_{i:04d}.npy", mask)
    np.savez(folder / "cameras.npz", intrinsic=K, extrinsic=np.eye(4), width=SIZE[0], height=SIZE[1])
    thetas, transl = performance.poses.reshape(count, 72).astype(np.float32), snapshot_transl(count).astype(np.float32)
    if splits is None:
        np.savez(folder / "poses.npz", thetas=thetas, betas=performance.betas, transl=transl)
        return performance
    (folder / "poses").mkdir()
    for split, frames in splits.items():
        chosen = list(frames)
        np.savez(
            folder / "poses" / f"anim_nerf_{split}.npz", betas=performance.betas[None].astype(np.float32),
            global_orient=thetas[chosen, :3], body_pose=thetas[chosen, 3:], transl=transl[chosen],
        )  # fmt: skip
    return performance


def write_snapshot_published(root: Path, body_file: Path, subject: str, count: int) -> Performance:
    import h5py

    folder = root / subject
    folder.mkdir(parents=True)
    performance, pictures = _snapshot_pictures(body_file, count, DISTORTION)
    camera = {
        "camera_f": np.array([K[0, 0], K[1, 1]]), "camera_c": K[:2, 2], "camera_k": DISTORTION, "camera_rt": np.zeros(3),
        "camera_t": np.zeros(3), "width": SIZE[0], "height": SIZE[1],
    }  # fmt: skip
    (folder / "camera.pkl").write_bytes(pickle.dumps(camera, 2))
    film = cv2.VideoWriter(str(folder / f"{subject}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE)  # type: ignore[attr-defined]
    for picture, _ in pictures.values():
        film.write(picture)
    film.release()
    with h5py.File(folder / "masks.hdf5", "w") as file:
        file["masks"] = np.stack([mask for _, mask in pictures.values()])
    with h5py.File(folder / "reconstructed_poses.hdf5", "w") as file:
        file["pose"], file["betas"] = performance.poses.reshape(count, 72), performance.betas
        file["trans"] = snapshot_transl(count)
    return performance


# -- NeuMan


def neuman_scale(index: int) -> float:
    """Scene units per metre: the published ones differ a little from frame to frame."""
    return 2.5 + 0.01 * index


def neuman_camera(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A hand-held camera in a scene with arbitrary axes."""
    R = cv2.Rodrigues(np.array([0.02 * index, 0.4, 0.1]))[0]
    return R, np.array([0.03 * index, -0.02, 0.3])


def neuman_scene(body: BodyModel, performance: Performance, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints in the scene: x = scale x_SMPL + transl."""
    return tuple(neuman_scale(index) * points + neuman_transl(index) for points in performance.model_points(body, index))  # type: ignore[return-value]


def neuman_transl(index: int) -> np.ndarray:
    R, t = neuman_camera(index)
    return R.T @ (neuman_scale(index) * np.array([0.05, 0.1, DISTANCE_M]) - t)


def write_neuman(
    root: Path, body_file: Path, subject: str = "seattle", frames: int = 10, *, binary: bool = False
) -> Performance:
    folder, body = root / subject, load_smpl(body_file)
    R0 = neuman_camera(0)[0]
    root_turn = cv2.Rodrigues(R0.T @ cv2.Rodrigues(np.array([np.pi, 0, 0]))[0])[0].ravel()
    performance = perform(frames, root_turn)
    lines, records = [], []
    for i in range(frames):
        R, t = neuman_camera(i)
        vertices, _ = neuman_scene(body, performance, i)
        picture, mask = photograph(vertices @ R.T + t, body, K, np.r_[DISTORTION[:4], 0], SIZE)
        _write(folder / "images" / f"{i:05d}.png", picture)
        _write(folder / "4d_humans" / "sam_segmentations" / f"mask_{i:04d}.png", mask * 255)
        q = _quaternion(R)
        # Registered in another order than they were taken in.
        lines.insert(0, f"{i + 1} {' '.join(map(str, [*q, *t]))} 1 {i:05d}.png\n1.5 2.5 -1\n")
        name = f"{i:05d}.png".encode() + b"\0"
        records.insert(0, struct.pack("<i7di", i + 1, *q, *t, 1) + name + struct.pack("<Qddq", 1, 1.5, 2.5, -1))
    # COLMAP puts the first pixel's centre at 0.5.
    parameters = [K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5, *DISTORTION[:4]]
    sparse = folder / "sparse"
    sparse.mkdir()
    if binary:
        (sparse / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 1, 4, *SIZE, *parameters))
        (sparse / "images.bin").write_bytes(struct.pack("<Q", frames) + b"".join(records))
    else:
        (sparse / "cameras.txt").write_text(f"# cameras\n1 OPENCV {SIZE[0]} {SIZE[1]} {' '.join(map(str, parameters))}\n")
        (sparse / "images.txt").write_text("# images\n# two lines each\n" + "".join(lines))
    thetas = performance.poses.reshape(frames, 72)
    np.savez(
        folder / "4d_humans" / "smpl_optimized_aligned_scale.npz", global_orient=thetas[:, :3], body_pose=thetas[:, 3:],
        betas=np.tile(performance.betas, (frames, 1)), transl=np.stack([neuman_transl(i) for i in range(frames)]),
        scale=np.array([neuman_scale(i) for i in range(frames)]),
    )  # fmt: skip
    return performance


def _quaternion(R: np.ndarray) -> np.ndarray:
    axis_angle = cv2.Rodrigues(R)[0].ravel()
    angle = np.linalg.norm(axis_angle)
    return np.r_[np.cos(angle / 2), np.sin(angle / 2) * axis_angle / angle]


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 98])
