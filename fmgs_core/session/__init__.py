"""The online fit: source -> prior -> tracker -> trainer -> snapshots, the same under the command line, ROS and tests."""

from fmgs_core.session.result import Checkpoint, NobodyFound, SessionResult
from fmgs_core.session.session import Session

__all__ = ["Checkpoint", "NobodyFound", "Session", "SessionResult"]
