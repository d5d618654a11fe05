"""A name server for tests, on a host of theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dnslib.server import DNSHandler, DNSLogger, DNSServer  # type: ignore[import-untyped]
from dnslib.zoneresolver import ZoneResolver  # type: ignore[import-untyped]

from swapbox.testing.hosts import Host, entered


class _Handler(DNSHandler):  # type: ignore[misc]
    udplen = 512  # RFC 1035, 4.2.1; what is longer is cut off, and asked for again by TCP


@contextlib.contextmanager
def name_server(place: Host, address: str, zone: str) -> Iterator[None]:
    """Run a name server at port 53 of an address of a host, by UDP and TCP.

    :param zone: what it knows, as RFC 1035, 5 has it; other names do not exist.
    """
    resolver, silent = ZoneResolver(zone), DNSLogger("-request,-reply,-truncated,-error,-recv,-send,-data")
    with contextlib.ExitStack() as stack:
        with entered(place.pid):
            for tcp in (False, True):
                server = DNSServer(resolver, address=address, tcp=tcp, logger=silent, handler=_Handler)
                server.start_thread()
                stack.callback(server.server.server_close)
                stack.callback(server.stop)
        yield
