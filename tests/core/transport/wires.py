"""Snapshots to send, a wire that can be cut, and servers that lie."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import torch
import zmq

from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.transport.protocol import Reply, Request, parsed_request


def snapshot(gaussians: int = 30_000, seed: int = 0, iterations: int = 7) -> AvatarSnapshot:
    """3.5 MB by default: seven chunks."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "betas": torch.zeros(4),
        "observed": torch.zeros(gaussians),
        "field.logits": torch.randn(gaussians, 28, generator=generator),
    }
    return AvatarSnapshot("default", tensors, iterations, frames_seen=3)


def same(a: AvatarSnapshot, b: AvatarSnapshot) -> bool:
    tensors = a.tensors.keys() == b.tensors.keys() and all(torch.equal(v, b.tensors[k]) for k, v in a.tensors.items())
    return tensors and (a.body_name, a.iterations, a.frames_seen) == (b.body_name, b.iterations, b.frames_seen)


class Wire:
    """A TCP relay in front of a server: it cuts a connection after so many bytes of replies, for `cuts` times; then it relays
    on, or is dead for good."""

    def __init__(self, endpoint: str, cut_after_bytes: int, cuts: int, for_good: bool = False):
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self._to, self._cut_after_bytes, self.cuts_left = (host, int(port)), cut_after_bytes, cuts
        self._for_good = for_good
        self.relayed_bytes = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(self._to)
                self._open += [near, far]
                threading.Thread(target=self._relay, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._relay, args=(far, near, True), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, replies: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                passed += len(data)
                self.relayed_bytes += replies * len(data)
                if replies and self.cuts_left and passed > self._cut_after_bytes:
                    self.cuts_left -= 1
                    if self._for_good:
                        self.close()
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def lying_server(answer: Callable[[Request], list[bytes] | None]) -> Iterator[str]:
    """A server that answers each request with the frames that `answer` makes; None is silence."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    port = router.bind_to_random_port("tcp://127.0.0.1")

    def serve() -> None:
        with contextlib.suppress(zmq.ContextTerminated):
            while True:
                peer, frame = router.recv_multipart()
                frames = answer(parsed_request(frame))
                if frames is not None:
                    router.send_multipart([peer, *frames])
        router.close(linger=0)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"tcp://127.0.0.1:{port}"
    context.term()
    thread.join()


def frames(reply: Reply) -> list[bytes]:
    return [bytes(frame) for frame in reply.frames()]
