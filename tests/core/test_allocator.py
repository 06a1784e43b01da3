"""Held memory: where there is glibc, and that it comes back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from opsin.core import allocator
from opsin.core.allocator import ENVIRONMENT, held_memory, prepare_environment, trim

FAULTS = """
import resource, sys
from contextlib import nullcontext
from opsin.core.allocator import held_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = bytearray(64 << 20)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
with nullcontext("none") if sys.argv[1] == "plain" else held_memory():
    faults()
    print(faults())
    sizes = [bytes(n << 20) for n in (64, 96, 48, 128)]
    del sizes
    inside = resident()
print(inside, resident())
"""

linux = pytest.mark.skipif(allocator._glibc() is None, reason="glibc only")


def measured(how: str) -> tuple[int, int, int]:
    out = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    ).stdout.split()
    return int(out[0]), int(out[1]), int(out[2])


@linux
def test_held_blocks_are_not_faulted_in_again_and_go_back_at_the_end() -> None:
    plain, held = measured("plain"), measured("held")
    assert plain[0] > 20 * 1000  # 64 MB are 16,384 pages of 4 kB; a system may give larger ones
    assert held[0] < plain[0] / 50
    assert held[1] > held[2] + 50_000_000
    assert abs(held[2] - plain[2]) < 30_000_000


@linux
def test_trim_gives_back_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with held_memory() as what:
        assert what == "memory held"
        block = bytearray(50 << 20)
        del block
        assert trim()


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with held_memory() as what:
        assert what == f"memory not held: {sys.platform} has no glibc"
    assert not trim()


def test_a_library_without_the_version_of_glibc_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Musl has `malloc_trim` in no release and `gnu_get_libc_version` in none."""

    class Musl:
        def __getattr__(self, name: str) -> None:
            raise AttributeError(name)

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Musl())
    allocator._glibc.cache_clear()
    try:
        assert allocator._glibc() is None
    finally:
        allocator._glibc.cache_clear()


def test_the_environment_is_prepared_before_torch_and_only_where_nobody_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    empty: dict[str, str] = {}
    assert prepare_environment(empty)
    assert empty == ENVIRONMENT
    own = {"GOMP_SPINCOUNT": "7"}
    assert prepare_environment(own)
    assert own["GOMP_SPINCOUNT"] == "7"
    waits = {"OMP_WAIT_POLICY": "PASSIVE"}
    assert not prepare_environment(waits)
    assert waits == {"OMP_WAIT_POLICY": "PASSIVE"}
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert not prepare_environment({})
