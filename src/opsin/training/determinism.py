"""What makes two runs with the same seed differ in the last bits, and how that is kept small."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_CUDA = [
    "gradients of bilinear and bicubic interpolation (position embeddings of some transformers)",
    "gradients of adaptive average pooling to more than one cell, of reflection padding, of"
    " grid_sample",
    "cumulative sums of floats",
    "losses over maps of classes (cross-entropy with a class for each pixel)",
    "another model of GPU, another version of CUDA or cuDNN, another number of GPUs",
]
_MPS = ["any operation: torch has no deterministic mode for MPS and promises nothing"]


def not_deterministic(device: torch.device) -> list[str]:
    """What may change the bits of a run on `device` even under `make_deterministic`, to be printed.

    On a processor nothing but what the list names: tested. For CUDA these are the operations in
    the documentation of `torch.use_deterministic_algorithms` for which torch only warns and which
    a picture model can meet; they add numbers in the order in which threads arrive.
    """
    everywhere = f"another version of torch (this is {torch.__version__}) or another processor"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return [f"another number of threads (now {threads}): sums in another order", everywhere]
    return [*{"cuda": _CUDA, "mps": _MPS}.get(device.type, ["not known here"]), everywhere]


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what torch, numpy and `random` draw themselves, for one step on `device`.

    Not by `torch.manual_seed`: where a GPU could be and is not in use, that formats the caller's
    stack three times in each call, .3 of the 1.2 ms that a small step takes (measured).
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic operations, and generators of torch, numpy and `random` that may be seeded at
    every step: the caller's are put back.
    """
    generators = [device] if device.type == "cuda" else []
    numpys, pythons = np.random.get_state(), random.getstate()
    try:
        with make_deterministic(device), torch.random.fork_rng(generators):
            yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)


@contextmanager
def make_deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic operations while the context lasts; a warning from torch where it has none.

    The processor needs it too: with more than one thread, torch adds the gradients of a large
    `table[rows]` (relative positions as in Swin) in the order in which threads arrive; measured.
    For CUDA, cuDNN does not choose its algorithm by a race, and cuBLAS gets the fixed workspace
    that it asks for; it reads that when it starts, so the context must begin before anything is
    computed, and the variable stays set. No GPU was at hand to measure that.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark,
    )
    # "warn" is `use_deterministic_algorithms(True, warn_only=True)` without its second of imports.
    torch.set_deterministic_debug_mode("warn")
    # Finds reads of memory that nobody wrote; costs a write of every new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = before[2]
