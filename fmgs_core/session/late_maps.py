"""What a session does about a slow model: which keyframes it shows to it, and what comes of its maps."""

from collections.abc import Callable

from fmgs_core.body.template import BodyModel
from fmgs_core.config import SessionConfig
from fmgs_core.priors import MapModel
from fmgs_core.priors.person import box_of
from fmgs_core.session.events import Event, MapsChecked
from fmgs_core.session.recording import StageTimes
from fmgs_core.session.side_car import SideCar, SideCarReport
from fmgs_core.tracking.second_look import SecondLook
from fmgs_core.training.trainer import Trainer
from fmgs_core.types import BodyState, Frame, PriorMaps


class LateMaps:
    """Does nothing without a model. All calls come from the session's thread; closing the model is the caller's."""

    def __init__(
        self,
        model: MapModel | None,
        body: BodyModel,
        config: SessionConfig,
        times: StageTimes,
        on_warning: Callable[[str], None],
        on_event: Callable[[Event], None],
    ):
        self._side_car = (
            None if model is None else SideCar(model, body, config.side_car, on_warning, device=config.trainer.device)
        )
        self._times, self._on_event = times, on_event
        self._has_said = False

    def start(self) -> None:
        """Looks at keyframes beside the session from then on; without this, at each as it comes."""
        if self._side_car is not None:
            self._side_car.start()

    def saw(self, frame: Frame, maps: PriorMaps, state: BodyState) -> None:
        """A frame that became a keyframe."""
        person = None if self._side_car is None else box_of(maps)
        if self._side_car is not None and person is not None:
            self._side_car.submit(frame, person, state)

    def attach(self, trainer: Trainer, second_look: SecondLook) -> None:
        """Hands over what has been made since: maps to their keyframes, landmarks to the second look at their frames. Those of
        keyframes and frames that had to go are lost."""
        if self._side_car is None:
            return
        for stamp_ns, maps in self._side_car.take():
            with self._times.measured("late maps"):
                trainer.attach(stamp_ns, maps)
                if maps.keypoints is not None:
                    second_look.attach(stamp_ns, maps.keypoints)
        if self._side_car.has_checked:
            self._say()

    def close(self) -> SideCarReport | None:
        """Ends the looking; what was found so far is said at the latest."""
        if self._side_car is None:
            return None
        self._side_car.close()
        self._say()
        return self._side_car.report

    def _say(self) -> None:
        assert self._side_car is not None
        report = self._side_car.report
        if not self._has_said and report.check.maps:
            self._has_said = True
            self._on_event(MapsChecked(report.model, report.check, report.ms))
