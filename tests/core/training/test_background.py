"""The room behind the person. Kind: behaviour on a synthetic static room with a disc walking through it."""

from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.training.background import BackgroundConfig, BackgroundPlate
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Frame

WIDTH, HEIGHT, RADIUS = 96, 64, 12
CAMERA = Camera(np.array([[80.0, 0, 48], [0, 80, 32], [0, 0, 1]]), WIDTH, HEIGHT, T_CAMERA_WORLD_UNPOSED)
PERSON = np.array([255, 0, 255], np.uint8)
EVERYTHING = (0, 0, WIDTH, HEIGHT, (WIDTH, HEIGHT))


def room(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def frame(index: int, behind: np.ndarray, camera: Camera = CAMERA) -> tuple[Frame, np.ndarray]:
    """A disc that walks from left to right, one radius in four frames; its mask reaches one pixel too short."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(x - 10 - 3 * (index % 26), y - 32)
    rgb = np.where((distance < RADIUS)[..., None], PERSON, behind)
    return Frame(index, rgb.astype(np.uint8), camera), (distance < RADIUS - 1).astype(np.float32)


def plate_after(count: int, behind: np.ndarray, config: BackgroundConfig | None = None) -> BackgroundPlate:
    plate = BackgroundPlate(config or BackgroundConfig(update_every=1))
    for i in range(count):
        plate.observe(*frame(i, behind))
    return plate


def seen(plate: BackgroundPlate) -> tuple[np.ndarray, np.ndarray]:
    crop = plate.crop(*EVERYTHING)
    assert crop is not None
    return crop


def test_a_static_room_is_learned_exactly_everywhere_behind_a_walking_disc():
    colors, known = seen(plate_after(60, room()))
    assert known.all()
    np.testing.assert_array_equal(colors, room())


def test_nothing_is_known_before_enough_views():
    plate = plate_after(5, room())
    assert plate.crop(*EVERYTHING) is None
    plate.observe(*frame(5, room()))
    assert seen(plate)[1].any()


def test_what_the_person_always_covers_stays_unknown_and_the_person_is_not_learned():
    plate = BackgroundPlate(BackgroundConfig())
    for _ in range(20):
        plate.observe(*frame(13, room()))
    colors, known = seen(plate)
    person = (frame(13, room())[0].rgb == PERSON).all(-1)
    assert not known[person].any() and known.mean() > 0.7
    np.testing.assert_array_equal(colors[known], room()[known])


def test_noise_averages_out():
    plate, rng = BackgroundPlate(BackgroundConfig(update_every=1)), np.random.default_rng(0)
    for i in range(60):
        noisy = np.clip(room() + rng.normal(0, 8, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        plate.observe(*frame(i, noisy))
    error = np.abs(seen(plate)[0].astype(float) - room())
    assert error.mean() < 2  # of 255: 8 / sqrt(45) and half a step of truncation are 1.2


@pytest.mark.parametrize("what", ["moved camera", "brighter light"])
def test_it_starts_over_when_the_picture_jumps(what: str):
    """The camera's pose is not known here, so only the picture tells."""
    other = np.roll(room(), 7, 1) if what == "moved camera" else (room() + 30).astype(np.uint8)
    plate = plate_after(30, room(), BackgroundConfig(update_every=1, exposure=what != "brighter light"))
    before = plate.room
    for i in range(30, 90):
        plate.observe(*frame(i, other))
    assert plate.room == before + 1
    colors, known = seen(plate)
    assert known.all()
    np.testing.assert_array_equal(colors, other)


@pytest.mark.parametrize("update_every", [1, 2])
def test_another_exposure_is_the_same_room_and_its_gain_is_found(update_every: int):
    """Gain and white balance that drift, clipped where too bright: the room stays exact to rounding."""
    plate = plate_after(30, room(), BackgroundConfig(update_every=update_every))
    before = plate.room
    for i in range(30, 60):
        gain = 1 + (i - 29) / 30 * np.array([0.6, 0.5, -0.4])
        person, mask = frame(i, np.rint(room() * gain).clip(0, 255).astype(np.uint8))
        plate.observe(person, mask)
        np.testing.assert_allclose(plate.gain, gain, rtol=0.01)  # half a step of 8 bits in 100, and the dead zone
    assert plate.room == before
    np.testing.assert_allclose(seen(plate)[0].astype(float), room(), atol=1)


def test_noise_alone_is_no_exposure():
    plate, rng = plate_after(30, room()), np.random.default_rng(0)
    for i in range(30, 40):
        plate.observe(*frame(i, np.clip(room() + rng.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)))
        np.testing.assert_array_equal(plate.gain, 1)


def test_a_camera_that_moves_keeps_its_exposure():
    plate = plate_after(30, room())
    for i in range(30, 33):
        plate.observe(*frame(i, np.rint(room() * 0.8).astype(np.uint8)))
    exposure = plate.gain
    plate.observe(*frame(33, np.roll(room(), 7, 1)))
    assert plate.room == 2
    np.testing.assert_array_equal(plate.gain, exposure)


def test_a_slow_change_within_the_drift_is_no_jump():
    plate = plate_after(30, room())
    before = plate.room
    for i in range(30, 40):
        plate.observe(*frame(i, (room() + 4).astype(np.uint8)))
    assert plate.room == before


@pytest.mark.parametrize("change", ["size", "intrinsics", "pose"])
def test_it_starts_over_when_the_camera_says_so(change: str):
    plate = plate_after(30, room())
    T = CAMERA.T_camera_world.copy()
    T[0, 3] = 0.01
    cameras = {
        "size": CAMERA.resized(48, 32),
        "intrinsics": replace(CAMERA, K=1.0 * CAMERA.K + np.diag([1, 0, 0])),
        "pose": replace(CAMERA, T_camera_world=T),
    }
    camera = cameras[change]
    picture = room()[: camera.height, : camera.width]  # at the same size, nothing but the camera has changed
    before = plate.room
    plate.observe(Frame(99, picture, camera), np.zeros((camera.height, camera.width), np.float32))
    assert plate.room == before + 1 and plate.crop(0, 0, 8, 8, (8, 8)) is None


def test_a_crop_at_half_size_is_the_mean_of_its_pixels():
    plate = plate_after(60, room())
    crop = plate.crop(10, 20, 50, 60, (20, 20))
    assert crop is not None and crop[1].all()
    blocks = room()[20:60, 10:50].reshape(20, 2, 20, 2, 3).mean((1, 3))
    np.testing.assert_allclose(crop[0], blocks, atol=0.51)


def test_a_pixel_mixed_from_known_and_unknown_ones_is_unknown():
    plate = BackgroundPlate(BackgroundConfig())
    for _ in range(10):
        plate.observe(*frame(13, room()))
    _, known = seen(plate)
    crop = plate.crop(0, 0, WIDTH, HEIGHT, (WIDTH // 2, HEIGHT // 2))
    assert crop is not None
    np.testing.assert_array_equal(crop[1], known.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).all((1, 3)))


@pytest.mark.parametrize("update_every", [1, 4, 5])
def test_versions_grow_ever_more_rarely_but_go_on_growing(update_every: int):
    """Every version makes every keyframe cut its background anew."""
    plate, versions = BackgroundPlate(BackgroundConfig(update_every=update_every)), []
    for i in range(520):
        plate.observe(*frame(i, room()))
        versions.append(plate.version)
    assert versions[5] > versions[4]  # min_views: the first crop there is
    assert versions[-1] > versions[260] > versions[100] > versions[30] and versions[-1] < 15


def test_switched_off_it_knows_nothing():
    plate = plate_after(30, room(), BackgroundConfig(enabled=False))
    assert plate.crop(*EVERYTHING) is None and plate.version == 0
