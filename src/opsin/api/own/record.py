"""Which parts of somebody's own a run was trained with, and whether they are here again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsin.api.own.parts import Own
from opsin.core.config_file import read_config
from opsin.core.errors import WrongUsage
from opsin.core.run_dir import RunDir, read_record

FOLDER, LOADERS = "a folder", "DataLoaders"
_NONE: dict[str, Any] = {
    "model": None,
    "loss": None,
    "metrics": [],
    "callbacks": [],
    "data": FOLDER,
}


def own_record(own: Own, data: str = FOLDER) -> dict[str, Any]:
    """What `env.json` says of them; empty for a run without any."""
    return {"own": own.names() | {"data": data}} if own or data != FOLDER else {}


def refuse_other_parts(run: RunDir, own: Own, data: str = FOLDER) -> None:
    """Raise `WrongUsage` with the Python call that goes on, unless the run was trained with these
    parts: the same names, which is all that a file can tell of them.
    """
    before = (read_record(run.environment) if run.environment.exists() else {}).get("own", _NONE)
    now = own.names() | {"data": data}
    if before == now:
        return
    if now == _NONE:
        parts = ", ".join(f"{name} {_text(value)}" for name, value in before.items() if value)
        raise WrongUsage(
            f"this run was trained with parts that stand in no file: {parts}",
            code="own_parts_missing",
            where=str(run.path),
            fix=f"from Python: {call_to_go_on(run, before)}",
        )
    found = [
        f"{name} was {_text(before[name])}, is {_text(now[name])}"
        for name in before
        if before[name] != now[name]
    ]
    raise WrongUsage(
        f"the run was trained with other parts: {'; '.join(found)}",
        code="settings_changed",
        where=str(run.path),
        fix="give the same, or begin a new run",
    )


def refuse_other_names(run: RunDir, named: Mapping[str, Any]) -> None:
    """Raise `WrongUsage` for a model or loss that is given by name, and by another than before."""
    stored = read_config(run.config)
    for part, name in named.items():
        if isinstance(name, str) and name != stored.get(part):
            raise WrongUsage(
                f"{part} was {stored.get(part)}, is {name}",
                code="settings_changed",
                where=str(run.path),
                fix="give the same, or begin a new run",
            )


def refuse_to_rebuild(run: RunDir) -> None:
    """Raise `WrongUsage` for a run whose model or loss no file can make again."""
    own = (read_record(run.environment) if run.environment.exists() else {}).get("own", _NONE)
    parts = [f"{name} {own[name]}" for name in ("model", "loss") if own[name]]
    if parts or own["data"] == LOADERS:
        raise WrongUsage(
            f"this run was trained with parts that stand in no file: {', '.join(parts)}"
            + (", on DataLoaders, which say nothing of pictures" * (own["data"] == LOADERS)),
            code="own_part_missing",
            where=str(run.path),
            fix=f"its bundle is {run.bundle}"
            if run.bundle.exists()
            else "torch.onnx.export, from Python, where the module is",
        )


def go_on(run: RunDir, own: Own, data: str = FOLDER) -> str:
    """What to type to go on with a run: a command, or where it has own parts a Python call."""
    if not own and data == FOLDER:
        return f"opsin train --resume {run.path}"
    return call_to_go_on(run, own.names() | {"data": data})


def call_to_go_on(run: RunDir, record: dict[str, Any]) -> str:
    """The Python call that resumes a run of `record`."""
    parts = [f'"{run.path}"']
    if record["model"]:
        parts.append(f"model={record['model']}(...)")
    if record["loss"]:
        parts.append(f"loss={record['loss']}")
    for name in ("metrics", "callbacks"):
        if record[name]:
            parts.append(f"{name}=[{', '.join(record[name])}]")
    if record["data"] == LOADERS:
        parts.append("data=(train, val)")
    return f"opsin.resume({', '.join(parts)})"


def _text(value: Any) -> str:
    return " and ".join(value) if isinstance(value, list) and value else str(value or "none")
