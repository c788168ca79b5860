"""The refusal of network in a checked process: an audit hook on what Python's sockets are about to do."""

from typing import Any

_ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_HOST = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


class NetworkRefused(OSError):
    """Raised in the checked file where it tries to reach an address."""


class NetworkRefusal:
    """A hook for `sys.addaudithook`; `tried` lists the addresses HOST:PORT.

    Native code and programs that are started are not seen: this is not a firewall.
    """

    def __init__(self):
        self.tried: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        address = ()
        if event in _ADDRESS and isinstance(arguments[1], tuple):  # a local socket's address is a string
            address = arguments[1][:2]
        elif event in _HOST and arguments[0]:  # no host: an address to listen at
            address = arguments[:2]
        if address:
            host = address[0].decode(errors="replace") if isinstance(address[0], bytes) else address[0]
            self.tried.append(":".join(str(part) for part in (host, *address[1:]) if part is not None))
            raise NetworkRefused(f"there is no network here: it tried to reach {self.tried[-1]}")
