"""Single bits of the newest checkpoint turned over: each is noticed, and the spare is used."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from tests.soak.tally import Tally

READS = 25


def flip_bits(folder: Path, checkpoints: Path, count: int, seed: str) -> Tally:
    """Turn `count` random bits of the newest in a copy of `checkpoints`, one at a time."""
    from opsin.training.checkpoint import CheckpointStore

    tally = Tally()
    shutil.copytree(checkpoints, folder)
    store = CheckpointStore(folder)
    spare, newest = sorted(folder.glob("step-*.safetensors"))[-2:]
    whole = newest.read_bytes()
    for _ in range(READS):
        start = time.perf_counter()
        saved, _notes = store.newest(set_aside=False)
        tally.sample("reading a checkpoint", time.perf_counter() - start)
        assert saved
        assert saved.path == newest
    tally.sample("size of a checkpoint", len(whole))
    draw = random.Random(seed)
    for bit in draw.sample(range(8 * len(whole)), count):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        newest.write_bytes(data)
        tally.counts["flips"] += 1
        try:
            saved, notes = store.newest(set_aside=False)
        except Exception as error:
            tally.fail("flip not noticed", f"bit {bit} of {newest}: {error}")
            continue
        if saved is None or saved.path != spare or len(notes) != 1:
            tally.fail("flip not noticed", f"bit {bit} of {newest}: {saved and saved.path}")
    newest.write_bytes(whole)
    shutil.rmtree(folder)
    return tally


def read_large(folder: Path, megabytes: int) -> Tally:
    """How long a checkpoint of the size of a real network takes to be read."""
    import torch

    from opsin.training.checkpoint import CheckpointStore

    tally = Tally()
    store = CheckpointStore(folder)
    store.save(1, {"position": {"total": 1}}, {"weights": torch.rand(megabytes, 250_000)})
    for _ in range(5):
        start = time.perf_counter()
        assert store.newest()[0]
        tally.sample(f"reading {megabytes} MB", time.perf_counter() - start)
    tally.counts["large checkpoints"] += 1
    shutil.rmtree(folder)
    return tally
