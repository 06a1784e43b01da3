"""Names as they may be shown, on a terminal or a page: they can hold anything but "/" and NUL."""

from __future__ import annotations

import unicodedata

# Marks that turn the direction of the text after them, which makes a name read as another one.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HIDDEN = frozenset({"Cc", "Cn", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""`text` with everything that cannot be shown written out as an escape; UTF-8 can hold it.

    Bytes of a name that are not UTF-8 (surrogates of `surrogateescape`) become ``\xNN``, line
    breaks and other controls ``\n`` or ``\x1b``, marks of direction ``\u202e``. Emoji stay.

    >>> print(printable("cat\n1.png"), printable("caf\udce9.jpg"))
    cat\n1.png caf\xe9.jpg
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_one(character) for character in text)


def _one(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character in _TURNING or unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode_escape").decode("ascii")
    return character
