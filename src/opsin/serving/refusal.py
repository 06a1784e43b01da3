"""`Refusal`: an answer that is not a prediction, with its HTTP status; and the table of them."""

from __future__ import annotations

from opsin.core.errors import OpsinError


class Refusal(OpsinError):
    """Why a request gets no prediction.

    `status`: of HTTP. `field`: what of the request is at fault (`body.file`, `query.top`), or "".
    `retry_after_s`: when asking again makes sense, or None.
    """

    default_code = "refused"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        field: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        self.status = status
        self.field = field
        self.retry_after_s = retry_after_s
        super().__init__(message, code=code, where=field)


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


# What the decoder says -> status and code of the answer.
_OF_PICTURE = {
    "empty_file": (400, "empty_file"),
    "truncated": (422, "image_truncated"),
    "unsupported_format": (415, "unsupported_format"),
    "too_many_pixels": (413, "too_many_pixels"),
    "file_too_large": (413, "body_too_large"),
    "too_small": (422, "too_small"),
    "image_undecodable": (422, "image_undecodable"),
    "decoder_failed": (422, "image_undecodable"),
}


def refusal_of(error: OpsinError) -> Refusal:
    """The answer for what a worker raised.

    Only messages about the picture are passed on: any other may name a file of the server.

    >>> refusal_of(OpsinError("400 MP, limit 50 MP", code="too_many_pixels")).status
    413
    """
    if isinstance(error, Refusal):
        return error
    if error.code in _OF_PICTURE:
        status, code = _OF_PICTURE[error.code]
        return Refusal(error.message, status=status, code=code, field="body.file")
    if error.code == "worker_lost":
        return worker_lost()
    if error.code == "model_output_invalid":
        return Refusal(
            "the model answered with something that is not a number for this picture",
            status=500,
            code="model_output_invalid",
        )
    return internal_error()


def busy(retry_after_s: int) -> Refusal:
    """Too many wait already."""
    return Refusal(
        f"the server has as much work as it takes; try again in {retry_after_s} s",
        status=429,
        code="busy",
        retry_after_s=retry_after_s,
    )


def worker_lost() -> Refusal:
    """The process that held this request is gone; another one is on its way."""
    return Refusal(
        "the worker process was lost while it held this request; a new one is starting",
        status=503,
        code="worker_lost",
        retry_after_s=1,
    )


def undecodable(seconds: float) -> Refusal:
    """The decoder crashed on this picture, or did not come to an end."""
    return Refusal(
        f"the decoder crashed on this picture, or took more than {seconds:g} s; it was stopped",
        status=422,
        code="image_undecodable",
        field="body.file",
    )


def inference_timeout(seconds: float) -> Refusal:
    """The model did not come to an end."""
    return Refusal(
        f"the model took more than {seconds:g} s and was stopped",
        status=503,
        code="inference_timeout",
        retry_after_s=1,
    )


def not_ready() -> Refusal:
    """No worker has shown yet that it gives the recorded answers."""
    return Refusal("no worker is ready yet", status=503, code="not_ready", retry_after_s=1)


def internal_error() -> Refusal:
    """A bug of ours; the log has the rest."""
    return Refusal(
        "internal error; the server's log has the details under this request id",
        status=500,
        code="internal",
    )
