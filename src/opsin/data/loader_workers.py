"""The processes that prepare batches: how they begin and end, and what a lost one costs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from opsin.core.batch import Batch
from opsin.data.shared_memory import tells_of_shared_memory

AnyPart = TypeVar("AnyPart")
Parts = Callable[[], Iterator[AnyPart]]
"""Gives the parts of an epoch, from the first one on, each time it is called."""


def unbroken(
    batches: Callable[[Parts[AnyPart], int], Iterator[Batch]],
    parts: Parts[AnyPart],
    workers: int,
    lost: Callable[[BaseException], None],
) -> Iterator[Batch]:
    """`batches(parts, workers)`; where a worker is lost, `lost` is told and the rest is done here.

    Order and draws are keyed, so the rest are the batches that the workers owe.
    """
    given = 0
    try:
        for batch in batches(parts, workers):
            given += 1
            yield batch
        return
    except (RuntimeError, OSError, EOFError) as error:
        if not workers or not is_lost_worker(error):
            raise
        lost(error)
    yield from batches(lambda: islice(parts(), given, None), 0)


def is_lost_worker(error: BaseException) -> bool:
    """Whether `error`, raised while a batch was waited for, says that a worker is gone: in torch's
    words, or because nobody hands over the memory in which the worker had left the batch. What was
    raised in a worker is no loss of it, except for want of shared memory.
    """
    if str(error).startswith("Caught "):
        return tells_of_shared_memory(error)
    gone = isinstance(error, ConnectionError | EOFError | FileNotFoundError)
    return gone or "DataLoader worker" in str(error)


def calm_iterator(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of `loader`. A lost worker is reported here, when its batch is waited for.

    torch would raise in a signal handler, wherever the main thread is at that moment: in the middle
    of a step. It looks for lost workers every five seconds all the same.
    """
    if not loader.num_workers or threading.current_thread() is not threading.main_thread():
        return _begun(loader)
    number = getattr(signal, "SIGCHLD", None)
    before = signal.getsignal(number) if number is not None else None
    batches = _begun(loader)
    if number is not None and before is not None:
        signal.signal(number, before)
    return batches


def _begun(loader: DataLoader[Any]) -> Iterator[Any]:
    """Its workers are born deaf to SIGTERM: torch makes threads in them before `quiet_worker`."""
    if not loader.num_workers or sys.platform != "linux":
        return iter(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def quiet_worker(parent: int, _worker: int) -> None:
    """One thread, deaf to Ctrl-C, and to SIGTERM from anybody but `parent`, with which it ends.

    A signal to the whole process group must not end the worker before the parent has saved. Where
    the system does not tell who sent it (macOS, Windows) the worker ends, and its work is done by
    the parent.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # a server forgets the mask
        threading.Thread(target=_heed, args=(parent,), daemon=True).start()


def _served(parent: int) -> bool:
    """Whether `parent` had this process made by a server (forkserver), and lives."""
    mother = multiprocessing.parent_process()
    return mother is not None and mother.pid == parent != os.getppid() and mother.is_alive()


def _heed(parent: int) -> None:
    """End this process when `parent` sends SIGTERM, or is gone.

    torch watches the parent too, but the one that it finds when it begins: killed before that, it
    would never be missed.
    """
    if sys.platform == "linux":
        while os.getppid() == parent or _served(parent):
            told = signal.sigtimedwait([signal.SIGTERM], 5)
            if told and told.si_pid == parent:
                break
        os._exit(0)
