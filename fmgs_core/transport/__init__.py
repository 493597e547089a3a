"""Snapshots over ZeroMQ: a trainer serves versions, renderers on this or another machine fetch them.

A version is fetched in chunks, each asked for by its byte offset, so that a break costs one chunk. What is announced (by
ROS or any other way) names the version's hash; nothing is read before all of it agrees with that hash, and nothing is
ever unpickled. Beyond the machine itself both sides need CURVE keys.
"""

from fmgs_core.transport.announcement import Announcement
from fmgs_core.transport.client import SnapshotClient
from fmgs_core.transport.errors import SnapshotGone, SnapshotRefused, SnapshotUnreachable, TransportError
from fmgs_core.transport.keys import ClientKeys, ServerKeys
from fmgs_core.transport.server import SnapshotServer

__all__ = [
    "Announcement",
    "ClientKeys",
    "ServerKeys",
    "SnapshotClient",
    "SnapshotGone",
    "SnapshotRefused",
    "SnapshotServer",
    "SnapshotUnreachable",
    "TransportError",
]
