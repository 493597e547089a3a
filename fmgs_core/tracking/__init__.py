"""Causal tracking of one person's body state."""

from fmgs_core.tracking.tracker import BodyTracker, TrackedBody, TrackerConfig, TrackingStatus

__all__ = ["BodyTracker", "TrackedBody", "TrackerConfig", "TrackingStatus"]
