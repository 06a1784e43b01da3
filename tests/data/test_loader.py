"""Batches: keyed order and augmentation, whatever the workers and the epoch before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opsin.core.preprocess import PreprocessSpec
from opsin.data.augment.registry import AUGMENTATIONS
from opsin.data.dataset import ImageDataset
from opsin.data.loader import Loader, batch_plan
from opsin.data.pixels import PixelStore
from opsin.data.shared_memory import shared_memory_note

SPEC = PreprocessSpec(size_px=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
COUNT = 21


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    draw = np.random.default_rng(0)
    paths = []
    for number in range(COUNT):
        path = folder / f"{number}.png"
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
        paths.append(path)
    return paths


def loader(
    files: list[Path],
    augment: str,
    workers: int,
    *,
    stored: bool = True,
    seed: int = 0,
    balanced: bool = False,
    shuffle: bool = True,
    say: Callable[[str], None] = print,
) -> Loader:
    store = PixelStore(files, SPEC, budget_bytes=10**9 if stored else 0)
    if stored:
        for row, path in enumerate(files):
            store.put(row, SPEC.prepare(np.asarray(Image.open(path))))
    ids = [path.name for path in files]
    targets = [0] * (COUNT - 3) + [1] * 3 if balanced else range(COUNT)
    dataset = ImageDataset(store, range(COUNT), targets, ids, seed=seed, augment=augment)
    return Loader(
        dataset,
        torch.tensor,
        batch_size=4,
        shuffle=shuffle,
        balanced=balanced,
        workers=workers,
        say=say,
    )


def epochs(made: Loader, numbers: list[int]) -> list[tuple[torch.Tensor, list[int], object]]:
    return [
        (batch.inputs, batch.targets.tolist(), batch.ids)
        for number in numbers
        for batch in made.epoch(number)
    ]


@pytest.mark.parametrize("augment", ["none", "light", *AUGMENTATIONS])
def test_workers_stores_and_restarts_change_nothing(files: list[Path], augment: str) -> None:
    here = epochs(loader(files, augment, 0), [1, 2])
    others = [
        epochs(loader(files, augment, 2), [1, 2]),
        epochs(loader(files, augment, 0), [1]) + epochs(loader(files, augment, 0), [2]),
        epochs(loader(files, augment, 0, stored=False), [1, 2]),
    ]
    for other in others:
        assert len(here) == len(other) == 10
        for (a, a_targets, a_ids), (b, b_targets, b_ids) in zip(here, other, strict=True):
            assert torch.equal(a, b)
            assert (a_targets, a_ids) == (b_targets, b_ids)


def test_order_changes_with_epoch_and_seed_and_misses_nothing(files: list[Path]) -> None:
    def order(epoch: int, seed: int) -> list[int]:
        made = loader(files, "none", 0, seed=seed)
        return [t for _, targets, _ in epochs(made, [epoch]) for t in targets]

    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)
    assert sorted(order(1, 0)) == list(range(COUNT))


@pytest.mark.parametrize("augment", ["light", "trivial"])
def test_augmentation_changes_pictures_and_differs_by_epoch(
    files: list[Path], augment: str
) -> None:
    by_id = [
        {
            name: row
            for inputs, _, ids in epochs(loader(files, kind, 0), [epoch])
            for name, row in zip(ids, inputs, strict=True)
        }
        for kind, epoch in (("none", 1), (augment, 1), (augment, 2))
    ]
    changed = sum(not torch.equal(by_id[0][i], by_id[1][i]) for i in by_id[0])
    assert changed > COUNT / 2
    assert sum(not torch.equal(by_id[1][i], by_id[2][i]) for i in by_id[0]) > COUNT / 2


def test_last_batch_of_one_joins_the_one_before() -> None:
    sizes = [
        len(b) for b in batch_plan([str(n) for n in range(9)], 4, seed=0, epoch=1, shuffle=True)
    ]
    assert sizes == [4, 5]
    assert [len(b) for b in batch_plan(["a"], 4, seed=0, epoch=1, shuffle=True)] == [1]


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_from_the_middle_of_an_epoch_on(files: list[Path], workers: int, balanced: bool) -> None:
    made = loader(files, "light", 0, balanced=balanced)
    whole = list(made.epoch(2))
    assert len(whole) == 5
    for start in (0, 3, 5):
        rest = list(loader(files, "light", workers, balanced=balanced).epoch(2, start))
        assert [b.ids for b in rest] == [b.ids for b in whole[start:]]
        for a, b in zip(rest, whole[start:], strict=True):
            assert torch.equal(a.inputs, b.inputs)


@pytest.mark.parametrize("balanced", [False, True])
def test_processes_share_the_batches(files: list[Path], balanced: bool) -> None:
    whole = list(loader(files, "light", 0, balanced=balanced).epoch(1))
    ranks = []
    for rank in range(5):
        made = loader(files, "light", 0, balanced=balanced)
        made.share = (rank, 5)
        assert made.plan(1) == loader(files, "light", 0, balanced=balanced).plan(1)
        ranks.append(list(made.epoch(1)))
    for number, batch in enumerate(whole):
        for rank, mine in enumerate(ranks):
            part = mine[number]
            if rank < len(batch):
                assert not part.filler
                assert part.ids == batch.ids[rank::5]
                assert torch.equal(part.inputs, batch.inputs[rank::5])
            else:
                assert part.filler
                assert part.to(torch.device("cpu")).filler
                assert part.ids == batch.ids[:1]
    plain = loader(files, "none", 0, shuffle=False)
    plain.share = (4, 5)
    assert not list(plain.epoch(0)), "nothing is learnt, so nobody waits"


def test_a_picture_drawn_again_is_augmented_anew(files: list[Path]) -> None:
    rows: dict[str, list[torch.Tensor]] = {}
    for batch in loader(files, "light", 0, balanced=True).epoch(1):
        for name, row in zip(batch.ids, batch.inputs, strict=True):
            rows.setdefault(name, []).append(row)
    repeated = [views for views in rows.values() if len(views) > 1]
    assert len(repeated) == 3
    for views in repeated:
        assert sum(torch.equal(views[0], view) for view in views[1:]) == 0


def test_once_is_every_sample_in_order(files: list[Path]) -> None:
    made = loader(files, "none", 0, balanced=True)
    made.share = (1, 2)
    assert [name for batch in made.once() for name in batch.ids] == made.dataset.ids


def test_the_generator_of_everybody_is_left_alone(files: list[Path]) -> None:
    before = torch.get_rng_state()
    epochs(loader(files, "light", 2), [1])
    assert torch.equal(before, torch.get_rng_state())


def children() -> list[int]:
    told = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(word) for word in told.split()]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc")


@needs_proc
def test_a_killed_worker_changes_nothing(files: list[Path]) -> None:
    said: list[str] = []
    here = list(loader(files, "light", 0).epoch(1))
    made = loader(files, "light", 2, say=said.append)
    batches = made.epoch(1)
    found = [next(batches)]
    for worker in children():
        os.kill(worker, signal.SIGKILL)
    found += batches
    assert [b.ids for b in found] == [b.ids for b in here]
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(found, here, strict=True))
    # Both may have delivered everything before they were killed.
    assert said == [] or "a loader worker was lost; going on without workers (" in said[0]
    assert not children()


def deaf(pid: int) -> bool:
    """Whether a process holds SIGTERM back."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


@needs_proc
def test_sigterm_to_all_leaves_the_workers_at_work(files: list[Path]) -> None:
    said: list[str] = []
    batches = loader(files, "none", 2, stored=False, say=said.append).epoch(1)
    found = [next(batches)]
    workers = children()
    assert len(workers) == 2
    while not all(map(deaf, workers)):  # the second may not have begun yet
        time.sleep(0.01)
    # By somebody else: the parent's own signal is meant.
    for name in ("-INT", "-TERM"):
        subprocess.run(["kill", name, *map(str, workers)], check=True)
    found += batches
    assert len(found) == 5
    assert not said
    assert not children(), "and they end with the epoch"


@needs_proc
def test_an_epoch_left_in_the_middle_ends_its_workers(files: list[Path]) -> None:
    batches = loader(files, "none", 2).epoch(1)
    next(batches)
    assert children()
    del batches
    assert not children()


ORPHANS = """
import sys, time, numpy as np, torch
from pathlib import Path
from opsin.core.preprocess import PreprocessSpec
from opsin.data.dataset import ImageDataset
from opsin.data.loader import Loader
from opsin.data.pixels import PixelStore
import multiprocessing
store = PixelStore([Path("x")] * 8, PreprocessSpec(size_px=(8, 8)), budget_bytes=10**6)
for row in range(8):
    store.put(row, np.zeros((8, 8, 3), np.uint8))
data = ImageDataset(store, range(8), range(8), list("abcdefgh"), seed=0)
batches = Loader(data, torch.tensor, batch_size=1, workers=2).epoch(1)
next(batches)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
kept = sys.modules["kept"] = batches  # still open when the interpreter ends
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@needs_proc
@pytest.mark.parametrize("how", ["wait", "leave"])
def test_workers_outlive_no_parent(how: str) -> None:
    """Of a parent that was killed, and of one that leaves in the middle of an epoch."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, how], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        if how == "wait":
            for worker in workers:
                os.kill(worker, signal.SIGTERM)
            parent.kill()
    for _ in range(600):
        if all(map(gone, workers)):
            break
        time.sleep(0.1)
    assert all(map(gone, workers))


SERVED = (
    ORPHANS.partition("batches =")[0]
    + """
if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    said = []
    loader = Loader(data, torch.tensor, batch_size=1, workers=2, say=said.append)
    print([batch.ids for batch in loader.epoch(1)] == [(name,) for name in "abcdefgh"], said)
"""
)


@needs_proc
def test_workers_that_a_server_makes(tmp_path: Path) -> None:
    """Their parent is the server, not the process that they work for (Python 3.14's default)."""
    script = tmp_path / "served.py"
    script.write_text(SERVED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True []", done.stderr


def test_what_is_said_of_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "opsin.data.shared_memory.SHARED_MEMORY"
    bus = RuntimeError("DataLoader worker (pid 1) is killed by signal: Bus error.")
    killed = RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")
    monkeypatch.setattr(place, tmp_path)
    assert "need about 5.0 MB" in shared_memory_note(bus, 2, 10**6)
    assert shared_memory_note(killed, 2, 10**6) == ""
    assert "need about 5.0 EB" not in shared_memory_note(killed, 2, 10**18)
    assert "shared memory: " in shared_memory_note(killed, 2, 10**18)
    monkeypatch.setattr(place, tmp_path / "none")
    assert shared_memory_note(bus, 2, 10**6) == ""
