"""Images from Docker Hub and from every registry that speaks the OCI distribution-spec."""

from __future__ import annotations

from collections.abc import Iterator

from swapbox import DriverContext, RegistryDriver, RegistrySpec, hookimpl
from swapbox.drivers.common import Option

_OPTIONS = (
    Option("timeout", "seconds to wait for an answer, and for each part of it", "60"),
    Option("retries", "how often a request is tried again after 429 and 5xx", "3"),
    Option("part", "bytes of a layer that are sent in one request at most; all when it is empty", ""),
    Option("longest-wait", "seconds of the longest wait that a registry may ask for", "60"),
    Option(
        "insecure",
        "comma-separated hosts and networks whose certificates are not checked and that may speak plain HTTP",
        "",
    ),
    Option(
        "certificates",
        "directories with certificates for hosts, as Docker has them, separated by colons",
        "/etc/docker/certs.d:/etc/swapbox/certs.d",
    ),
    Option("http-proxy", "the proxy for plain HTTP; goes before the variable http_proxy", ""),
    Option("https-proxy", "the proxy for HTTPS; goes before the variable https_proxy", ""),
    Option("no-proxy", "comma-separated hosts that are reached without a proxy; goes before no_proxy", ""),
)


@hookimpl
def swapbox_registries() -> Iterator[RegistrySpec]:
    """Offer ``hub``."""
    yield RegistrySpec(
        name="hub",
        summary="Docker Hub and every OCI registry, over HTTPS",
        factory=_open,
        capabilities=frozenset({"login", "search", "push"}),
        priority=100,
        options=_OPTIONS,
    )


def _open(context: DriverContext) -> RegistryDriver:
    from swapbox_registry_hub.driver import Driver

    return Driver.from_options(context.options, warn=context.warn)
