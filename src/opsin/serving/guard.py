"""What every request passes, whatever it asks for: plain ASGI, no framework.

Host and Origin are checked, a request id is given, security headers are set, every answer is
counted; and whoever is answered before the body was read is let finish a little, so that the
answer is not lost in a reset connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from opsin.serving.hosts import Hosts
from opsin.serving.metrics import CLIENT_GONE, Metrics
from opsin.serving.refusal import ClientGone, Refusal, internal_error
from opsin.serving.schema import error_answer
from opsin.serving.uploads import Headers, Message, Receive, headers_of

Scope = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = "opsin.request_id"
PATH = "opsin.path"
"""Key of the scope: the path of the route that answers, set by the app; for the metrics."""

LINGER_BYTES = 64 * 1024
LINGER_S = 1.0

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}

log = logging.getLogger("opsin.serving")


class Guard:
    """Stands in front of `app`."""

    def __init__(self, app: App, *, hosts: Hosts, metrics: Metrics) -> None:
        self._app = app
        self._hosts = hosts
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        start = time.perf_counter()
        exchange = _Exchange(scope, receive, send)
        try:
            local = (scope.get("server") or ("", 0))[0]
            headers = exchange.headers
            self._hosts.check(headers.get("host"), headers.get("origin"), local)
            await self._app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await exchange.refuse(refusal)
        except ClientGone:
            exchange.status = CLIENT_GONE
        except Exception:
            log.exception("request %s", scope[REQUEST_ID])
            await exchange.refuse(internal_error())
        seconds = time.perf_counter() - start
        self._metrics.answered(scope.get(PATH, "other"), exchange.status, seconds)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: Headers = headers_of(scope)
        asked = self.headers.get("x-request-id", "")
        self.id = asked if _GOOD_ID.fullmatch(asked) else secrets.token_hex(8)
        scope[REQUEST_ID] = self.id
        self.status = CLIENT_GONE
        self._receive = receive
        self._send = send
        self._started = False
        self._unread = (
            self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers
        )

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            given = {name.lower() for name, _ in message["headers"]}
            ours = {**_SECURITY, "x-request-id": self.id, "cache-control": "no-store"}
            if self._unread:  # else the rest of the body would be read as long as it comes
                ours["connection"] = "close"
            message["headers"] = [
                *message["headers"],
                *((k.encode(), v.encode()) for k, v in ours.items() if k.encode() not in given),
            ]
            await self._send(message)
        elif self._unread and not message.get("more_body", False):
            # The answer goes out whole, then we read on for a moment: closing a socket with
            # unread bytes in it resets the connection, and many clients then lose the answer.
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def _linger(self) -> None:
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_S):
                while self._unread and left > 0:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass

    async def refuse(self, refusal: Refusal) -> None:
        """Answer in the house form, if nothing was sent yet."""
        if self._started:
            return
        body = error_answer(refusal, self.id).model_dump_json().encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if refusal.retry_after_s is not None:
            headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
        await self.send(
            {"type": "http.response.start", "status": refusal.status, "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": body})
