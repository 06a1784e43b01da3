"""`opsin demo`: the main job from raw pictures to a verified model, on digits, step by step."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import Annotated

import typer

from opsin.cli.show import near_path
from opsin.core.run_dir import open_run

FAULTS = "(exit 1 is right here: three faults were planted, and check found something)"
MODEL = ["--model", "lenet", "--epochs", "20", "--image-size", "32", "--lr", "0.002"]
# On pictures of this size a second thread gains nothing, and costs much on a busy machine.
TRAINING = [*MODEL, "--threads", "1"]
# A process for each step, since that is what a person gets who types it. `-P`: a `json.py` in the
# folder where the person stands must not be imported.
OPSIN = [sys.executable, "-P", "-c"]
OPSIN += ["import sys; sys.argv[0] = 'opsin'; from opsin.cli.main import main; main()"]


def demo(
    folder: Annotated[Path, typer.Argument(help="where the digits are written")] = Path("demo"),
) -> None:
    """The whole job on 1,797 handwritten digits in a minute, each step with what you would type."""
    started = time.monotonic()
    data = _digits(folder)
    picture = max((data / "7").glob("*.png"))
    _step("What is wrong with the data?", "check", str(data), allowed=1)
    typer.echo(FAULTS)
    _step("Split, train, evaluate, report, bundle", "train", str(data), *TRAINING)
    run = Path("runs", "latest")
    _step("The numbers again, with intervals and the baseline", "evaluate", str(run))
    place = near_path(open_run(run).path)
    _title("The report: one file, opens in a browser without a network (not opened now)")
    page = Path(place, "report.html").absolute().as_uri()
    typer.echo(f"$ {Path(sys.executable).name} -m webbrowser {page}")
    bundle = str(_free(folder / "bundle"))
    _step("All that service needs, in one folder", "export", str(run), "-o", bundle)
    _step("The bundle gives the recorded answers on this machine", "verify", bundle)
    _step("Ask it about a picture", "predict", bundle, str(picture))

    _title(f"Done in {time.monotonic() - started:.0f} s")
    typer.echo(f"digits  {data}\nrun     {place}\nreport  {place}/report.html\nbundle  {bundle}")
    typer.echo(f"\nNext, a service with a page:\n  $ opsin serve {shlex.quote(bundle)}")


def _digits(folder: Path) -> Path:
    """The untouched digits in `folder`, written into a new folder where the old one was changed."""
    from opsin.testing.digits import is_digits, write_digits

    return write_digits(_free(folder / "digits", is_digits))


def _free(path: Path, usable: Callable[[Path], bool] = lambda _: False) -> Path:
    """The first of `path`, `path`-2, ... that is not there yet, or is `usable`."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(p for p in chain([path], numbered) if not p.exists() or usable(p))


def _title(text: str) -> None:
    typer.secho(f"\n{text}", bold=True)


def _step(title: str, *arguments: str, allowed: int = 0) -> None:
    _title(title)
    typer.echo(f"$ {shlex.join(['opsin', *arguments])}")
    sys.stdout.flush()
    code = subprocess.run([*OPSIN, *arguments], check=False).returncode
    if code != allowed:
        typer.echo(f"demo stopped: exit {code}, where {allowed} was expected", err=True)
        raise typer.Exit(code or 70)
