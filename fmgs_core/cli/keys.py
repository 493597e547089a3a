"""`fmgs keys`: key pairs for snapshots that leave the machine."""

from dataclasses import dataclass
from pathlib import Path

from fmgs_core.transport.keys import write_keys


@dataclass(frozen=True)
class Keys:
    """Make the keys that the trainer and its renderers need when snapshots travel beyond one machine."""

    out: Path
    """Folder for server.key, server.key_secret, client.key and client.key_secret; made when it is missing."""

    def run(self) -> int:
        write_keys(self.out)
        print(f"{self.out}: the trainer reads this folder; a renderer elsewhere needs client.key_secret and server.key of it")
        return 0
