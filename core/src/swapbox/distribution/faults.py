"""What goes wrong on purpose, and how slow it is."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple


class Often(NamedTuple):
    """A fault that befalls every so many-th: ``503/10``.

    :param what: a status or a number of bytes.
    """

    what: int
    every: int = 1


class Faults:
    """What goes wrong, and how often; set the attributes before the request.

    :ivar delay: seconds before each answer.
    :ivar bandwidth: bytes of blobs that all connections together carry in a second, in and out; None for no limit.
    :ivar truncate: bytes of a blob after which the connection breaks; None for never.
    :ivar truncate_times: how many blob answers that befalls; None for all.
    :ivar truncate_every: only every so many-th of them.
    :ivar break_upload: bytes of an upload's request after which the connection breaks; None for never.
    :ivar break_upload_times: how many requests that befalls; None for all.
    :ivar break_upload_every: only every so many-th of them.
    :ivar stall: bytes of a blob after which nothing more comes; None for never.
    :ivar corrupt: blobs arrive with one bit changed.
    :ivar missing: every manifest and blob is 404.
    :ivar refuse: this status, so many times: ``[429, 429]`` or ``[500] * 3``; consumed from the left.
    :ivar refuse_every: the status that every so many-th request gets; None for none.
    :ivar refuse_tokens: the same of requests to the token service, which ``refuse`` leaves alone.
    :ivar retry_after: seconds, or a date, in the header of what ``refuse`` gives.
    :ivar rate_limit: ``RateLimit-Limit`` and ``RateLimit-Remaining`` in it; None for neither.
    :ivar say: the message of what ``refuse`` gives.
    :ivar auth: ``basic`` or ``bearer``: anonymous requests are 401.
    :ivar users: name to password; with ``bearer`` and no users, anybody gets a token.
    :ivar token_life: seconds; what the token service says.
    :ivar token_uses: how many requests a token is good for; None for any number.
    :ivar redirect_blobs: ``http://host:port`` that blobs are redirected to.
    :ivar redirect_tokens: ``http://host:port`` that requests for tokens are redirected to.
    :ivar ranges: answer ``Range`` requests; otherwise with the whole blob.
    :ivar bad_ranges: answer ``Range`` requests with 416.
    :ivar head: answer ``HEAD`` for manifests; otherwise 405.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.bandwidth: int | None = None
        self.truncate: int | None = None
        self.truncate_times: int | None = None
        self.truncate_every = 1
        self.break_upload: int | None = None
        self.break_upload_times: int | None = None
        self.break_upload_every = 1
        self.stall: int | None = None
        self.corrupt = False
        self.missing = False
        self.refuse: list[int] = []
        self.refuse_tokens: list[int] = []
        self.refuse_every: Often | None = None
        self.retry_after: int | str | None = None
        self.rate_limit: tuple[str, str] | None = None
        self.say = ""
        self.auth = ""
        self.users: dict[str, str] = {}
        self.token_life = 300
        self.token_uses: int | None = None
        self.redirect_blobs = ""
        self.redirect_tokens = ""
        self.ranges = True
        self.bad_ranges = False
        self.head = True
        self._lock = threading.Lock()
        self._seen: dict[str, int] = {}
        self._free = 0.0

    def refusal(self) -> int | None:
        """Return the status that the next request is refused with, None for none."""
        with self._lock:
            if self.refuse:
                return self.refuse.pop(0)
        if self.refuse_every is not None and self._turn("requests", self.refuse_every.every):
            return self.refuse_every.what
        return None

    def truncation(self) -> int | None:
        """Return after how many bytes the next blob breaks off, None for never."""
        if self.truncate is None or self.truncate_times == 0 or not self._turn("blobs", self.truncate_every):
            return None
        if self.truncate_times is not None:
            self.truncate_times -= 1
        return self.truncate

    def broken_upload(self) -> int | None:
        """Return after how many bytes the next request of an upload breaks off, None for never."""
        often = self._turn("uploads", self.break_upload_every)
        if self.break_upload is None or self.break_upload_times == 0 or not often:
            return None
        if self.break_upload_times is not None:
            self.break_upload_times -= 1
        return self.break_upload

    def _turn(self, what: str, every: int) -> bool:
        with self._lock:
            self._seen[what] = self._seen.get(what, 0) + 1
            return self._seen[what] % every == 0

    def carry(self, count: int, closing: threading.Event) -> None:
        """Wait until there is room for so many bytes more.

        :param closing: ends the wait.
        """
        if self.bandwidth is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + count / self.bandwidth
            wait = self._free - now
        closing.wait(wait)
