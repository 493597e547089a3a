"""Addresses tcp://HOST:PORT, and which of them stay on this machine."""

import ipaddress
import re
import socket

_ENDPOINT = re.compile(r"tcp://(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.*-]+):(\d{1,5}|\*)")
_WILDCARDS = ("*", "0.0.0.0", "::")


def host_of(endpoint: str, field: str = "endpoint") -> str:
    """The host of tcp://HOST:PORT, without the brackets of IPv6.

    Raises:
        ValueError: another form.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if not match or (match[2] != "*" and not 0 < int(match[2]) < 65536):
        raise ValueError(f"{field}: expected tcp://HOST:PORT, got {endpoint!r}")
    return match[1].strip("[]")


def is_loopback(host: str) -> bool:
    """Whether nothing outside this machine can reach it, or answer for it. Names other than localhost are not believed."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable(bound: str, advertise: str = "") -> str:
    """What others connect to: a socket bound to all interfaces needs a name, `advertise` or this machine's own."""
    host = host_of(bound)
    if not advertise and host not in _WILDCARDS:
        return bound
    return f"tcp://{advertise or socket.gethostname()}:{bound.rsplit(':', 1)[1]}"
