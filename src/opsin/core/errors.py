"""What can go wrong, and the exit code of each kind; no other file chooses an exit code."""

from __future__ import annotations


class OpsinError(Exception):
    """A fault that is explained to the person: what happened, where, and what to do next.

    `code` is a short stable word for machines (`empty_file`), `where` the file or field,
    `fix` the next thing to do, often a command.

    >>> str(DataRefused("the folder is empty", where="photos/", fix="add one folder per class"))
    'photos/: the folder is empty. To do: add one folder per class'
    """

    exit_code = 70
    default_code = "internal"

    def __init__(
        self, message: str, *, code: str | None = None, where: str = "", fix: str = ""
    ) -> None:
        self.message = message
        self.code = code or self.default_code
        self.where = where
        self.fix = fix
        super().__init__(message)

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        fix = f". To do: {self.fix}" if self.fix else ""
        return f"{where}{self.message}{fix}"

    def to_dict(self) -> dict[str, object]:
        """The same as a JSON object, for `--json`."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "where": self.where,
                "fix": self.fix,
                "exit_code": self.exit_code,
            }
        }


class WrongUsage(OpsinError):
    """An argument, option or name that is not allowed (exit 2)."""

    exit_code = 2
    default_code = "wrong_usage"


class DataRefused(OpsinError):
    """The data cannot be used as it is (exit 3)."""

    exit_code = 3
    default_code = "data_refused"


class ModelRefused(OpsinError):
    """A model file or bundle is damaged, foreign or hostile (exit 4)."""

    exit_code = 4
    default_code = "model_refused"


class NumbersWrong(OpsinError):
    """Training diverged, or an export does not give the model's numbers (exit 5)."""

    exit_code = 5
    default_code = "numbers_wrong"


class NoRoom(OpsinError):
    """No space, or a place that cannot be written (exit 6)."""

    exit_code = 6
    default_code = "no_room"


class NotEnoughMemory(OpsinError):
    """The work does not fit into memory (exit 7)."""

    exit_code = 7
    default_code = "out_of_memory"


class Locked(OpsinError):
    """The run or the port is in use by another process (exit 8)."""

    exit_code = 8
    default_code = "locked"


class Interrupted(OpsinError):
    """Stopped by Ctrl-C (exit 130) or SIGTERM (exit 143) after everything was saved."""

    default_code = "interrupted"

    def __init__(self, message: str, *, exit_code: int = 130, where: str = "", fix: str = ""):
        super().__init__(message, where=where, fix=fix)
        self.exit_code = exit_code
