"""`config.yaml`: the settings of a run as a file that repeats it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from opsin.core.config import TrainConfig
from opsin.core.errors import WrongUsage
from opsin.core.files import write_text


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, unchecked. Relative paths count from the working folder."""
    if not path.is_file():
        raise WrongUsage("no such config file", code="no_such_path", where=str(path))
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongUsage(f"not YAML: {error}", code="bad_config", where=str(path)) from None
    if not isinstance(values, dict):
        raise WrongUsage("not a mapping of names to values", code="bad_config", where=str(path))
    return values


def write_config(path: Path, config: TrainConfig) -> None:
    """Write the resolved settings, each with its meaning as a comment."""
    lines = ["# Every setting of this run. To repeat it: opsin train --config config.yaml"]
    for name, value in config.model_dump(mode="json").items():
        text = yaml.safe_dump({name: value}, allow_unicode=False, width=10_000).rstrip()
        lines.append(f"{text}  # {TrainConfig.model_fields[name].description}")
    write_text(path, "\n".join(lines) + "\n")
