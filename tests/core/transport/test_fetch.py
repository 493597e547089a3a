"""Versions over the loopback. Kinds: round trip, behaviour under breaks, several clients, the trainer is never held up."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fmgs_core.transport import SnapshotClient, SnapshotGone, SnapshotServer, SnapshotUnreachable, TransportError
from fmgs_core.transport.protocol import CHUNK_BYTES
from fmgs_core.transport.shelf import Shelf, Version

from .wires import Wire, same, snapshot


@pytest.fixture
def server() -> Iterator[SnapshotServer]:
    with SnapshotServer() as server:
        yield server


@pytest.fixture
def client() -> Iterator[SnapshotClient]:
    with SnapshotClient(timeout_s=3.0) as client:
        yield client


def test_a_client_gets_every_bit(server: SnapshotServer, client: SnapshotClient):
    sent = snapshot()
    announcement = server.publish(sent)
    assert announcement.bytes > 6 * CHUNK_BYTES
    assert (announcement.version, announcement.gaussians, announcement.iterations) == (1, 30_000, 7)
    assert announcement.endpoint.startswith("tcp://127.0.0.1:") and announcement.server_key == ""
    assert same(client.fetch(announcement), sent)
    assert client.held_bytes == 0


def test_versions_count_up_and_start_anew_with_another_avatar(server: SnapshotServer):
    first, second = (server.publish(snapshot(10)) for _ in range(2))
    server.start_anew()
    third = server.publish(snapshot(10))
    assert [a.version for a in (first, second, third)] == [1, 2, 1]
    assert first.avatar_id == second.avatar_id != third.avatar_id


def test_an_old_version_is_gone_and_the_newest_is_named(server: SnapshotServer, client: SnapshotClient):
    announced = [server.publish(snapshot(10, seed)) for seed in range(6)]
    with pytest.raises(SnapshotGone, match="version 1 is gone: newest is 6") as gone:
        client.fetch(announced[0])
    assert gone.value.newest == 6
    assert same(client.fetch(announced[2]), snapshot(10, 2))  # of the four that are kept the oldest


def test_after_a_reset_every_earlier_version_is_gone(server: SnapshotServer, client: SnapshotClient):
    before = server.publish(snapshot(10))
    server.start_anew()
    with pytest.raises(SnapshotGone, match="newest is 0"):
        client.fetch(before)


def test_several_clients_are_served_at_once(server: SnapshotServer):
    announcement, got = server.publish(snapshot()), []

    def fetch() -> None:
        with SnapshotClient() as client:
            got.append(client.fetch(announcement))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(got) == 4 and all(same(each, snapshot()) for each in got)


def test_a_break_costs_one_chunk(server: SnapshotServer):
    """The wire is cut three times within one fetch. What came before a cut does not come again."""
    announcement = server.publish(snapshot())
    wire = Wire(server.endpoint, cut_after_bytes=int(1.6 * CHUNK_BYTES), cuts=3)
    with SnapshotClient(timeout_s=1.5) as client:
        assert same(client.fetch(replace(announcement, endpoint=wire.endpoint)), snapshot())
    wire.close()
    assert wire.cuts_left == 0
    assert announcement.bytes < wire.relayed_bytes < announcement.bytes + 3.5 * CHUNK_BYTES


def test_a_fetch_that_failed_goes_on_where_it_broke(server: SnapshotServer):
    """The trainer is cut off in the middle, the fetch fails, and the next one asks for the rest only."""
    announcement = server.publish(snapshot())
    wire = Wire(server.endpoint, cut_after_bytes=int(3.5 * CHUNK_BYTES), cuts=1, for_good=True)
    with SnapshotClient(timeout_s=0.6) as client:
        with pytest.raises(SnapshotUnreachable, match=r"of version 1 came; no answer within 0\.6 s \(is the trainer running"):
            client.fetch(replace(announcement, endpoint=wire.endpoint))
        assert client.held_bytes == 3 * CHUNK_BYTES
        asked = _offsets(server)
        assert same(client.fetch(announcement), snapshot())
        assert asked[0] == 3 * CHUNK_BYTES


def _offsets(server: SnapshotServer) -> list[int]:
    """Filled with the offset of every request that reaches the server."""
    asked, reply = [], server._reply

    def noted(frames: list[bytes]):
        asked.append(int.from_bytes(frames[0][21:29], "big"))
        return reply(frames)

    server._reply = noted  # type: ignore[method-assign]
    return asked


def test_a_trainer_that_comes_back_with_the_same_avatar_is_resumed_from(server: SnapshotServer):
    """Its avatar_id is another; equal bytes are equal bytes."""
    with SnapshotServer() as gone, SnapshotClient(timeout_s=0.6) as client:
        announcement = gone.publish(snapshot())
        wire = Wire(gone.endpoint, cut_after_bytes=int(2.5 * CHUNK_BYTES), cuts=1, for_good=True)
        with pytest.raises(SnapshotUnreachable):
            client.fetch(replace(announcement, endpoint=wire.endpoint))
        asked = _offsets(server)
        assert same(client.fetch(server.publish(snapshot())), snapshot())
        assert asked[0] == 2 * CHUNK_BYTES


def test_nobody_there_ends_within_the_timeout():
    with SnapshotServer() as server:
        announcement = server.publish(snapshot(10))
    with SnapshotClient(timeout_s=0.3) as client:
        start = time.monotonic()
        with pytest.raises(SnapshotUnreachable, match=r"0 of \d+ bytes of version 1 came; no answer within 0\.3 s"):
            client.fetch(announcement)
        assert time.monotonic() - start < 10  # a hang would be the failure, not a slow machine


def test_closing_ends_a_fetch_in_progress():
    with SnapshotServer() as server:
        announcement = server.publish(snapshot(10))
    client, errors = SnapshotClient(timeout_s=60.0), []

    def fetch() -> None:
        try:
            client.fetch(announcement)
        except TransportError as error:
            errors.append(str(error))

    thread = threading.Thread(target=fetch)
    thread.start()
    time.sleep(0.2)
    client.close()
    thread.join(10)
    assert errors == ["the snapshot client was closed"]
    with pytest.raises(TransportError, match="was closed"):
        client.fetch(announcement)


def test_publishing_waits_for_nobody(server: SnapshotServer, monkeypatch: pytest.MonkeyPatch):
    """The server's thread is held inside an answer; the trainer publishes on."""
    held, entered, find = threading.Event(), threading.Event(), Shelf.find

    def stuck(self: Shelf, avatar_id: str, number: int) -> Version | None:
        entered.set()
        held.wait(20)
        return find(self, avatar_id, number)

    monkeypatch.setattr(Shelf, "find", stuck)
    announcement = server.publish(snapshot(10))
    with SnapshotClient(timeout_s=30.0) as client:
        thread = threading.Thread(target=client.fetch, args=(announcement,))
        thread.start()
        assert entered.wait(10)
        published = [server.publish(snapshot(10)).version for _ in range(3)]
        assert published == [2, 3, 4] and not held.is_set()
        held.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize("arguments", [{"timeout_s": 0.0}, {"timeout_s": 9.0, "limit_s": 5.0}, {"max_bytes": 0}])
def test_limits_that_make_no_sense_are_refused(arguments: dict):
    with pytest.raises(ValueError, match="SnapshotClient: expected 0 < timeout_s"):
        SnapshotClient(**arguments)
