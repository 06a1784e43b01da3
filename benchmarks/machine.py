"""What a figure was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

from processes import PYTHON


def machine() -> dict[str, str]:
    """Processor, cores, memory, system, load, and the versions that opsin runs on."""
    program = (
        "import json; from opsin.core.version import version; "
        "from importlib.metadata import version as of; "
        "names = ('torch', 'onnxruntime', 'pillow', 'numpy'); "
        "print(json.dumps({'opsin': version(), **{name: of(name) for name in names}}))"
    )
    said = subprocess.run([*PYTHON, "-c", program], capture_output=True, text=True, check=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **json.loads(said.stdout),
    }


def load() -> str:
    """The load average over the last minute: above a few tenths, somebody else is running."""
    return f"{os.getloadavg()[0]:.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
