"""Why a snapshot did not come."""


class TransportError(RuntimeError):
    """Base of the reasons; each says what to do about it."""


class SnapshotGone(TransportError):
    """The server has no such version any more: wait for the next announcement."""

    def __init__(self, wanted: int, newest: int):
        super().__init__(f"version {wanted} is gone: newest is {newest}")
        self.newest = newest
        """Version the server would give, of its present avatar; 0 when it has none."""


class SnapshotUnreachable(TransportError):
    """No answer within the timeout: the trainer is away, or it does not know this client's key. What came is kept, and the
    next attempt goes on behind it."""


class SnapshotRefused(TransportError):
    """What came is not what was announced; nothing of it was used."""
