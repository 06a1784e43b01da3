"""Keyed randomness: every draw is a function of (seed, epoch, source id, purpose).

Workers, order and restarts change nothing, because no generator has a state that lives on.
Source: counter-based generators, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
(2011); numpy's Philox.
"""

from __future__ import annotations

import hashlib

import numpy as np


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
