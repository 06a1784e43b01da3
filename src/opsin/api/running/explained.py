"""What can end a training from outside our own code, as a fault that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opsin.core.config import TrainConfig
from opsin.core.errors import Interrupted, NoRoom, NotEnoughMemory, OpsinError, WrongUsage
from opsin.core.run_dir import RunDir
from opsin.training.checkpoint import CheckpointStore
from opsin.training.interrupt import StopRequest
from opsin.training.processes import ALONE, Processes


@contextmanager
def explained(
    run: RunDir,
    config: TrainConfig,
    stop: StopRequest,
    go_on: str,
    processes: Processes = ALONE,
) -> Iterator[None]:
    """Around a training: `go_on` is what goes on with it after an interruption.

    Raises `Interrupted`, `NotEnoughMemory`, `WrongUsage` for what torch says in its own words, and
    what ended another of the `processes`.
    """
    try:
        yield
    except Interrupted as error:
        error.fix = go_on
        raise
    except NoRoom as error:
        if error.code == "disk_full":
            error.fix = f"free some space, then: {go_on}"
        raise
    except KeyboardInterrupt:
        code = stop.exit_code or 130
        kept = _kept(run) or "there is no checkpoint yet"
        raise Interrupted(f"stopped at once; {kept}", exit_code=code, fix=go_on) from None
    except (RuntimeError, ValueError) as error:
        lost = processes.fault(error) if isinstance(error, RuntimeError) else None
        if lost is not None:
            lost.message += f"; {_kept(run)}" if _kept(run) else ""
            lost.fix = lost.fix or go_on
            raise lost from error
        fault = _fault_of(str(error), run, config)
        if fault is None:
            raise
        raise fault from error


def _kept(run: RunDir) -> str:
    last = CheckpointStore(run.checkpoints).last()
    return f"the last checkpoint is {last}" if last else ""


def _fault_of(text: str, run: RunDir, config: TrainConfig) -> OpsinError | None:
    """Torch raises two classes for everything; its words tell what is meant."""
    if "memory" in text and ("alloc" in text or "out of memory" in text):
        return NotEnoughMemory(
            f"a step of {config.batch_size} samples does not fit: {text.splitlines()[0][:200]}",
            where=str(run.path),
            fix="a smaller --batch-size or --image-size",
        )
    if "more than 1 value per channel" in text:
        return WrongUsage(
            "batch-norm cannot learn from a single value a channel",
            where="batch_size",
            fix="a larger --batch-size or --image-size",
        )
    if "does not require grad and does not have a grad_fn" in text:
        return WrongUsage(
            "no gradient flows from the loss to the weights",
            code="loss_without_gradient",
            where=f"loss {config.loss}",
            fix="compute it from the outputs with torch alone, without item(), detach(), numpy, "
            "argmax, round or comparisons",
        )
    return None
