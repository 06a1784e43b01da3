"""uvicorn's HTTP protocol with a deadline: uvicorn alone waits for a slow sender for ever."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from opsin.serving.refusal import Refusal
from opsin.serving.uploads import DEADLINE, receive_timeout


class DeadlineProtocol(H11Protocol):
    """One connection. A request must be complete `receive_s` after its first byte (a first
    request: after the connection was made).

    Until the headers are complete, the clock is here; from then on the app, which can answer
    better, finds the deadline in its scope. Malformed requests are answered in the house form.
    """

    receive_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock: asyncio.TimerHandle | None = None
        self._heard = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request, and let answers go out undelayed."""
        super().connection_made(transport)
        # asyncio does this only for sockets that name TCP themselves, which those of
        # `socket.create_server` do not; without it each answer waits 40 ms for an ACK.
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the clock at the first byte of a request, stop it at the end of its headers."""
        self._heard = True
        if self._clock is None and self.conn.their_state is h11.IDLE:
            self._start_clock()
        asked_before = self.scope
        super().data_received(data)
        if self.scope is not asked_before and self._clock is not None:
            # the task that runs the app has not started yet, so it will see this
            cast(dict[str, Any], self.scope)[DEADLINE] = self._clock.when()
            self._stop_clock()

    def send_400_response(self, msg: str) -> None:
        """For what is not HTTP."""
        self._refuse(Refusal("not a valid HTTP request", status=400, code="malformed_request"))

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self.receive_s, self._too_late)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_late(self) -> None:
        self._clock = None
        if self.transport.is_closing():
            return
        if self._heard:
            self._refuse(receive_timeout(self.receive_s))
        else:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        # below ASGI there is no request yet, so no id; written as bytes because h11 may be in a
        # state in which it takes nothing any more
        error = {
            "code": refusal.code,
            "message": refusal.message,
            "field": refusal.field,
            "request_id": "",
        }
        body = json.dumps({"error": error}).encode()
        head = (
            f"HTTP/1.1 {refusal.status} {_REASON[refusal.status]}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


_REASON = {400: "Bad Request", 408: "Request Timeout"}


def with_deadline(receive_s: float) -> type[asyncio.Protocol]:
    """The class for one server."""
    return type("Deadline", (DeadlineProtocol,), {"receive_s": receive_s})
