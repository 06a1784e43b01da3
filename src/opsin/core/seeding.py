"""Keyed randomness: every draw is a function of (seed, epoch, source id, purpose).

Workers, order and restarts change nothing, because no generator has a state that lives on.
Source: counter-based generators, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
(2011); numpy's Philox.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MASK = 2**64 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # an odd number: 2**64 over the golden ratio


def key_of(*parts: int | str) -> int:
    """A 128-bit key from the parts, the same on every machine.

    >>> key_of(0, 1, "cat/1.jpg") == key_of(0, 1, "cat/1.jpg") != key_of(0, 2, "cat/1.jpg")
    True
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def generator(*parts: int | str) -> np.random.Generator:
    """A fresh generator for the key of `parts`.

    >>> bool(generator(0, "order").random() == generator(0, "order").random())
    True
    """
    return np.random.Generator(np.random.Philox(key=key_of(*parts)))


def torch_seed(*parts: int | str) -> int:
    """A 63-bit seed for `torch.manual_seed`, for the draws that torch itself makes (dropout)."""
    return key_of(*parts) & (2**63 - 1)


Columns = NDArray[np.uint64]
"""One key for each number that is drawn for a sample."""


def column_keys(seed: int, purpose: str, count: int) -> Columns:
    """The keys of `count` numbers that are drawn for `purpose`, uint64 (count,)."""
    keys = [key_of(seed, purpose, number) & _MASK for number in range(count)]
    return np.array(keys, np.uint64)


def draw_columns(
    columns: Columns, epochs: Sequence[int], ids: Sequence[str]
) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), float64 (B, columns), for samples `ids` in their `epochs`.

    Row b is a function of (columns, epochs[b], ids[b]) alone: no loop over samples but the look-up
    of their hash, and no state. 53 random bits each. Source: the finalizer of SplitMix64 (Steele
    et al., "Fast splittable pseudorandom number generators", 2014; its constants are variant 13
    of Stafford), applied to sample and epoch, then to sample, epoch and column.

    >>> draw_columns(column_keys(0, "rotate", 2), [1], ["cat/1.jpg"]).shape
    (1, 2)
    """
    samples = np.array([_hash_of(name) for name in ids], np.uint64)
    turns = np.array(epochs, np.int64).view(np.uint64) * _GOLDEN
    state = _mixed(_mixed(samples + turns))
    numbers = _mixed(_mixed(state[:, None] ^ columns[None, :]) + _GOLDEN)
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms(
    seed: int, purpose: str, epochs: Sequence[int], ids: Sequence[str], count: int
) -> NDArray[np.float64]:
    """`draw_columns` for one purpose: (B, count) in [0, 1).

    >>> both = uniforms(0, "flip", [1, 1], ["a", "b"], 3)
    >>> bool((both[1] == uniforms(0, "flip", [1], ["b"], 3)[0]).all())
    True
    """
    return draw_columns(column_keys(seed, purpose, count), epochs, ids)


@functools.lru_cache(maxsize=1 << 15)
def _hash_of(name: str) -> int:
    return key_of(name) & _MASK


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the result depends on every bit of the number; one to one."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
