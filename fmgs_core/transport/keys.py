"""CURVE key pairs in files: who may fetch, and from whom.

One folder serves both sides: `server.key_secret` stays with the trainer, `client.key_secret` goes to the renderers, the
`.key` files are public. A server admits the clients whose `.key` lies in its folder; a client talks only to the server
whose `server.key` lies in its own.
"""

from dataclasses import dataclass
from pathlib import Path

import zmq.auth

_SIDES = ("server", "client")


@dataclass(frozen=True)
class ServerKeys:
    """Of the trainer's side."""

    public: str
    """Z85, 40 characters."""
    secret: str
    clients: frozenset[str]
    """Public keys that are admitted."""

    @staticmethod
    def read(folder: Path) -> "ServerKeys":
        """Raises:
        ValueError: a file that is missing or not a key, or no client at all.
        """
        clients = frozenset(_read(path)[0] for path in folder.glob("*.key") if path.stem != "server")
        if not clients:
            raise ValueError(f"keys {folder}: expected the .key file of at least one client, got none")
        return ServerKeys(*_read_pair(folder / "server.key_secret"), clients)


@dataclass(frozen=True)
class ClientKeys:
    """Of a renderer's side."""

    public: str
    secret: str
    server: str
    """Public key of the only server that is believed."""

    @staticmethod
    def read(folder: Path) -> "ClientKeys":
        """Raises:
        ValueError: a file that is missing or not a key.
        """
        return ClientKeys(*_read_pair(folder / "client.key_secret"), _read(folder / "server.key")[0])


def write_keys(folder: Path) -> None:
    """Makes both pairs; secret files are readable by their owner only.

    Raises:
        ValueError: a key is there already: whoever holds its twin would be locked out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if there := [path.name for side in _SIDES for path in folder.glob(f"{side}.key*")]:
        raise ValueError(f"keys {folder}: expected a folder without keys, got {', '.join(sorted(there))}")
    folder.chmod(0o700)
    for side in _SIDES:
        zmq.auth.create_certificates(folder, side)
        (folder / f"{side}.key_secret").chmod(0o600)


def _read_pair(path: Path) -> tuple[str, str]:
    public, secret = _read(path)
    if secret is None:
        raise ValueError(f"keys: expected a secret key in {path}, got a public one only")
    return public, secret


def _read(path: Path) -> tuple[str, str | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"keys: expected a key file {path} as `fmgs keys` makes it, got: {error}") from error
    if len(public) != 40 or (secret is not None and len(secret) != 40):
        raise ValueError(f"keys: expected keys of 40 characters in {path}, got {len(public)}")
    return public.decode("ascii"), None if secret is None else secret.decode("ascii")
