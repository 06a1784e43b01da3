"""How the processes of one training find each other."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from opsin.core.device import hardware
from opsin.core.errors import OpsinError, WrongUsage
from opsin.training.distributed import ProcessLost, Ranks
from opsin.training.processes import ALONE, Processes

_joins = itertools.count()


@contextmanager
def joined(
    device: str = "cpu",
    *,
    patience_s: float,
    environment: Mapping[str, str] = os.environ,
    listening: int | None = None,
    watch: Callable[[], None] = lambda: None,
    why: Callable[[], OpsinError | None] = lambda: None,
) -> Iterator[Processes]:
    """Meet the other processes that `environment` tells of, with torchrun's names (RANK,
    WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT); `ALONE` without them.

    `device`: the setting; with GPUs each process gets one, which `cuda` means from then on.
    `patience_s`: longest wait for another that lives. `listening`: an open socket at that port,
    for rank 0. `watch` is called while rank 0 waits for the others to come, and may raise. `why`:
    see `Ranks`. Unless OMP_NUM_THREADS says otherwise the cores are divided among the processes.

    Raises `WrongUsage` for a device that cannot be shared, and what `Ranks.fault` knows of an
    error inside.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    rank = int(environment["RANK"])
    beside = int(environment.get("LOCAL_WORLD_SIZE", size))
    backend = _backend(device, beside)
    if backend != "gloo":
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", rank)))
    if "OMP_NUM_THREADS" not in environment:
        torch.set_num_threads(max(1, int(hardware()["cores"] or 1) // beside))
    ranks = Ranks(rank, size, why=why)
    try:
        store = _meet(rank, size, patience_s, environment, listening, watch)
        with _loopback(environment["MASTER_ADDR"]):
            dist.init_process_group(
                backend,
                timeout=timedelta(seconds=patience_s),
                store=store,
                rank=rank,
                world_size=size,
            )
        yield ranks
    except Exception as error:
        fault = ranks.fault(error)
        if fault is None:
            raise
        raise fault from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _meet(
    rank: int,
    size: int,
    patience_s: float,
    environment: Mapping[str, str],
    listening: int | None,
    watch: Callable[[], None],
) -> PrefixStore:
    """The store of all processes, once rank 0 has seen each of them there."""
    # torchrun keeps the meeting point itself, for restarts and for trainings after each other.
    kept = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    point = TCPStore(
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        size,
        is_master=rank == 0 and not kept,
        timeout=timedelta(seconds=patience_s),
        wait_for_workers=False,
        master_listen_fd=listening,
    )
    restarts = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"opsin/{restarts}/{next(_joins)}" if kept else "opsin", point)
    store.set(f"here/{rank}", "")
    everybody = [f"here/{each}" for each in range(size)]
    until = time.monotonic() + patience_s
    while rank == 0 and not store.check(everybody):
        watch()
        if time.monotonic() > until:
            raise ProcessLost(f"not all of {size} processes came within {patience_s:.0f} s")
        time.sleep(0.02)
    return store


def _backend(device: str, beside: int) -> str:
    """What connects `beside` processes of this machine that train on `device`."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return "gloo"
    if device != "cuda":
        raise WrongUsage(
            f"several processes cannot share {device}",
            code="no_device",
            where="device",
            fix="--device cpu, or --device cuda with a GPU for each process",
        )
    count = torch.cuda.device_count()
    if count < beside:
        raise WrongUsage(
            f"{beside} processes need as many GPUs, and this machine has {count}",
            code="no_device",
            where="processes",
            fix=f"--processes {max(1, count)}, or --device cpu",
        )
    return "cpu:gloo,cuda:nccl"


@contextmanager
def _loopback(address: str) -> Iterator[None]:
    """Gloo listens where the machine's name leads to, for anybody; not for processes of one
    machine that met at its loopback address.
    """
    name = "GLOO_SOCKET_IFNAME"
    loops = {"Linux": "lo", "Darwin": "lo0"}
    loop = loops.get(os.uname().sysname) if hasattr(os, "uname") else None
    if address != "127.0.0.1" or name in os.environ or loop is None:
        yield
        return
    os.environ[name] = loop
    try:
        yield
    finally:
        del os.environ[name]
