"""Suite `render`: pictures of a finished avatar."""

from collections.abc import Callable, Iterator

from fmgs_core.avatar.model import Avatar
from fmgs_core.benchmark.device import finished
from fmgs_core.benchmark.measurement import Measurement, Progress, speeds
from fmgs_core.benchmark.person import turning_person
from fmgs_core.benchmark.settings import BenchmarkConfig
from fmgs_core.body.template import BodyModel
from fmgs_core.rendering.pictures import draw
from fmgs_core.types import Channel

TOLERANCE = 0.25
CHANNELS = {
    "colour": frozenset({Channel.RGB}),
    "colour, alpha and labels": frozenset({Channel.RGB, Channel.LOGITS}),
    "everything": frozenset(Channel),
}


def render_suite(
    body: BodyModel, config: BenchmarkConfig, reference: Callable[[], object] | None, progress: Progress
) -> Iterator[Measurement]:
    """Milliseconds of posing alone, and of pictures from the body state on; `reference` as in step_suite."""
    suite = "render" if config.device == "cpu" else f"render {config.device}"
    view = turning_person(body, 1, config.size_px, config.person_px)[0]
    avatar = Avatar(body, device=config.device)

    def picture(channels: frozenset[Channel]) -> Callable[[], object]:
        return lambda: draw(avatar, view.state, view.frame.camera, channels, config.device)

    calls = {"posing": lambda: avatar.drawn(view.state), **{name: picture(channels) for name, channels in CHANNELS.items()}}
    calls = {name: finished(call, config.device) for name, call in calls.items()}
    progress(f"{suite}: {config.repeats + config.warm_up} rounds of {len(calls)} pictures")
    yield from speeds(suite, calls, reference, config.repeats, config.warm_up, TOLERANCE)
