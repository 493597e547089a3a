"""The people: who they are, what they wear, how they move, and the room, light and cameras they are seen with."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from subjects import clothing
from subjects.drawing import Light
from subjects.motion import Motion
from subjects.pieces import DressedPerson, joined
from subjects.room import Room


@dataclass(frozen=True)
class CameraSpot:
    """Where a camera stands, as seen from the person; it looks at the middle of the person."""

    yaw: float
    """0 is in front, growing towards the left of a person at yaw 0 [rad]."""
    height_m: float
    distance_m: float


@dataclass(frozen=True)
class Subject:
    """All that makes one sequence, apart from its size."""

    name: str
    betas: Float[np.ndarray, "16"]
    dress: Callable[[Float[np.ndarray, "16"]], DressedPerson]
    garments: str
    motion: Motion
    room: Room
    light: Light
    camera: CameraSpot
    test_cameras: tuple[CameraSpot, CameraSpot]
    focal_per_width: float
    seed: int


def _betas(*first: float) -> Float[np.ndarray, "16"]:
    return np.array([*first, *([0.0] * (16 - len(first)))], np.float32)


def _skirt_and_sailor_shirt(betas: Float[np.ndarray, "16"]) -> DressedPerson:
    fine, plain = clothing.wearer(betas, fine=True), clothing.wearer(betas, fine=False)
    knee = float(plain.joint("left_knee")[1])
    shirt = clothing.shirt_field(fine.rest, hem=0.045, sleeve=0.37)
    offset = 0.009 + clothing.folds(fine.rest, 0.002, 0.06, 21)
    cap_cover = np.where(plain.on("hair"), 0.0, -1.0)
    covers = [
        clothing.shirt_field(plain.rest, hem=0.0, sleeve=0.37),
        np.minimum(0.12 - plain.rest[:, 1], plain.rest[:, 1] + 0.33) - (np.abs(plain.rest[:, 0]) > 0.25),
        clothing.shoe_field(plain.rest),
        cap_cover,
    ]
    return joined([
        clothing.skin(plain, covers, "skin_light"),
        clothing.shell(fine, shirt, offset, "sailor_shirt", clothing.UPPER, smoothing=20),
        clothing.skirt(plain, 0.085, knee - 0.05, 0.13, 14, "plaid_skirt", clothing.LOWER, gap_m=0.014),
        clothing.hair_cap(fine, 0.014, "hair_red", 22),
        clothing.long_hair(plain, 0.17, "hair_red"),
        *(clothing.shoe(plain, side, "red_shoe") for side in ("l", "r")),
    ])  # fmt: skip


def _coat_and_trousers(betas: Float[np.ndarray, "16"]) -> DressedPerson:
    fine, plain = clothing.wearer(betas, fine=True), clothing.wearer(betas, fine=False)
    knee = float(plain.joint("left_knee")[1])
    offset = 0.02 + 0.012 * np.clip((np.abs(fine.rest[:, 0]) - 0.25) / 0.4, 0, 1) + clothing.folds(fine.rest, 0.004, 0.08, 31)
    covers = [
        clothing.shirt_field(plain.rest, hem=0.0, sleeve=0.7, neck=0.09),
        clothing.trouser_field(plain.rest, hem=-0.87, waist=0.1),
        clothing.shoe_field(plain.rest),
        np.where(plain.on("hair"), 0.0, -1.0),
    ]
    coat = clothing.shirt_field(fine.rest, hem=-0.03, sleeve=0.7, neck=0.09)
    return joined([
        clothing.skin(plain, covers, "skin_dark"),
        clothing.trousers(fine, -0.88, 0.025, "dark_trousers", 32, waist=0.0),
        clothing.shell(fine, coat, offset, "coat", clothing.UPPER, smoothing=25),
        clothing.skirt(plain, 0.1, knee + 0.03, 0.06, 6, "coat", clothing.UPPER, gap_m=0.03),
        clothing.hair_cap(fine, 0.012, "hair_black", 33),
        *(clothing.shoe(plain, side, "black_shoe") for side in ("l", "r")),
    ])  # fmt: skip


def _hoodie_and_jeans(betas: Float[np.ndarray, "16"]) -> DressedPerson:
    fine, plain = clothing.wearer(betas, fine=True), clothing.wearer(betas, fine=False)
    hoodie = clothing.shirt_field(fine.rest, hem=-0.04, sleeve=0.69)
    offset = 0.016 + clothing.folds(fine.rest, 0.005, 0.09, 41)
    covers = [
        clothing.shirt_field(plain.rest, hem=-0.04, sleeve=0.69),
        clothing.trouser_field(plain.rest, hem=-0.88),
        clothing.shoe_field(plain.rest),
        np.where(plain.on("hair"), 0.0, -1.0),
    ]
    return joined([
        clothing.skin(plain, covers, "skin_olive"),
        clothing.trousers(fine, -0.89, 0.045, "denim", 42),
        clothing.shell(fine, hoodie, offset, "hoodie", clothing.UPPER, smoothing=20),
        clothing.hood(plain, "hoodie"),
        clothing.hair_cap(fine, 0.008, "hair_blond", 43),
        *(clothing.shoe(plain, side, "green_shoe") for side in ("l", "r")),
    ])  # fmt: skip


SUBJECTS = (
    Subject(
        name="skirt_b",
        betas=_betas(-0.85, 0.6, -1.0, -1.4, -1.0, -0.6),
        dress=_skirt_and_sailor_shirt,
        garments="sailor shirt, wide pleated skirt, long hair, shoes",
        motion=Motion(turn=2 * np.pi, back=False, arms=(0.9, 0.45), swings=2, elbow=0.35, stance=0.06),
        room=Room("paper", -1.3, "7d6a58"),
        light=Light(
            towards_key=(-1.0, 0.9, 0.6), key=(1.0, 0.95, 0.85),
            towards_fill=(1.0, 0.2, 0.5), fill=(0.12, 0.17, 0.28),
            above=(0.20, 0.21, 0.23), below=(0.10, 0.08, 0.06),
        ),
        camera=CameraSpot(0.0, 1.0, 3.0),
        test_cameras=(CameraSpot(0.9, 1.3, 3.1), CameraSpot(-2.4, 0.8, 2.9)),
        focal_per_width=1.25,
        seed=2,
    ),
    Subject(
        name="coat_c",
        betas=_betas(0.45, 0.3, 1.2, 1.0, 0.8, 0.3),
        dress=_coat_and_trousers,
        garments="long coat, loose trousers, short hair, shoes",
        motion=Motion(turn=-2 * np.pi, back=False, arms=(0.1, -0.7), swings=1.5, elbow=0.15, stance=0.12),
        room=Room("bricks", -0.9, "5e5148"),
        light=Light(
            towards_key=(1.0, 0.6, 0.35), key=(1.5, 1.3, 1.05),
            towards_fill=(-1.0, 0.3, -0.2), fill=(0.45, 0.2, 0.26),
            above=(0.30, 0.31, 0.36), below=(0.13, 0.13, 0.14),
        ),
        camera=CameraSpot(0.0, 1.55, 4.5),
        test_cameras=(CameraSpot(-0.8, 1.1, 4.5), CameraSpot(2.8, 1.7, 4.5)),
        focal_per_width=1.5,
        seed=3,
    ),
    Subject(
        name="hood_d",
        betas=_betas(-0.3, -0.5, 0.3, 0.2, -0.3, 0.4),
        dress=_hoodie_and_jeans,
        garments="hoodie with the hood up, wide jeans, shoes",
        motion=Motion(turn=np.pi, back=True, arms=(1.1, 0.3), swings=3, elbow=0.6, stance=0.15),
        room=Room("panels", -1.8, "8b8378"),
        light=Light(
            towards_key=(0.3, 1.2, 1.0), key=(0.75, 0.78, 0.8),
            towards_fill=(-1.0, 0.1, 0.7), fill=(0.25, 0.2, 0.1),
            above=(0.28, 0.28, 0.3), below=(0.12, 0.1, 0.09),
        ),
        camera=CameraSpot(0.0, 0.7, 2.9),
        test_cameras=(CameraSpot(0.7, 1.4, 3.0), CameraSpot(-1.9, 1.0, 2.9)),
        focal_per_width=1.08,
        seed=4,
    ),
)  # fmt: skip
