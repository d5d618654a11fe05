"""An authority for tests, and what it signs; made by the program ``openssl``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from swapbox.testing.servers import require

_ELLIPTIC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class Signed(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for this machine, and for clients.

    :param directory: where its own certificate is, ``ca.crt``, and those it signs.
    :raises Unsupported: openssl is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self._openssl = require("openssl", "openssl")
        self._directory = directory
        self.own = self._make("ca", *_ELLIPTIC)

    @property
    def certificate(self) -> Path:
        """What has to be trusted."""
        return self.own.certificate

    def sign(self, name: str) -> Signed:
        """Return a certificate for 127.0.0.1, localhost and ``far.example``, or for a client."""
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:far.example"
        return self._make(name, *_ELLIPTIC, "-addext", names, "-CA", self.own.certificate, "-CAkey", self.own.key)

    def _make(self, name: str, *options: str | Path) -> Signed:
        made = Signed(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        command = [self._openssl, "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-newkey"]
        subprocess.run(
            [*command, *options, "-keyout", made.key, "-out", made.certificate], check=True, capture_output=True
        )
        return made
