"""The machine: which device, how much memory, which versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.core.errors import WrongUsage

if TYPE_CHECKING:
    import torch

PACKAGES = [
    "opsin",
    "numpy",
    "pillow",
    "simplejpeg",
    "onnxruntime",
    "pydantic",
    "fastapi",
    "uvicorn",
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxscript",
    "safetensors",
    "scikit-learn",
    "captum",
    "matplotlib",
]


def pick_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. Raises `WrongUsage`."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise WrongUsage(
            f'unknown device "{name}". Allowed: auto, cpu, cuda, cuda:N, mps', where="device"
        ) from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise WrongUsage(
            f"this machine has no {name}", code="no_device", where="device", fix="--device cpu"
        )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # seeds, streams and graphs are those of the current card
    return device


def versions() -> dict[str, str]:
    """Package to installed version, for those that Opsin uses and that are there."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """System, processor, cores that we may use, memory in bytes."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": memory()[0],
    }


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; without, it is slower than float32."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def process_bytes() -> int:
    """Bytes of memory that this process holds now, 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def page_faults() -> int:
    """Pages of memory that this process was given so far, 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def peak_process_bytes() -> int:
    """The most bytes of memory that this process ever held, 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0


def memory() -> tuple[int, int]:
    """(total, available) bytes of memory, a container's limit counted; available is guessed as
    half where the system does not tell, and both are 0 where it tells nothing.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        try:  # macOS
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return 0, 0
        return total, total // 2
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    total, available = values.get("MemTotal", 0), values.get("MemAvailable", 0)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit is None:
        return total, available
    return min(total, limit), min(available, max(0, limit - (used or 0)))


def _cgroup(name: str) -> int | None:
    """A number of the container's memory controller (cgroup v2); None where there is no limit."""
    try:
        text = Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
