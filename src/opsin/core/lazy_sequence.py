"""`LazySequence`: a sequence whose items are made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

Item = TypeVar("Item")


class LazySequence(Sequence[Item]):
    """Items by their number, each made anew. Equal to any sequence of equal items.

    >>> class Squares(LazySequence[int]):
    ...     def __len__(self):
    ...         return 4
    ...     def item(self, at):
    ...         return at * at
    >>> Squares()[-1], Squares()[1:3], Squares() == [0, 1, 4, 9]
    (9, (1, 4), True)
    """

    @abstractmethod
    def item(self, at: int) -> Item:
        """The item at `at`, from 0 on."""

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, at: int | slice) -> Item | tuple[Item, ...]:
        if isinstance(at, slice):
            return tuple(map(self.item, range(*at.indices(len(self)))))
        size = len(self)
        if not -size <= at < size:
            raise IndexError(f"{at} of {size}")
        return self.item(at % size)

    def __iter__(self) -> Iterator[Item]:
        return map(self.item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        same = (mine == theirs for mine, theirs in zip(self, other, strict=True))
        return len(self) == len(other) and all(same)

    __hash__ = None  # type: ignore[assignment]  # most of them grow

    def __repr__(self) -> str:
        more = f", and {len(self) - 3} more" if len(self) > 3 else ""
        return f"{type(self).__name__}({', '.join(map(repr, self[:3]))}{more})"
