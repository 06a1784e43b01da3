"""Numbers in words for people: how long, how large, how many.

`space` stands between a number and its unit; the report gives a no-break space.
"""

from __future__ import annotations


def duration(seconds: float, space: str = " ") -> str:
    """A time as people say it.

    >>> duration(8.25), duration(59.7), duration(75), duration(3720)
    ('8.2 s', '1 min 0 s', '1 min 15 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}{space}s"
    if whole < 3600:
        return f"{whole // 60}{space}min {whole % 60}{space}s"
    return f"{whole // 3600}{space}h {whole % 3600 // 60}{space}min"


def size(size_bytes: float, space: str = " ") -> str:
    """Bytes in the unit that suits them, of a thousand each.

    >>> size(512), size(16_400_000), size(4.1e12)
    ('512 B', '16.4 MB', '4.1 TB')
    """
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return (f"{amount:.0f}" if unit == "B" else f"{amount:.1f}") + space + unit
        amount /= 1000
    return f"{amount:.1f}{space}TB"


def plural(number: float, word: str) -> str:
    """A count of things.

    >>> plural(1, "picture"), plural(1200, "picture"), plural(0, "file")
    ('1 picture', '1,200 pictures', '0 files')
    """
    return f"{number:,.0f} {word}" + "s" * (number != 1)
