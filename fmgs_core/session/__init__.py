"""The online fit: source -> prior -> tracker -> trainer -> snapshots, the same under the command line, ROS and tests."""

from fmgs_core.session.session import NobodyFound, Session, SessionResult

__all__ = ["NobodyFound", "Session", "SessionResult"]
