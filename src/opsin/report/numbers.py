"""How numbers are written for people."""

from __future__ import annotations

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
    """Bytes for people.

    >>> size(512), size(16_400_000)
    ('512\\xa0B', '16.4\\xa0MB')
    """
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return (f"{amount:.0f}" if unit == "B" else f"{amount:.1f}") + _SPACE + unit
        amount /= 1000
    return f"{amount:.1f}{_SPACE}GB"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(8.25), duration(75), duration(3720)
    ('8.2\\xa0s', '1\\xa0min 15\\xa0s', '1\\xa0h 2\\xa0min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min {whole % 60}{_SPACE}s"
    return f"{whole // 3600}{_SPACE}h {whole % 3600 // 60}{_SPACE}min"
