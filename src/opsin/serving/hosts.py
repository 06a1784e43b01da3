"""Is this request meant for this server, and does it come from its own page?

A foreign page can make a browser send requests here: under its own name by re-binding that name to
127.0.0.1 (seen in Host), or across origins (seen in Origin).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from opsin.serving.refusal import Refusal

_LOCAL = ("localhost", "127.0.0.1", "::1")
_ANY = ("0.0.0.0", "::", "")


def host_name(value: str) -> str:
    """The name in a Host header, lower case, without port, brackets and last dot; "" if malformed.

    >>> host_name("Localhost:8000"), host_name("[::1]:8000"), host_name("a b")
    ('localhost', '::1', '')
    """
    try:
        parts = urlsplit(f"//{value}")
        _ = parts.port  # raises when it is not a number
        name = parts.hostname or ""
    except ValueError:
        return ""
    plain = parts.netloc == value and "@" not in value and not parts.path
    if not plain or not all(c.isalnum() or c in ".-_:%" for c in name):
        return ""
    return name.removesuffix(".")


@dataclass(frozen=True)
class Hosts:
    """The names under which this server may be asked.

    `bound`: what it listens on; `allowed`: further names. The address at which a connection
    arrived is always good: nobody can re-bind a number.
    """

    bound: str = "127.0.0.1"
    allowed: tuple[str, ...] = ()

    def check(self, host: str | None, origin: str | None, arrived_at: str) -> None:
        """Raise the `Refusal`: 421 for a foreign Host, 403 for an Origin that is not it."""
        name = host_name(host or "")
        known = {*_LOCAL, arrived_at, *(host_name(a) or a.lower() for a in self.allowed)}
        if self.bound not in _ANY:
            known.add(self.bound.lower())
        if name not in known or not name:
            raise Refusal(
                "this server does not answer under that name; "
                "start it with --allow-host NAME if it should",
                status=421,
                code="foreign_host",
                field="header.host",
            )
        if origin is not None and origin_netloc(origin) != (host or "").lower():
            raise Refusal(
                "requests from other pages are not answered",
                status=403,
                code="foreign_origin",
                field="header.origin",
            )


def origin_netloc(origin: str) -> str:
    """host[:port] of an Origin header, "" for `null` and nonsense.

    >>> origin_netloc("http://localhost:8000"), origin_netloc("null")
    ('localhost:8000', '')
    """
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
