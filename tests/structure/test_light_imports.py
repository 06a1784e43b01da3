"""What is slow to import is imported only by the verb that needs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "captum",
    "fastapi",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "PIL",
    "safetensors",
    "scipy",
    "sklearn",
    "starlette",
    "timm",
    "torch",
    "torchvision",
    "uvicorn",
}
# What `opsin --help` may not wait for either; the root import leaves these to its verbs too.
NOT_FOR_HELP = {"numpy", "pydantic", "yaml", "prometheus_client", "asyncio"}

HELP = """
import sys
from opsin.cli.main import main
sys.argv = ["opsin", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def loaded_by(program: str) -> set[str]:
    """The top-level modules that are loaded after `program` ran in a new process."""
    ending = "\nimport json, sys\nprint('\\n' + json.dumps([*sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", program + ending], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}


def test_the_probe_sees_a_heavy_import() -> None:
    assert {"PIL", "numpy"} <= loaded_by("import PIL.Image, numpy")


def test_importing_opsin_loads_nothing_heavy() -> None:
    loaded = loaded_by("import opsin")
    assert "opsin" in loaded
    assert not loaded & (HEAVY | NOT_FOR_HELP)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = loaded_by(HELP.format(arguments=arguments))
    assert "typer" in loaded
    assert not loaded & (HEAVY | NOT_FOR_HELP)
