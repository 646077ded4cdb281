"""By which names the Hub lets itself be called: what protects it from web pages that have their own name lead here."""

import ipaddress
import socket
from collections.abc import Iterable

from msgspec import Struct

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Hosts(Struct, frozen=True, kw_only=True):
    """Names, in lower case, and whether addresses in figures count, too: nobody can have those lead elsewhere."""

    names: frozenset[str]
    addresses: bool

    @classmethod
    def of(cls, host: str, names: Iterable[str] = ()) -> "Hosts":
        """For a server that listens on `host` and is known by `names`, a proxy's for example."""
        known = {*LOOPBACK_HOSTS, host, *names}
        if host not in LOOPBACK_HOSTS:
            known |= {socket.gethostname(), socket.getfqdn()}
        return cls(names=frozenset(name.lower() for name in known), addresses=host not in LOOPBACK_HOSTS)

    def allows(self, host: str | None) -> bool:
        """Whether a request may name this host, without a port."""
        return host is not None and (host.lower() in self.names or (self.addresses and _is_address(host)))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
