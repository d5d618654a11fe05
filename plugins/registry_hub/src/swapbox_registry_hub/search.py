"""Searches: Docker Hub's API of version 1, which some other registries have, too; else the ``_catalog``."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import requests

from swapbox.descriptors import MANIFEST_LIMIT
from swapbox.drivers.registry import Repository
from swapbox.errors import DataError, PermissionDenied, Unsupported
from swapbox.references import DEFAULT_HOST, Reference
from swapbox_registry_hub import refusals
from swapbox_registry_hub.transport import Transport
from swapbox_registry_hub.wire import drain, read_all

_HUB_INDEX = "index.docker.io"
_PAGE = 1000
_PAGES = 100
_LAST = re.compile(r"[?&]last=([^&>]+)[^>]*>")


def search(transport: Transport, host: str, term: str, *, limit: int) -> list[Repository]:
    """Return what a registry has for a term.

    :raises Unsupported: it has neither a search nor a catalog.
    :raises SwapboxError: see :class:`swapbox.drivers.registry.RegistryDriver`.
    """
    query = urllib.parse.urlencode({"q": term, "n": limit})
    try:
        response = _get(transport, _HUB_INDEX if host == DEFAULT_HOST else host, f"v1/search?{query}")
    except Unsupported:
        response = None  # 400 and the like: what a registry that never had a version 1 says
    if response is not None and response.ok:
        return _results(_json(response, host), host)
    if host == DEFAULT_HOST:
        raise Unsupported(f"registry {host} has no search")
    found = (name for name in _catalog(transport, host) if term.lower() in name)
    return [Repository(f"{host}/{name}") for name, _ in zip(found, range(limit), strict=False)]


def _get(transport: Transport, host: str, path: str) -> requests.Response:
    reference = Reference(host, "")
    try:
        return transport.request("GET", transport.root(reference, path), reference=reference, headers={})
    except PermissionDenied as error:
        hint = f"to log in: swapbox login {host}"
        raise PermissionDenied(f"search of {host} denied: who may search is up to its owner", hint=hint) from error


def _results(answer: Any, host: str) -> list[Repository]:
    try:
        return [_repository(result) for result in answer["results"] or ()]
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(f"registry {host} sent no results of a search") from error


def _repository(result: dict[str, Any]) -> Repository:
    name, description, stars = result["name"], result.get("description"), result.get("star_count")
    if not isinstance(name, str):
        raise TypeError
    return Repository(
        name=refusals.printable(name),
        description=refusals.printable(description) if isinstance(description, str) else "",
        stars=stars if isinstance(stars, int) else 0,
        official=result.get("is_official") is True,
    )


def _catalog(transport: Transport, host: str) -> Iterator[str]:
    """Yield the names of all repositories, page by page (Docker's registry API, "Listing Repositories")."""
    path = f"v2/_catalog?n={_PAGE}"
    for _ in range(_PAGES):
        response = _get(transport, host, path)
        if response.status_code != HTTPStatus.OK:
            drain(response)
            raise Unsupported(f"registry {host} has no search and no catalog")
        link = _LAST.search(response.headers.get("Link", ""))
        try:
            names = [refusals.printable(name) for name in _json(response, host)["repositories"] or ()]
        except (LookupError, TypeError, AttributeError) as error:
            raise DataError(f"registry {host} sent no catalog") from error
        yield from names
        if link is None or not names:
            return
        path = f"v2/_catalog?n={_PAGE}&last={urllib.parse.quote(urllib.parse.unquote(link[1]), safe='')}"
    raise DataError(f"the catalog of registry {host} has more than {_PAGES} pages")


def _json(response: requests.Response, host: str) -> Any:
    data = read_all(response, MANIFEST_LIMIT)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"registry {host} sent no JSON") from error
