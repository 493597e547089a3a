"""What stands before the person is not compared. Kinds: property on drawn pictures, behaviour of the loss and of the plate."""

import numpy as np
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.raster import rasterize
from fmgs_core.training.background import BackgroundConfig, BackgroundPlate
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.picture_loss import picture_losses
from fmgs_core.training.schedule import ScheduleConfig
from fmgs_core.training.targets import MASK_TRUST_AT_EDGE, Backdrop, make_backdrop, strangers
from fmgs_core.training.trainer import Trainer, TrainerConfig
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Channel, Frame

from .scene import camera, observation, person, state, turn

SIZE = 100
ROOM = np.full((SIZE, SIZE, 3), 120, np.uint8)
KNOWN = np.ones((SIZE, SIZE), bool)
KNOWN[20:80, 40:60] = False  # where the person always is
PERSON = np.zeros((SIZE, SIZE), np.float32)
PERSON[10:90, 30:70] = 1
POLE = np.s_[:, 45:55]


def scene(pole_in_mask: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask of a person behind a pole."""
    picture, mask = np.where(PERSON[..., None] > 0, np.uint8(220), ROOM), PERSON.copy()
    picture[POLE] = 10
    if not pole_in_mask:
        mask[POLE] = 0
    return picture, mask


def test_a_pole_that_the_mask_leaves_out_is_found_over_the_room_and_over_the_person():
    picture, mask = scene()
    found = strangers(picture, mask, ROOM, KNOWN, settled=True)
    assert found[POLE].all() and found.sum() == found[POLE].sum()


def test_before_the_room_is_settled_what_is_unknown_may_be_room():
    picture, mask = scene()
    found = strangers(picture, mask, ROOM, KNOWN, settled=False)
    assert not found[~KNOWN].any() and found[:20, 45:55].all()


def test_outlines_noise_and_soft_shadows_are_no_strangers():
    """A mask that misses two pixels all round, noise of 8, a shadow of a tenth."""
    picture = np.where(PERSON[..., None] > 0, np.uint8(220), ROOM).astype(float)
    picture[90:, :] *= 0.9
    picture = np.rint(picture + np.random.default_rng(0).normal(0, 8, picture.shape)).clip(0, 255).astype(np.uint8)
    mask = np.zeros_like(PERSON)
    mask[12:88, 32:68] = 1
    assert not strangers(picture, mask, ROOM, np.ones_like(KNOWN), settled=True).any()


def test_trust_is_zero_exactly_there():
    picture, mask = scene()
    backdrop = make_backdrop(1, ROOM, KNOWN, torch.from_numpy(mask), torch.from_numpy(picture), settled=True)
    found = strangers(picture, mask, ROOM, KNOWN, settled=True)
    np.testing.assert_array_equal(backdrop.mask_trust.numpy() == 0, found)
    assert set(np.unique(backdrop.mask_trust.numpy()).tolist()) == {0.0, np.float32(MASK_TRUST_AT_EDGE), 1.0}


def test_where_nothing_is_compared_no_gradient_comes_from():
    """Far inside of it, colour and alpha get exactly nothing; beside it they do."""
    generator = torch.Generator().manual_seed(0)
    rgb, alpha = torch.rand(60, 60, 3, generator=generator), 0.2 + 0.7 * torch.rand(60, 60, generator=generator)
    rgb, alpha = (rgb * alpha[..., None]).requires_grad_(), alpha.requires_grad_()
    trust = torch.ones(60, 60)
    trust[10:50, 10:50] = 0
    picture = torch.randint(0, 256, (60, 60, 3), dtype=torch.uint8, generator=generator)
    backdrop = Backdrop(1, torch.zeros_like(picture), torch.ones(60, 60, dtype=torch.bool), trust)
    losses = picture_losses(rgb, alpha, picture, torch.ones(60, 60), backdrop, torch.rand(3))
    (losses.color + losses.mask).backward()
    assert rgb.grad is not None and alpha.grad is not None
    inside, outside = np.s_[25:35, 25:35], np.s_[:8, :]
    # of SSIM of a picture with itself float32 leaves 1e-4 of the gradient beside
    assert rgb.grad[inside].abs().max() < 1e-3 * rgb.grad[outside].abs().median()
    assert alpha.grad[inside].abs().max() < 1e-3 * alpha.grad[outside].abs().median()


def plate_of(pictures: list[np.ndarray]) -> tuple[BackgroundPlate, np.ndarray]:
    plate = BackgroundPlate(BackgroundConfig(update_every=1))
    camera = Camera(np.array([[80.0, 0, 50], [0, 80, 50], [0, 0, 1]]), SIZE, SIZE, T_CAMERA_WORLD_UNPOSED)
    for i, picture in enumerate(pictures):
        plate.observe(Frame(i, picture, camera), np.zeros((SIZE, SIZE), np.float32))
    crop = plate.crop(0, 0, SIZE, SIZE, (SIZE, SIZE))
    assert crop is not None
    return plate, crop[0]


def test_what_passes_by_leaves_no_trace_in_the_room_and_is_no_move_of_the_camera():
    """A bright box over a sixth of the picture in one of three frames, in the first too."""
    pictures = [ROOM.copy() for _ in range(30)]
    for i in range(0, 30, 3):
        pictures[i][20:60, 20:60] = 255
    plate, colors = plate_of(pictures)
    assert plate.room == 1
    np.testing.assert_array_equal(colors, ROOM)


def test_a_chair_that_was_moved_for_good_is_learned_anew():
    pictures = [ROOM.copy() for _ in range(40)]
    for picture in pictures[10:]:
        picture[20:40, 20:40] = 30
    _, colors = plate_of(pictures)
    np.testing.assert_array_equal(colors, pictures[-1])


def error_behind_a_pole(strangers: bool) -> float:
    """Of the colours from the front, after a turn of which a third was seen behind poles that the masks leave out."""
    config = TrainerConfig(
        memory=MemoryConfig(held_out=0),
        schedule=ScheduleConfig(geometry_after_keyframes=1000),
        background=BackgroundConfig(strangers=strangers),
        refine_pose=False,
        newest_share=0.0,
    )
    trainer, rng = Trainer(Avatar(default_body()), config), np.random.default_rng(0)
    for i, of in enumerate(turn(36)):
        frame, maps = observation(i, of, camera(), geometry=False)
        assert maps.mask is not None
        if i % 3 == 2:
            left = int(rng.integers(38, 48))
            frame.rgb[8:88, left : left + 10], maps.mask[:, left : left + 10] = (255, 0, 255), 0
        trainer.add(frame, maps, of)
    for _ in range(120):
        trainer.step()
    drawn = frozenset({Channel.RGB})
    truth, found = (rasterize(a.drawn(state()), camera(), drawn, cull_backfaces=True) for a in (person(), trainer.avatar))
    assert truth.rgb is not None and found.rgb is not None
    return float((found.rgb - truth.rgb)[truth.alpha > 0.9].abs().mean())


def test_a_person_behind_poles_stays_whole():
    """Measured 0.0112 with strangers left out, 0.0121 without: what the poles cost at 96 px."""
    assert error_behind_a_pole(True) < 0.97 * error_behind_a_pole(False)
