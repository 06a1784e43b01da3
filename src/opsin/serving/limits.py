"""`ServeLimits`: every number that the service keeps to, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeLimits:
    """What one request, one client and all of them together may take.

    `max_body_bytes`, `max_pixels`: of one request, as sent and as decoded. `queue`: requests that
    may wait. `max_wait_s`: nobody is let in who would wait longer, by the times measured so far.
    `in_flight_bytes`: all bodies held at once. `receive_s`: from the first byte of a request to
    its last. `decode_s`, `infer_s`: after these the worker is killed and replaced.

    >>> ServeLimits(queue=0)
    Traceback (most recent call last):
    ...
    ValueError: queue must be above 0, not 0
    """

    max_body_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    queue: int = 32
    max_wait_s: float = 20.0
    in_flight_bytes: int = 400_000_000
    receive_s: float = 10.0
    decode_s: float = 5.0
    infer_s: float = 30.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
