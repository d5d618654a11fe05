"""A client attached to a monitor: packets it gets, also when it is slow to take them."""

from __future__ import annotations

import _socket


class Client:
    """One attached client.

    :param queue: packets it has not taken yet.
    :param output: it gets output.
    :param ends_input: stdin ends when it goes, as with Docker's ``run -i``.
    """

    def __init__(
        self,
        sock: _socket.socket,
        queue: list[bytes] | None = None,
        *,
        output: bool = True,
        ends_input: bool = False,
    ) -> None:
        self.sock = sock
        self.queue = queue or []
        self.output = output
        self.ends_input = ends_input

    def send(self, packet: bytes) -> bool:
        """Send or queue a packet; False when the client is gone."""
        self.queue.append(packet)
        return self.flush()

    def flush(self) -> bool:
        """Send what is queued as far as the client takes it; False when it is gone."""
        try:
            while self.queue:
                self.sock.send(self.queue[0], _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
                del self.queue[0]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
