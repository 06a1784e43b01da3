"""Read a request's body: so many bytes, so much time, and then an answer, not more reading."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from opsin.serving.form import PictureForm, Upload, boundary_of
from opsin.serving.limits import ServeLimits
from opsin.serving.refusal import ClientGone, Refusal, busy

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Headers = dict[str, str]

DEADLINE = "opsin.deadline"
"""Key of the ASGI scope: when, on the loop's clock, the request must be complete."""


class InFlight:
    """The bytes of all bodies that are held at the moment; bounded, so memory is."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.held = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Inside the block, the yielded function takes bytes; all are given back at its end.

        It raises `Refusal` (429) when they are not to be had.
        """
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            if self.held + size > self._limit:
                raise busy(1)
            self.held += size
            mine += size

        try:
            yield take
        finally:
            self.held -= mine


def headers_of(scope: MutableMapping[str, Any]) -> Headers:
    """The request's headers, names in lower case; of repeated ones the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def read_upload(
    scope: MutableMapping[str, Any],
    receive: Receive,
    limits: ServeLimits,
    take: Callable[[int], None],
) -> Upload:
    """The picture in the body: a multipart form's file, or the body itself for any other type.

    Raises `Refusal`: 413 over `max_body_bytes` (declared: before anything is read), 408 after the
    deadline, 400 for a malformed or empty body, 415 for a compressed one; `ClientGone`.
    """
    headers = headers_of(scope)
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refusal(
            "compressed bodies are not read; send the picture as it is",
            status=415,
            code="unsupported_encoding",
            field="header.content-encoding",
        )
    if int(headers.get("content-length", 0)) > limits.max_body_bytes:
        raise _too_large(limits)
    boundary = boundary_of(headers.get("content-type", ""))
    form = PictureForm(boundary) if boundary is not None else None
    raw = bytearray()
    total = 0
    deadline = scope.get(DEADLINE) or asyncio.get_running_loop().time() + limits.receive_s
    more = True
    while more:
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise receive_timeout(limits.receive_s) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        total += len(chunk)
        if total > limits.max_body_bytes:
            raise _too_large(limits)
        take(len(chunk))
        if form:
            form.feed(chunk)
        else:
            raw += chunk
    upload = form.finish() if form else Upload(bytes(raw), "")
    if not upload.data:
        raise Refusal("the file has 0 bytes", status=400, code="empty_file", field="body.file")
    return upload


async def disconnected(receive: Receive) -> None:
    """Return when the client is gone. Only after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def receive_timeout(seconds: float) -> Refusal:
    """The client sends too slowly, or not at all."""
    return Refusal(
        f"the request was not complete after {seconds:g} s", status=408, code="receive_timeout"
    )


def _too_large(limits: ServeLimits) -> Refusal:
    return Refusal(
        f"the body has more than {math.floor(limits.max_body_bytes / 1e5) / 10:g} MB",
        status=413,
        code="body_too_large",
        field="body",
    )
