"""`opsin demo`: the main job from raw pictures to a verified model, on digits, step by step."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from opsin.cli.show import near_path
from opsin.core.run_dir import open_run

FAULTS = "exit 1 is right here: three faults were planted, and check found something"
MODEL = ["--model", "lenet", "--epochs", "20", "--image-size", "32", "--lr", "0.002"]
# On pictures of this size a second thread gains nothing, and costs much on a busy machine.
TRAINING = [*MODEL, "--threads", "1"]
# A process for each step, since that is what a person gets who types it. `-P`: a `json.py` in the
# folder where the person stands must not be imported.
OPSIN = [
    *(sys.executable, "-P", "-c"),
    "import sys; sys.argv[0] = 'opsin'; from opsin.cli.main import main; main()",
]


def demo(
    folder: Annotated[Path, typer.Argument(help="where the digits are written")] = Path("demo"),
) -> None:
    """Show the whole job on 1,797 handwritten digits in about a minute: check, train, evaluate,
    report, bundle, predict, verify, each with the command that you would type.
    """
    started = time.monotonic()
    data = _digits(folder)
    picture = max((data / "7").glob("*.png"))
    _step("What is wrong with the data?", "check", str(data), allowed=1, remark=FAULTS)
    _step("Split, train, evaluate, report, bundle", "train", str(data), *TRAINING)
    run = Path("runs", "latest")
    _step("The numbers again, with intervals and the baseline", "evaluate", str(run))
    place = near_path(open_run(run).path)
    _title("The report: one file, opens in a browser without a network")
    typer.echo(f"{place}/report.html")
    _step("The bundle gives the recorded answers on this machine", "verify", str(run))
    _step("Ask it about a picture", "predict", str(run), str(picture))

    _title(f"Done in {time.monotonic() - started:.0f} s")
    typer.echo(f"digits  {data}\nrun     {place}\nreport  {place}/report.html")
    typer.echo(f"bundle  {place}/bundle\n\nNext, the model as a service with a page:")
    typer.echo("  $ opsin serve runs/latest")


def _digits(folder: Path) -> Path:
    """The untouched digits in `folder`, written into a new folder where the old one was changed."""
    from opsin.testing.digits import is_digits, write_digits

    data, number = folder / "digits", 1
    while data.exists() and not is_digits(data):
        number += 1
        data = folder / f"digits-{number}"
    return write_digits(data)


def _title(text: str) -> None:
    typer.secho(f"\n{text}", bold=True)


def _step(title: str, *arguments: str, allowed: int = 0, remark: str = "") -> None:
    _title(title)
    typer.echo(f"$ {shlex.join(['opsin', *arguments])}")
    sys.stdout.flush()
    code = subprocess.run([*OPSIN, *arguments], check=False).returncode
    if code != allowed:
        typer.echo(f"demo stopped: exit {code}, where {allowed} was expected", err=True)
        raise typer.Exit(code or 70)
    if remark:
        typer.echo(f"({remark})")
