"""Columns of text: what a list of strings would hold, in a fraction of the memory.

A string of Python takes 50 bytes before its first letter, and a reference 8 more. Two hundred
thousand names are 16 MB as a list, 5 MB here; hashes, written as hex, 24 MB and 6 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from opsin.core.lazy_sequence import LazySequence

Numbers = NDArray[np.int64]


class Column(LazySequence[str]):
    """Strings that are made when they are asked for."""

    def groups(self, positions: Numbers) -> Numbers:
        """A number for each of `positions`, the same for those whose strings are equal."""
        seen: dict[str, int] = {}
        texts = map(self.item, positions.tolist())
        return np.array([seen.setdefault(text, len(seen)) for text in texts], np.int64)


class Texts(Column):
    """Any strings, such as file names; also those that are not UTF-8.

    >>> names = Texts(["cat/1.jpg", "dog/2.jpg"])
    >>> names[1], names.find(["dog/2.jpg", "cat/1.jpg"]).tolist()
    ('dog/2.jpg', [1, 0])
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("I")
        self.extend(texts)

    def append(self, text: str) -> None:
        """Add one."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def extend(self, texts: Iterable[str]) -> None:
        """Add some."""
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self._ends)

    def item(self, at: int) -> str:
        start = self._ends[at - 1] if at else 0
        return self._bytes[start : self._ends[at]].decode("utf-8", "surrogatepass")

    def pick(self, positions: Numbers) -> Picked:
        """Those at `positions`, in that order."""
        return Picked(self, positions)

    def find(self, texts: Sequence[str]) -> Numbers:
        """Where each of `texts` stands. Raises `KeyError` for one that is not here.

        Of equal ones one is found.
        """
        if isinstance(texts, Picked) and texts.of is self:
            return texts.positions
        places, found = Places(self), np.empty(len(texts), np.int64)
        for number, text in enumerate(texts):
            found[number] = at = places.of(text)
            if at < 0:
                raise KeyError(text)
        return found


class Places:
    """Where each of `texts` stands. It takes 16 bytes for each, and is not kept with them.

    >>> Places(Texts(["a", "b"])).of("b")
    1
    """

    def __init__(self, texts: Column) -> None:
        hashes = np.fromiter(map(hash, texts), np.int64, len(texts))
        self._texts = texts
        self._order = hashes.argsort(kind="stable")
        self._hashes = hashes[self._order]

    def of(self, text: str) -> int:
        """Where `text` stands, -1 where it is not there. Of equal ones one is found."""
        wanted = hash(text)
        at = int(self._hashes.searchsorted(wanted))
        while at < len(self._order) and self._hashes[at] == wanted:  # two may have one hash
            if self._texts[int(self._order[at])] == text:
                return int(self._order[at])
            at += 1
        return -1


class Picked(Column):
    """Strings of `of`, by their `positions`."""

    def __init__(self, of: Texts, positions: Numbers) -> None:
        self.of = of
        self.positions = np.asarray(positions, np.int64)

    def __len__(self) -> int:
        return len(self.positions)

    def item(self, at: int) -> str:
        return self.of.item(int(self.positions[at]))

    def __hash__(self) -> int:  # type: ignore[override]  # nothing is added to it
        return hash(tuple(self))


class Joined(Column):
    """Columns after each other.

    >>> Joined([Texts(["a", "b"]), Texts(["c"])])[2]
    'c'
    """

    def __init__(self, parts: Iterable[Sequence[str]]) -> None:
        self._parts = [part for part in parts if len(part)]
        self._starts = np.cumsum([0, *map(len, self._parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def item(self, at: int) -> str:
        part = int(self._starts.searchsorted(at, "right")) - 1
        return self._parts[part][at - int(self._starts[part])]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._parts)


class Codes(Column):
    """Few different strings, each a small number.

    `values`: those that there are; `numbers`: which of them stands at each place.

    >>> colours = Codes(["RGB", "L", "RGB"])
    >>> colours.values, colours.numbers.tolist(), colours[2]
    (['RGB', 'L'], [0, 1, 0], 'RGB')
    """

    def __init__(self, texts: Iterable[str] = (), *, size: int = 0) -> None:
        """`texts`, or `size` times the empty string."""
        self.values: list[str] = [""] if size else []
        self._number = {value: at for at, value in enumerate(self.values)}
        self._numbers: array[int] = array("B", bytes(size))
        self.extend(texts)

    @property
    def numbers(self) -> Numbers:
        """Int64 N, of the moment."""
        return np.array(self._numbers, np.int64)

    def extend(self, texts: Iterable[str]) -> None:
        """Add some."""
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add one."""
        code = self._code(text)  # which may make `_numbers` wider
        self._numbers.append(code)

    def repeat(self, text: str, times: int) -> None:
        """Add the same some times."""
        code = self._code(text)
        self._numbers.extend(array(self._numbers.typecode, [code]) * times)

    def __setitem__(self, at: int, text: str) -> None:
        code = self._code(text)
        self._numbers[at] = code

    def __len__(self) -> int:
        return len(self._numbers)

    def item(self, at: int) -> str:
        return self.values[self._numbers[at]]

    def where(self, text: str) -> Numbers:
        """The places of a string."""
        return np.flatnonzero(self.numbers == self._number.get(text, -1))

    def _code(self, text: str) -> int:
        number = self._number.get(text)
        if number is None:
            number = self._number[text] = len(self.values)
            self.values.append(text)
            if number == 1 << 8:  # a byte is enough for nearly all
                self._numbers = array("I", self._numbers)
        return number


class Hashes(Column):
    """SHA-256 sums in hex, "" for one that is not known.

    >>> sums = Hashes(2)
    >>> sums[1] = "ab" * 32
    >>> sums[0], sums[1][:4]
    ('', 'abab')
    """

    def __init__(self, size: int) -> None:
        self._sums = np.zeros((size, 32), np.uint8)

    def __setitem__(self, at: int, hexadecimal: str) -> None:
        self._sums[at] = np.frombuffer(bytes.fromhex(hexadecimal), np.uint8) if hexadecimal else 0

    def __len__(self) -> int:
        return len(self._sums)

    def item(self, at: int) -> str:
        found = self._sums[at].tobytes()
        return found.hex() if any(found) else ""

    def groups(self, positions: Numbers) -> Numbers:
        sums = np.ascontiguousarray(self._sums[positions]).view("V32").reshape(-1)
        numbers: Numbers = np.unique(sums, return_inverse=True)[1].astype(np.int64)
        return numbers
