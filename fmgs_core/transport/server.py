"""The trainer's side: versions go on a shelf, a thread of its own hands them out."""

import contextlib
import threading
from types import TracebackType

import zmq
from zmq.utils import z85

from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.transport.announcement import Announcement
from fmgs_core.transport.endpoints import host_of, is_loopback, reachable
from fmgs_core.transport.keys import ServerKeys
from fmgs_core.transport.protocol import CHUNK_BYTES, Kind, Reply, Request, parsed_request
from fmgs_core.transport.shelf import Shelf

_UNREAD_REPLIES = 2  # of one peer; more are dropped, so a peer that asks and never reads costs no memory
_UNREAD_REQUESTS = 16
_LARGEST_FRAME = 2048  # a peer that sends more is hung up on; a request is 97 bytes, but CURVE's handshake has frames of 300
_HEARTBEAT_MS, _PEER_SILENT_MS, _HANDSHAKE_MS = 2000, 6000, 5000


class SnapshotServer:
    """Serves the newest versions of an avatar until it is closed. A context manager.

    Its thread only slices and sends; what a client does, or fails to do, never reaches the caller of `publish`. Several
    clients are served at once, chunk by chunk in the order they ask.

    Args:
        bind: tcp://INTERFACE:PORT, port * for any free one. Beyond loopback only with keys.
        keys: encrypt, and admit only the clients whose public keys they hold.
        advertise: the host that announcements name, where a socket bound to all interfaces has none of its own; by default
            this machine's name.
        keep: versions held. A client that takes longer for one than it takes to publish so many starts over with a newer.

    Raises:
        ValueError: an address that cannot be bound, or one beyond loopback without keys.
    """

    def __init__(self, bind: str = "tcp://127.0.0.1:*", keys: ServerKeys | None = None, *, advertise: str = "", keep: int = 4):
        host = host_of(bind, "bind")
        if keys is None and not is_loopback(host):
            raise ValueError(
                f"bind: expected a loopback address such as tcp://127.0.0.1:*, or keys, got {bind} without keys:"
                " make them with `fmgs keys --out DIR`"
            )
        self._keys, self._shelf, self._context = keys, Shelf(keep), zmq.Context()
        try:
            self._gate = self._bound_gate() if keys else None
            self._router = self._bound_router(bind, ipv6=":" in host)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise ValueError(f"bind: expected a free address of this machine, got {bind}: {error}") from error
        self.endpoint = reachable(self._router.get_string(zmq.LAST_ENDPOINT), advertise)
        """What announcements tell clients to connect to."""
        self._thread = threading.Thread(target=self._serve, name="snapshot server", daemon=True)
        self._thread.start()

    def publish(self, snapshot: AvatarSnapshot) -> Announcement:
        """Puts a new version on the shelf. Costs the caller its serialisation and hash, 1.1 ms per MB, and never waits for a
        client."""
        version = self._shelf.put(snapshot)
        return Announcement(
            avatar_id=version.avatar_id,
            version=version.number,
            bytes=len(version.content),
            sha256=version.sha256,
            endpoint=self.endpoint,
            server_key=self._keys.public if self._keys else "",
            iterations=snapshot.iterations,
            frames_seen=snapshot.frames_seen,
            gaussians=len(snapshot.tensors.get("observed", ())),
            body_model=snapshot.body_name,
        )

    def start_anew(self) -> None:
        """After a reset or a load: another avatar_id, versions from 1, and those of the avatar before are gone."""
        self._shelf.start_anew()

    def close(self) -> None:
        """Ends the thread and frees the port; clients see a server that does not answer."""
        self._context.term()
        self._thread.join()

    def __enter__(self) -> "SnapshotServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _bound_router(self, bind: str, *, ipv6: bool) -> zmq.Socket:
        router = self._context.socket(zmq.ROUTER)
        router.linger, router.sndhwm, router.rcvhwm, router.maxmsgsize = 0, _UNREAD_REPLIES, _UNREAD_REQUESTS, _LARGEST_FRAME
        router.ipv6 = ipv6
        router.heartbeat_ivl, router.heartbeat_timeout, router.handshake_ivl = _HEARTBEAT_MS, _PEER_SILENT_MS, _HANDSHAKE_MS
        if self._keys:
            router.curve_server, router.curve_secretkey = True, self._keys.secret.encode()
            router.zap_domain = b"fmgs"
        router.bind(bind)
        return router

    def _bound_gate(self) -> zmq.Socket:
        """Where libzmq asks whether a key is admitted (ZeroMQ RFC 27); it must be there before the first client."""
        gate = self._context.socket(zmq.REP)
        gate.linger = 0
        gate.bind("inproc://zeromq.zap.01")
        return gate

    def _serve(self) -> None:
        answers = {self._router: self._answer} | ({self._gate: self._admit} if self._gate else {})
        poller = zmq.Poller()
        for socket in answers:
            poller.register(socket, zmq.POLLIN)
        try:
            with contextlib.suppress(zmq.ContextTerminated):  # how close() ends the loop
                while True:
                    for socket, _ in poller.poll():
                        answers[socket]()
        finally:
            for socket in answers:
                socket.close(linger=0)

    def _answer(self) -> None:
        peer, *frames = self._router.recv_multipart()
        self._router.send_multipart([peer, *self._reply(frames).frames()], copy=False)

    def _reply(self, frames: list[bytes]) -> Reply:
        try:
            request = parsed_request(b"".join(frames))
        except ValueError as error:
            return Reply(Kind.BAD, 0, str(error).encode())
        version = self._shelf.find(request.avatar_id, request.version)
        if version is None:
            return Reply.gone(request.ticket, self._shelf.newest)
        return _slice(version.content, request)

    def _admit(self) -> None:
        assert self._gate is not None and self._keys is not None
        version, ticket, *_, mechanism, key = self._gate.recv_multipart()
        known = mechanism == b"CURVE" and z85.encode(key).decode("ascii") in self._keys.clients
        status = [b"200", b"OK"] if known else [b"400", b"this client's key is not among the server's"]
        self._gate.send_multipart([version, ticket, *status, b"", b""])


def _slice(content: bytes, request: Request) -> Reply:
    end = request.offset + request.length
    if not 0 < request.length <= CHUNK_BYTES or end > len(content):
        expected = f"1 to {CHUNK_BYTES} bytes that end by {len(content)}"
        return Reply(
            Kind.BAD, request.ticket, f"range: expected {expected}, got {request.length} from {request.offset}".encode()
        )
    return Reply(Kind.DATA, request.ticket, memoryview(content)[request.offset : end])
