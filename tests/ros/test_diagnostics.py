"""What a node's status says. Kind: behaviour."""

from dataclasses import replace

import pytest

from fmgs_ros.diagnostics import DiagnosticsConfig, Health, Level, RateMeter, judged

WELL = Health(active=True, doing="drawing", age_s=0.1, rate_hz=20.0)
CONFIG = DiagnosticsConfig(stale_after_s=2.0, least_rate_hz=5.0)


@pytest.mark.parametrize(
    ("health", "level", "message"),
    [
        (WELL, Level.OK, "drawing"),
        (replace(WELL, fault="no disk"), Level.ERROR, "no disk"),
        (replace(WELL, fault="no disk", active=False), Level.ERROR, "no disk"),
        (replace(WELL, active=False, age_s=None), Level.OK, "not active"),
        (replace(WELL, idle="nobody subscribes", age_s=99.0), Level.OK, "nobody subscribes"),
        (replace(WELL, age_s=None), Level.WARN, "waiting for pictures"),
        (replace(WELL, age_s=2.5, waits_for="snapshots"), Level.WARN, "stale: no snapshots for 2.5 s"),
        (replace(WELL, rate_hz=4.0), Level.WARN, "slow: 4.0 Hz, expected at least 5 Hz"),
    ],
)
def test_level_and_message(health: Health, level: Level, message: str):
    assert judged(health, CONFIG)[:2] == (level, message)


def test_values_are_texts_with_their_units():
    _, _, values = judged(replace(WELL, values={"loss": 0.123456, "frames": 7, "model": "default"}))
    assert values == {
        "rate [Hz]": "20", "loss": "0.1235", "frames": "7", "model": "default", "age of the last output [s]": "0.1",
    }  # fmt: skip


def test_a_rate_is_that_of_the_last_seconds():
    now = 0.0
    meter = RateMeter(window_s=2.0, clock_s=lambda: now)
    assert meter.rate_hz == 0.0 and meter.age_s is None
    for _ in range(31):
        meter.tick()
        now += 0.1
    assert meter.rate_hz == pytest.approx(10.0)
    assert meter.age_s == pytest.approx(0.1) and meter.count == 31
    now += 10
    assert meter.rate_hz == 0.0 and meter.age_s == pytest.approx(10.1)


@pytest.mark.parametrize("values", [{"stale_after_s": 0.0}, {"least_rate_hz": -1.0}])
def test_settings_without_sense_are_refused(values: dict):
    with pytest.raises(ValueError, match="DiagnosticsConfig"):
        DiagnosticsConfig(**values)
