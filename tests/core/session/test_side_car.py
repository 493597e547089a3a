"""The slow model beside a session. Kinds: behaviour (what is looked at, when, and what breaks), determinism, exact times by a
clock of our own. No timed asserts: threads are waited for by events."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fmgs_core.config import Pace, SideCarConfig
from fmgs_core.priors import Box, DeviceMaps, MapModel
from fmgs_core.priors.template import template_maps
from fmgs_core.session import Session, SessionResult
from fmgs_core.session import side_car as side_car_module
from fmgs_core.session.events import Event, Finished, MapsChecked, Warned
from fmgs_core.session.side_car import GIVES_UP_AFTER, SideCar
from fmgs_core.types import Frame, Keypoints, PriorMaps

from .scene import BODY, CONFIG, FRAME_NS, ManualClock, Script, StreamClock, person, turning

WAIT_S = 30.0
SIDE = 160  # the check leaves out four pixels along the outline


def sighting(index: int) -> tuple[Frame, Box, object]:
    shot = person(index, SIDE)
    return Frame(index * FRAME_NS, shot.rgb, shot.camera), (0, 0, SIDE, SIDE), shot.state


class Model:
    """The body's own maps, changed by `change`; holds every look until `go` is set."""

    name = "a slow model"

    def __init__(self, change: Callable[[int, PriorMaps], PriorMaps] = lambda _, maps: maps, side: int = SIDE):
        self._change, self._side = change, side
        self.go, self.entered = threading.Event(), threading.Event()
        self.go.set()
        self.looked: list[int] = []
        self.persons: list[Box] = []

    def maps(self, frame: Frame, person_box: Box) -> PriorMaps:
        index = frame.stamp_ns // FRAME_NS
        self.looked.append(index)
        self.persons.append(person_box)
        self.entered.set()
        assert self.go.wait(WAIT_S)
        shot = person(index, self._side)
        assert shot.state is not None
        return self._change(index, template_maps(BODY, shot.state, frame.camera, trust=1.0))

    def close(self) -> None: ...


def fails(error: Exception) -> Callable[[int, PriorMaps], PriorMaps]:
    def change(index: int, maps: PriorMaps) -> PriorMaps:
        raise error

    return change


def flipped(index: int, maps: PriorMaps) -> PriorMaps:
    """As a model says that has x to the right, y up and z to the camera, and larger depths nearer."""
    assert maps.normal is not None and maps.depth is not None
    return replace(maps, normal=maps.normal * np.array((1, -1, -1), np.float32), depth=-maps.depth)


def side_car(model: MapModel, config: SideCarConfig | None = None, **other) -> tuple[SideCar, list[str]]:
    said: list[str] = []
    return SideCar(model, BODY, config or SideCarConfig(), said.append, **other), said


def same(a: PriorMaps, b: PriorMaps) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n != "labels") for n in ("normal", "depth", "labels"))


# -- the thread


def test_without_a_thread_every_look_is_taken_at_once():
    model = Model()
    car, _ = side_car(model)
    for i in range(3):
        car.submit(*sighting(i))
        ((stamp, maps),) = car.take()
        assert stamp == i * FRAME_NS and same(maps, template_maps(BODY, person(i, SIDE).state, person(i, SIDE).camera))
    car.close()
    assert car.report.maps == 3 and car.report.dropped == 0 and car.take() == []


def test_the_newest_goes_first_and_the_others_are_dropped():
    model = Model()
    model.go.clear()
    car, _ = side_car(model)
    car.start()
    car.submit(*sighting(0))
    assert model.entered.wait(WAIT_S)
    for i in (1, 2, 3):
        car.submit(*sighting(i))
    model.entered.clear()
    model.go.set()
    assert model.entered.wait(WAIT_S)
    car.close()
    assert model.looked == [0, 3] and [stamp // FRAME_NS for stamp, _ in car.take()] == [0, 3]
    assert car.report.dropped == 2


def test_closing_waits_for_the_look_under_way_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(side_car_module, "SAYS_IT_WAITS_AFTER_S", 0.01)
    model = Model()
    model.go.clear()
    said = []

    def hear(message: str) -> None:
        said.append(message)
        model.go.set()

    car = SideCar(model, BODY, SideCarConfig(), hear)
    car.start()
    car.submit(*sighting(0))
    assert model.entered.wait(WAIT_S)
    car.submit(*sighting(1))
    car.close()
    assert said[0] == "a slow model: waiting for the picture it looks at, which cannot be broken off"
    assert model.looked == [0] and not car._thread.is_alive()


@pytest.mark.parametrize(("budget", "rest"), [(1000.0, 0.0), (500.0, 0.25), (100.0, 2.25)])
def test_it_rests_so_that_its_share_of_the_time_is_the_budget(budget: float, rest: float):
    """A look of 0.25 s: 0.25 of 0.25 + rest seconds is the budget in thousandths."""
    clock, rests, rested = ManualClock(), [], threading.Event()

    def look(index: int, maps: PriorMaps) -> PriorMaps:
        clock.advance(0.25)
        return maps

    def sleep(_: threading.Event, seconds: float) -> None:
        rests.append(seconds)
        rested.set()

    car, _ = side_car(Model(look), SideCarConfig(budget), clock_s=clock, sleep=sleep)
    car.start()
    car.submit(*sighting(0))
    assert rested.wait(WAIT_S)
    car.close()
    assert rests == pytest.approx([rest]) and car.report.ms == pytest.approx(250)


@pytest.mark.parametrize("budget", [0.0, -1.0, 1001.0, float("nan")])
def test_budgets_that_cannot_be_are_refused(budget: float):
    with pytest.raises(ValueError, match=r"SideCarConfig\.budget_ms_per_s: expected more than 0 up to 1000, got"):
        SideCarConfig(budget)


# -- what breaks


def test_a_failure_is_said_once_and_the_third_in_a_row_is_the_last():
    model = Model(fails(RuntimeError("out of memory")))
    car, said = side_car(model)
    for i in range(5):
        car.submit(*sighting(i))
    assert model.looked == [0, 1, 2] and car.gave_up and car.take() == []
    assert len(said) == 2 and "RuntimeError: out of memory" in said[0] and f"given up after {GIVES_UP_AFTER}" in said[1]
    assert car.report.failures == 3 and car.report.maps == 0


def test_failures_that_are_not_in_a_row_do_not_end_it():
    def every_second(index: int, maps: PriorMaps) -> PriorMaps:
        return maps if index % 2 else fails(RuntimeError("now and then"))(index, maps)

    car, said = side_car(Model(every_second))
    for i in range(8):
        car.submit(*sighting(i))
    assert not car.gave_up and len(car.take()) == 4 and len(said) == 1


def test_maps_that_cannot_be_used_are_a_failure_with_a_name():
    car, said = side_car(Model(lambda _, maps: replace(maps, label_set="atr18")))
    car.submit(*sighting(0))
    assert "label_set: expected one of sapiens28, got 'atr18'" in said[0] and car.take() == []
    car, said = side_car(Model(lambda _, maps: replace(maps, keypoints=Keypoints("halpe26", np.zeros((26, 3))))))
    car.submit(*sighting(0))
    assert "keypoints.layout: expected one of" in said[0] and car.take() == []


# -- conventions


def test_maps_by_other_conventions_are_set_right_and_it_is_said():
    model = Model(flipped)
    car, said = side_car(model)
    for i in range(4):
        car.submit(*sighting(i))
        ((_, maps),) = car.take()
        assert same(maps, template_maps(BODY, person(i, SIDE).state, person(i, SIDE).camera))
    assert car.report.check.signs == (1, -1, -1) and car.report.check.depth_is_reversed
    assert [m.split(": ")[1].split()[0] for m in said] == ["normals", "depths"]


def test_when_the_check_changes_its_mind_the_first_maps_are_given_again():
    def unknown_first(index: int, maps: PriorMaps) -> PriorMaps:
        maps = flipped(index, maps)
        return replace(maps, normal=np.zeros_like(maps.normal), depth=-maps.depth) if index == 0 else maps

    car, _ = side_car(Model(unknown_first))
    car.submit(*sighting(0))
    assert [stamp for stamp, _ in car.take()] == [0]
    car.submit(*sighting(1))
    assert [stamp for stamp, _ in car.take()] == [0, FRAME_NS]


# -- on a device


class OnDevice(Model):
    """Leaves its maps where they are."""

    device = torch.device("cpu")

    def device_maps(self, frame: Frame, person_box: Box) -> DeviceMaps:
        maps = self.maps(frame, person_box)
        tensors = (torch.from_numpy(x) for x in (maps.normal, maps.depth, maps.labels) if x is not None)
        return DeviceMaps(*tensors, maps.label_set, maps.geometry_trust)


def test_maps_stay_on_the_trainers_device_once_they_were_compared():
    """And by the conventions that were found."""
    car, _ = side_car(OnDevice(flipped), device=torch.device("cpu"))
    for i in range(5):
        car.submit(*sighting(i))
    made = [maps for _, maps in car.take()]
    assert [type(maps) for maps in made] == [PriorMaps] * 3 + [DeviceMaps] * 2
    right = template_maps(BODY, person(4, SIDE).state, person(4, SIDE).camera)
    assert np.array_equal(made[4].normal.numpy(), right.normal) and made[4].labels.dtype == torch.uint8
    np.testing.assert_array_equal(made[4].depth.numpy(), right.depth)


def test_maps_of_another_device_come_through_the_host():
    car, _ = side_car(OnDevice(), device=torch.device("cuda"))
    for i in range(5):
        car.submit(*sighting(i))
    assert {type(maps) for _, maps in car.take()} == {PriorMaps}


# -- in a session


def run(model: Model, pace: Pace, hear: Callable[[Event], None] = lambda _: None, side: int = 48) -> SessionResult:
    script = Script([person(i, side) for i in range(5)])
    clock = StreamClock(script)

    def on_event(event: Event) -> None:
        clock.hear(event)
        hear(event)

    config = replace(CONFIG, trainer=replace(CONFIG.trainer, auxiliary_every=1))
    return Session(script, script, script, BODY, config, on_event, model=model, clock_s=clock).run(pace)


def logits(result: SessionResult) -> torch.Tensor:
    return result.avatar.field.logits


def test_at_pace_all_every_keyframe_is_looked_at_and_a_run_repeats_itself():
    runs = []
    for _ in range(2):
        model, events = Model(flipped), []
        runs.append(run(model, Pace.ALL, events.append, SIDE))
        assert model.looked == [0, 1, 2, 3, 4]
        (checked,) = [e for e in events if isinstance(e, MapsChecked)]
        assert checked.model == model.name and checked.check.signs == (1, -1, -1) and checked.check.maps == 3
        assert isinstance(events[-1], Finished)
    a, b = runs
    assert all(torch.equal(v, b.snapshot.tensors[n]) for n, v in a.snapshot.tensors.items())
    assert a.side_car is not None and a.side_car.maps == 5 and a.side_car.dropped == 0
    assert not torch.equal(logits(a), logits(run(Model(fails(RuntimeError("none"))), Pace.ALL, side=SIDE)))


def test_a_look_is_at_the_person():
    model = Model(side=48)
    run(model, Pace.ALL)
    rows, columns = np.nonzero(person(0).mask)
    assert model.persons[0] == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_at_pace_live_late_maps_are_learned_from():
    learned = run(Model(side=48), Pace.LIVE)
    assert learned.side_car is not None
    assert learned.side_car.maps >= 1 and learned.side_car.maps + learned.side_car.dropped <= 5
    assert learned.timings_ms["late maps"] > 0 or learned.side_car.maps == 0


@pytest.mark.parametrize("pace", [Pace.ALL, Pace.LIVE])
def test_a_model_that_fails_leaves_the_session_as_without_it(pace: Pace):
    events: list[Event] = []
    result = run(Model(fails(RuntimeError("no such layer"))), pace, events.append)
    said = [e.message for e in events if isinstance(e, Warned)]
    assert sum("no such layer" in m for m in said) in (1, 2) and result.snapshot.iterations > 0
    assert result.side_car is not None and result.side_car.maps == 0
    assert not any(t.name == "fmgs-maps" for t in threading.enumerate())


def test_without_a_model_nothing_is_said_of_one():
    script = Script(list(turning(2)))
    result = Session(script, script, script, BODY, CONFIG, clock_s=StreamClock(script)).run(Pace.ALL)
    assert result.side_car is None and "late maps" not in result.timings_ms
