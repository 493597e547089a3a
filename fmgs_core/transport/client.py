"""The renderer's side: fetches announced versions, and keeps what came when the connection breaks."""

import contextlib
import hashlib
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from types import TracebackType

import zmq

from fmgs_core.avatar.snapshot import AvatarSnapshot, from_bytes
from fmgs_core.transport.announcement import Announcement
from fmgs_core.transport.endpoints import host_of, is_loopback
from fmgs_core.transport.errors import SnapshotGone, SnapshotRefused, SnapshotUnreachable, TransportError
from fmgs_core.transport.keys import ClientKeys
from fmgs_core.transport.protocol import CHUNK_BYTES, Kind, Reply, Request, parsed_reply

_TRIES = 3
"""Within one timeout; each on a connection of its own."""
_LEAST_CHUNK_BYTES = 16 * 1024
_HEARTBEAT_MS = 1000


@dataclass
class _Download:
    """What came so far of one announced version."""

    of: Announcement
    content: bytearray = field(default_factory=bytearray)
    chunk_bytes: int = CHUNK_BYTES

    def is_same(self, announcement: Announcement) -> bool:
        """The same bytes, from whatever address."""
        return (self.of.sha256, self.of.bytes) == (announcement.sha256, announcement.bytes)

    @property
    def missing(self) -> int:
        return self.of.bytes - len(self.content)


class SnapshotClient:
    """Fetches versions, one at a time. `close` may come from another thread, nothing else may. A context manager.

    Args:
        timeout_s: without a single new byte, after which a fetch gives up.
        keys: for servers beyond this machine; with keys only their server is believed, also on loopback.
        limit_s: on one fetch, however steadily it drips.
        max_bytes: on one version; memory stays below twice that.
    """

    def __init__(
        self,
        timeout_s: float = 5.0,
        keys: ClientKeys | None = None,
        *,
        limit_s: float = 120.0,
        max_bytes: int = 256 * 2**20,
    ):
        if not 0 < timeout_s <= limit_s or max_bytes < 1:
            raise ValueError(
                f"SnapshotClient: expected 0 < timeout_s <= limit_s and max_bytes of at least 1, got {timeout_s}, {limit_s}"
                f" and {max_bytes}"
            )
        self._timeout_s, self._limit_s, self._max_bytes, self._keys = timeout_s, limit_s, max_bytes, keys
        self._context, self._ticket = zmq.Context(), 0
        self._download: _Download | None = None

    @property
    def held_bytes(self) -> int:
        """Kept of a version that has not come whole."""
        return len(self._download.content) if self._download else 0

    def fetch(self, announcement: Announcement) -> AvatarSnapshot:
        """The announced version, its hash checked. A fetch that did not come through goes on where it broke when the same
        version is asked for again.

        Raises:
            SnapshotGone: the server has newer ones only.
            SnapshotUnreachable: no answer within timeout_s, or not whole within limit_s.
            SnapshotRefused: too large, from where it must not come, or not what was announced.
            TransportError: closed meanwhile.
        """
        if self._context.closed:
            raise TransportError("the snapshot client was closed")
        self._check(announcement)
        if self._download is None or not self._download.is_same(announcement):
            self._download = _Download(announcement)
        self._download.of = announcement
        try:
            self._complete(self._download)
            return _verified(self._download)
        except (SnapshotGone, SnapshotRefused):
            self._download = None
            raise
        except zmq.ContextTerminated as closed:
            raise TransportError("the snapshot client was closed") from closed
        finally:
            if self._download is not None and not self._download.missing:
                self._download = None

    def close(self) -> None:
        """Ends a fetch in progress."""
        self._context.term()

    def __enter__(self) -> "SnapshotClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check(self, announcement: Announcement) -> None:
        """Refuses what must not even be asked for."""
        endpoint, server_key = announcement.endpoint, announcement.server_key
        if announcement.bytes > self._max_bytes:
            raise SnapshotRefused(f"snapshot of {announcement.bytes} bytes: expected at most {self._max_bytes}")
        if self._keys is not None and server_key != self._keys.server:
            raise SnapshotRefused(f"{endpoint}: expected the server whose key lies beside this client's, got another or none")
        if self._keys is None and server_key:
            raise SnapshotRefused(f"{endpoint} needs keys: copy client.key_secret and server.key from the trainer's folder")
        if self._keys is None and not is_loopback(host_of(endpoint)):
            raise SnapshotRefused(f"{endpoint} is beyond this machine: expected keys, made with `fmgs keys --out DIR`")

    def _complete(self, download: _Download) -> None:
        """Asks for chunk after chunk; every try without an answer costs a new connection and halves the chunk, for a slow
        link brings a small one where a large one never arrives in time."""
        deadline_s, failed, cause = time.monotonic() + self._limit_s, 0, ""
        while download.missing:
            try:
                with self._connected(download.of) as dealer:
                    while download.missing and time.monotonic() < deadline_s:
                        self._add_chunk(dealer, download)
                        failed = 0
            except (TimeoutError, zmq.ZMQError) as error:
                if isinstance(error, zmq.ContextTerminated):
                    raise
                failed, cause = failed + 1, str(error)
                download.chunk_bytes = max(download.chunk_bytes // 2, _LEAST_CHUNK_BYTES)
            if failed == _TRIES or time.monotonic() >= deadline_s:
                raise SnapshotUnreachable(self._why_unreachable(download, cause))

    def _why_unreachable(self, download: _Download, cause: str) -> str:
        of = download.of
        hint = "is this client's key among the trainer's?" if self._keys else "loopback reaches the trainer's machine only"
        return (
            f"{of.endpoint}: {len(download.content)} of {of.bytes} bytes of version {of.version} came;"
            f" {cause or f'not whole within {self._limit_s:g} s'} (is the trainer running? {hint})"
        )

    @contextlib.contextmanager
    def _connected(self, announcement: Announcement) -> Generator[zmq.Socket, None, None]:
        dealer = self._context.socket(zmq.DEALER)
        try:
            dealer.linger, dealer.sndhwm, dealer.rcvhwm, dealer.maxmsgsize = 0, 2, 2, CHUNK_BYTES
            dealer.ipv6 = ":" in host_of(announcement.endpoint)
            dealer.heartbeat_ivl, dealer.heartbeat_timeout = _HEARTBEAT_MS, round(self._timeout_s * 1000)
            if self._keys:
                dealer.curve_serverkey = self._keys.server.encode()
                dealer.curve_publickey, dealer.curve_secretkey = self._keys.public.encode(), self._keys.secret.encode()
            dealer.connect(announcement.endpoint)
            yield dealer
        finally:
            dealer.close(linger=0)

    def _add_chunk(self, dealer: zmq.Socket, download: _Download) -> None:
        length = min(download.missing, download.chunk_bytes)
        self._ticket += 1
        of = download.of
        dealer.send(Request(self._ticket, of.avatar_id, of.version, len(download.content), length).packed())
        reply = self._awaited(dealer)
        if reply.kind is Kind.GONE:
            raise SnapshotGone(of.version, reply.newest)
        if reply.kind is Kind.BAD:
            raise SnapshotRefused(f"{of.endpoint}: the server says: {reply.reason}")
        if len(reply.payload) != length:
            raise SnapshotRefused(f"{of.endpoint}: expected {length} bytes, got {len(reply.payload)}")
        download.content += reply.payload

    def _awaited(self, dealer: zmq.Socket) -> Reply:
        """The reply to the newest request; late ones to earlier requests are passed over.

        Raises:
            TimeoutError: none came.
        """
        deadline_s = time.monotonic() + self._timeout_s / _TRIES
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not dealer.poll(round(left_s * 1000) + 1):
                break
            try:
                reply = parsed_reply(dealer.recv_multipart())
            except ValueError as error:
                raise SnapshotRefused(str(error)) from error
            if reply.ticket in (self._ticket, 0):  # 0: the server could not read the request
                return reply
        raise TimeoutError(f"no answer within {self._timeout_s:g} s")


def _verified(download: _Download) -> AvatarSnapshot:
    content = bytes(download.content)
    if (got := hashlib.sha256(content).hexdigest()) != download.of.sha256:
        raise SnapshotRefused(f"snapshot version {download.of.version}: expected sha256 {download.of.sha256}, got {got}")
    try:
        return from_bytes(content, f"snapshot version {download.of.version}")
    except ValueError as error:
        raise SnapshotRefused(str(error)) from error
