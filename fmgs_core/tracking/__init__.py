"""Causal tracking of one person's body state, and a second look at what was tracked."""

from fmgs_core.tracking.second_look import SecondLook
from fmgs_core.tracking.smoothing import SmoothingConfig
from fmgs_core.tracking.tracker import BodyTracker, TrackedBody, TrackerConfig, TrackingStatus

__all__ = ["BodyTracker", "SecondLook", "SmoothingConfig", "TrackedBody", "TrackerConfig", "TrackingStatus"]
