"""How numbers are written on the page."""

from __future__ import annotations

from opsin.core import words
from opsin.core.report import Value

_SPACE = "\u00a0"  # a number and its unit stay on one line


def percent(frac: float | None) -> str:
    r"""A fraction as per cent with one digit; a dash for None.

    >>> percent(0.8667), percent(1.0), percent(None)
    ('86.7\xa0%', '100\xa0%', '–')
    """
    if frac is None:
        return "–"
    return ("100" if frac == 1 else f"{100 * frac:.1f}") + _SPACE + "%"


def interval(value: Value) -> str:
    r"""The interval of a fraction, empty where there is none.

    >>> interval(Value(0.87, 75, 0.772, 0.926))
    '77.2–92.6\xa0%'
    """
    if value.low is None or value.high is None:
        return ""
    return f"{100 * value.low:.1f}–{percent(value.high)}"


def count(number: float) -> str:
    """A count with thin spaces between thousands; weighted counts keep one digit.

    >>> count(1234567), count(12.5)
    ('1\u202f234\u202f567', '12.5')
    """
    text = f"{number:,.0f}" if float(number).is_integer() else f"{number:,.1f}"
    return text.replace(",", "\u202f")


def size(size_bytes: int) -> str:
    r"""Bytes for people.

    >>> size(16_400_000)
    '16.4\xa0MB'
    """
    return words.size(size_bytes, _SPACE)


def duration(seconds: float) -> str:
    r"""Seconds for people.

    >>> duration(75)
    '1\xa0min 15\xa0s'
    """
    return words.duration(seconds, _SPACE)
