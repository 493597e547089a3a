"""Peers that lie, and garbage. Kind: poison; nothing hangs, nothing unverified is read, the others are served on."""

import hashlib
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from fmgs_core.transport import Announcement, SnapshotClient, SnapshotRefused, SnapshotServer, SnapshotUnreachable
from fmgs_core.transport.protocol import CHUNK_BYTES, Kind, Reply, Request, parsed_reply, parsed_request

from .wires import frames, lying_server, same, snapshot


@pytest.fixture
def server() -> Iterator[SnapshotServer]:
    with SnapshotServer() as server:
        yield server


@pytest.fixture
def dealer(server: SnapshotServer) -> Iterator[zmq.Socket]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger, dealer.rcvtimeo = 0, 5000
        dealer.connect(server.endpoint)
        yield dealer


def assert_still_serves(server: SnapshotServer) -> None:
    with SnapshotClient(timeout_s=5.0) as client:
        assert same(client.fetch(server.publish(snapshot(10))), snapshot(10))


REQUEST = Request(1, "a", 1, 0, 10).packed()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"", "request: expected 33 to 97 bytes, got 0"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "expected b'FMGS' and protocol 1, got b'GET '"),
        (REQUEST[:4] + b"\x02" + REQUEST[5:], "and protocol 1, got b'FMGS' and 2"),
        (REQUEST[:33] + b"\xff\xfe", "utf-8"),
        (os.urandom(97), "request: expected"),
        (pickle.dumps(print), "request: expected"),
    ],
)
def test_a_garbage_request_is_answered_with_what_is_wrong(server: SnapshotServer, dealer: zmq.Socket, frame: bytes, said: str):
    dealer.send(frame)
    reply = parsed_reply(dealer.recv_multipart())
    assert reply.kind is Kind.BAD and said in reply.reason
    assert_still_serves(server)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 0), (0, CHUNK_BYTES + 1), (10**6, 10), (2**64 - 1, 1), (0, 2**32 - 1), (5000, 5000)]
)
def test_a_range_that_is_not_there_is_refused(server: SnapshotServer, dealer: zmq.Socket, offset: int, length: int):
    announced = server.publish(snapshot(10))
    dealer.send(Request(7, announced.avatar_id, 1, offset, length).packed())
    reply = parsed_reply(dealer.recv_multipart())
    assert (reply.kind, reply.ticket) == (Kind.BAD, 7) and "range: expected 1 to" in reply.reason


def test_a_frame_larger_than_a_request_is_named(server: SnapshotServer, dealer: zmq.Socket):
    dealer.send(bytes(1000))
    assert "request: expected 33 to 97 bytes, got 1000" in parsed_reply(dealer.recv_multipart()).reason


def test_the_server_hangs_up_on_what_is_too_large(server: SnapshotServer, dealer: zmq.Socket):
    dealer.rcvtimeo = 300
    dealer.send(bytes(10_000_000))
    with pytest.raises(zmq.Again):
        dealer.recv()
    assert_still_serves(server)


def test_bytes_that_are_not_zeromq_do_no_harm(server: SnapshotServer):
    host, port = server.endpoint.removeprefix("tcp://").split(":")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(5000), b"\xff" + bytes(8) + b"\x7f" + os.urandom(2000), b""):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(garbage)
    assert_still_serves(server)


def test_a_client_that_asks_and_never_reads_costs_no_memory(server: SnapshotServer, dealer: zmq.Socket):
    """400 replies of half a MB would be 200 MB. What is allowed: a second copy of the version in flight, and buffers."""
    announced = server.publish(snapshot())
    dealer.rcvhwm = 1
    before = _resident_mb()
    for ticket in range(400):
        dealer.send(Request(ticket, announced.avatar_id, 1, 0, CHUNK_BYTES).packed())
    assert_still_serves(server)
    assert _resident_mb() - before < 40  # measured: 2 to 6


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def announced(endpoint: str, size: int = 1000) -> Announcement:
    return Announcement("a", 1, size, "0" * 64, endpoint, "", 1, 1, 10, "default")


def data(payload: bytes) -> Callable[[Request], list[bytes]]:
    return lambda request: frames(Reply(Kind.DATA, request.ticket, payload))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (data(bytes(999)), "expected 1000 bytes, got 999"),
        (data(bytes(1001)), "expected 1000 bytes, got 1001"),
        (data(b""), "expected 1000 bytes, got 0"),
        (data(bytes(1000)), f"expected sha256 {'0' * 64}, got 541b3e9d"),
        (lambda request: frames(Reply(Kind.BAD, request.ticket, b"no\xff" * 500)), "the server says: no"),
        (lambda request: [b"garbage"], "reply: expected a header of 13 bytes and a payload, got frames of"),
        (lambda request: [b"x" * 13, b""], "reply: expected one of this protocol"),
        (lambda request: [b""] * 500, "reply: expected a header"),
        (lambda request: [frames(Reply.gone(request.ticket, 1))[0], b"short"], "reply: expected one of this protocol"),
    ],
)
def test_what_a_lying_server_sends_is_refused(answer: Callable[[Request], list[bytes]], said: str):
    with lying_server(answer) as endpoint, SnapshotClient() as client:
        with pytest.raises(SnapshotRefused, match=said):
            client.fetch(announced(endpoint))
        assert client.held_bytes == 0  # nothing of it is resumed from


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: None,
        lambda request: frames(Reply(Kind.DATA, request.ticket + 1000, bytes(request.length))),
        lambda request: frames(Reply(Kind.DATA, request.ticket, bytes(CHUNK_BYTES + 1))),
    ],
    ids=["silent", "answers another's request", "too large for a frame"],
)
def test_a_server_that_does_not_answer_ends_in_a_timeout(answer: Callable[[Request], list[bytes]]):
    with lying_server(answer) as endpoint, SnapshotClient(timeout_s=0.6) as client, pytest.raises(SnapshotUnreachable):
        client.fetch(announced(endpoint))


def test_a_server_that_drips_is_given_up_on():
    """Each chunk comes in time, the whole never would."""
    with lying_server(lambda r: frames(Reply(Kind.DATA, r.ticket, bytes(r.length)))) as endpoint:
        with SnapshotClient(timeout_s=0.2, limit_s=0.2) as client:
            client._ticket = 1
            with pytest.raises(SnapshotUnreachable, match=r"not whole within 0\.2 s"):
                client.fetch(announced(endpoint, 2**28))


def test_more_than_the_limit_is_not_even_asked_for():
    asked = []
    with lying_server(asked.append) as endpoint, SnapshotClient(max_bytes=10**6) as client:
        with pytest.raises(SnapshotRefused, match="snapshot of 9223372036854775807 bytes: expected at most 1000000"):
            client.fetch(announced(endpoint, 2**63 - 1))
    assert asked == []


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path("trap-was-sprung"),)


def test_a_pickle_with_the_right_hash_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever announces may hash what he likes; the content is safetensors or it is refused."""
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(_Trap())
    announcement = replace(announced("tcp://127.0.0.1:1", len(content)), sha256=hashlib.sha256(content).hexdigest())
    with lying_server(lambda r: frames(Reply(Kind.DATA, r.ticket, content))) as endpoint, SnapshotClient() as client:
        with pytest.raises(SnapshotRefused, match="snapshot version 1: expected a whole safetensors file"):
            client.fetch(replace(announcement, endpoint=endpoint))
    assert not (tmp_path / "trap-was-sprung").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 0),
        ("bytes", 0),
        ("bytes", -5),
        ("iterations", -1),
        ("gaussians", 2**63),
        ("avatar_id", ""),
        ("avatar_id", "x" * 65),
        ("sha256", "0" * 63),
        ("sha256", "Z" * 64),
        ("server_key", "short"),
        ("endpoint", "ipc:///tmp/somewhere"),
        ("endpoint", "inproc://zeromq.zap.01"),
        ("endpoint", "tcp://host:99999"),
        ("endpoint", "tcp://host"),
        ("endpoint", ""),
    ],
)
def test_an_announcement_that_no_server_writes_is_refused(field: str, value: object):
    with pytest.raises(ValueError, match=f"Announcement.{field}: expected"):
        replace(announced("tcp://127.0.0.1:1"), **{field: value})


def test_requests_survive_the_wire():
    request = Request(2**64 - 1, "ä" * 32, 2**63, 2**40, CHUNK_BYTES)
    assert parsed_request(request.packed()) == request
