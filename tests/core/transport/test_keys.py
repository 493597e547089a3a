"""CURVE. Kinds: behaviour (who gets in, who is believed), what must never be bound or asked without keys, file round trip."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from fmgs_core.transport import ClientKeys, ServerKeys, SnapshotClient, SnapshotRefused, SnapshotServer, SnapshotUnreachable
from fmgs_core.transport.endpoints import is_loopback, reachable
from fmgs_core.transport.keys import write_keys

from .wires import same, snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_keys(tmp_path / "keys")
    return tmp_path / "keys"


def test_keys_serve_beyond_loopback(folder: Path):
    """Bound to every interface, fetched by this machine's loopback."""
    with SnapshotServer("tcp://0.0.0.0:*", ServerKeys.read(folder), advertise="127.0.0.1") as server:
        with SnapshotClient(keys=ClientKeys.read(folder)) as client:
            announcement = server.publish(snapshot())
            assert announcement.endpoint.startswith("tcp://127.0.0.1:")
            assert announcement.server_key == ClientKeys.read(folder).server
            assert same(client.fetch(announcement), snapshot())


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://192.0.2.1:7000", "tcp://robot.local:7000"])
def test_nothing_is_bound_beyond_loopback_without_keys(bind: str):
    with pytest.raises(ValueError, match=r"bind: expected a loopback address .*, or keys, got .*fmgs keys --out DIR"):
        SnapshotServer(bind)


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1", "127.0.0.1:7000", "ipc:///tmp/socket", "tcp://[::1]:0", ""])
def test_another_kind_of_address_is_named(bind: str):
    with pytest.raises(ValueError, match="bind: expected tcp://HOST:PORT, got"):
        SnapshotServer(bind)


def test_a_port_in_use_is_named():
    with SnapshotServer() as server, pytest.raises(ValueError, match="bind: expected a free address of this machine, got tcp"):
        SnapshotServer(server.endpoint)


def test_the_port_is_free_after_closing():
    server = SnapshotServer()
    server.close()
    SnapshotServer(server.endpoint).close()


def test_a_client_whose_key_is_not_there_is_not_answered(folder: Path, tmp_path: Path):
    write_keys(tmp_path / "stranger")
    stranger = replace(ClientKeys.read(tmp_path / "stranger"), server=ClientKeys.read(folder).server)
    with SnapshotServer(keys=ServerKeys.read(folder)) as server, SnapshotClient(timeout_s=0.6, keys=stranger) as client:
        with pytest.raises(SnapshotUnreachable, match="is this client's key among the trainer's"):
            client.fetch(server.publish(snapshot(10)))


def test_a_client_without_keys_is_not_answered(folder: Path):
    """One that lies about the server's key even to itself: the handshake fails."""
    with SnapshotServer(keys=ServerKeys.read(folder)) as server, SnapshotClient(timeout_s=0.6) as client:
        announcement = server.publish(snapshot(10))
        with pytest.raises(SnapshotRefused, match=r"needs keys: copy client\.key_secret and server\.key"):
            client.fetch(announcement)
        with pytest.raises(SnapshotUnreachable):
            client.fetch(replace(announcement, server_key=""))


def test_a_server_that_poses_as_another_is_not_believed(folder: Path, tmp_path: Path):
    """It announces the right key and has another: the handshake fails. It announces its own: nobody connects."""
    write_keys(tmp_path / "imposter")
    clients = ServerKeys.read(folder).clients
    imposter = replace(ServerKeys.read(tmp_path / "imposter"), clients=clients)
    keys = ClientKeys.read(folder)
    with SnapshotServer(keys=imposter) as server, SnapshotClient(timeout_s=0.6, keys=keys) as client:
        announcement = server.publish(snapshot(10))
        with pytest.raises(SnapshotRefused, match="expected the server whose key lies beside this client's"):
            client.fetch(announcement)
        with pytest.raises(SnapshotUnreachable):
            client.fetch(replace(announcement, server_key=keys.server))


def test_an_endpoint_beyond_this_machine_is_not_asked_without_keys():
    with SnapshotServer() as server, SnapshotClient() as client:
        announcement = replace(server.publish(snapshot(10)), endpoint="tcp://192.0.2.1:7000")
        with pytest.raises(SnapshotRefused, match="is beyond this machine: expected keys"):
            client.fetch(announcement)


def test_what_travels_is_encrypted(folder: Path):
    """A raw subscriber of the socket's bytes sees none of the avatar: a plain client cannot even shake hands."""
    with SnapshotServer(keys=ServerKeys.read(folder)) as server, zmq.Context() as context:
        with context.socket(zmq.DEALER) as dealer:
            dealer.linger, dealer.rcvtimeo = 0, 300
            dealer.connect(server.endpoint)
            dealer.send(b"anything")
            with pytest.raises(zmq.Again):
                dealer.recv()


def test_secrets_are_readable_by_their_owner_only_and_never_overwritten(folder: Path):
    assert {p.name for p in folder.iterdir()} == {"server.key", "server.key_secret", "client.key", "client.key_secret"}
    for secret in folder.glob("*.key_secret"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = (folder / "server.key_secret").read_bytes()
    with pytest.raises(ValueError, match=r"expected a folder without keys, got client\.key, "):
        write_keys(folder)
    assert (folder / "server.key_secret").read_bytes() == before


@pytest.mark.parametrize(("gone", "reader"), [("server.key_secret", ServerKeys), ("server.key", ClientKeys),
                                              ("client.key_secret", ClientKeys)])  # fmt: skip
def test_a_missing_or_broken_key_is_named(folder: Path, gone: str, reader: type):
    for content in (None, "curve\n", 'curve\n    public-key = "short"\n    secret-key = "short"\n'):
        (folder / gone).unlink(missing_ok=True)
        if content is not None:
            (folder / gone).write_text(content)
        with pytest.raises(ValueError, match=rf"keys: expected .*{gone}"):
            reader.read(folder)


def test_a_server_without_a_single_client_is_named(folder: Path):
    (folder / "client.key").unlink()
    with pytest.raises(ValueError, match=r"expected the \.key file of at least one client, got none"):
        ServerKeys.read(folder)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("*", False),
     ("10.0.0.1", False), ("robot", False), ("localhost.evil.org", False)],
)  # fmt: skip
def test_what_counts_as_loopback(host: str, expected: bool):
    assert is_loopback(host) is expected


def test_a_wildcard_is_announced_by_name():
    assert reachable("tcp://0.0.0.0:7000", "robot") == "tcp://robot:7000"
    assert reachable("tcp://192.168.1.2:7000") == "tcp://192.168.1.2:7000"
    assert reachable("tcp://192.168.1.2:7000", "robot") == "tcp://robot:7000"
    assert "0.0.0.0" not in reachable("tcp://0.0.0.0:7000")
