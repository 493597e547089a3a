"""`fmgs keys`. Kind: round trip; what it writes lets a client in."""

from pathlib import Path

from fmgs_core.transport import ClientKeys, ServerKeys

from .conftest import Fmgs


def test_the_keys_belong_together_and_are_never_overwritten(fmgs: Fmgs, tmp_path: Path):
    folder = tmp_path / "new" / "keys"
    code, said = fmgs("keys", "--out", folder)
    assert code == 0 and "client.key_secret and server.key" in said
    server, client = ServerKeys.read(folder), ClientKeys.read(folder)
    assert server.public == client.server and client.public in server.clients
    code, said = fmgs("keys", "--out", folder)
    assert code == 1 and "expected a folder without keys" in said
