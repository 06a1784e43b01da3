"""What the operating system refused, in words: its errors come as `OSError` and `UnicodeError`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from opsin.core.errors import NotEnoughMemory, OpsinError, WrongUsage
from opsin.core.files import no_room

FULL = {errno.ENOSPC, errno.EROFS, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
DENIED = {errno.EACCES, errno.EPERM}
# A wrong descriptor, address or process is never the person's doing.
OURS = {errno.EBADF, errno.EFAULT, errno.ECHILD, errno.EDOM}

TO_DO = {
    errno.ENOENT: "check the path for a typing mistake",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EACCES: "run as a user who can read it",
    errno.EPERM: "run as a user who can read it",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "a part of this path is a file; name a folder",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.EIO: "the disk or the connection to it failed; look at the system's log",
}


def system_fault(error: OSError | UnicodeError) -> OpsinError | None:
    """What to tell the person, or None where the error must be a bug of ours.

    >>> system_fault(FileNotFoundError(2, "No such file or directory", "cat.jpg")).exit_code
    2
    """
    if isinstance(error, UnicodeError):
        return _text(error)
    if error.errno is None or error.errno in OURS:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno == errno.ENOMEM:
        return NotEnoughMemory("not enough memory", where=name, fix="a smaller --batch-size")
    if error.errno in FULL or (error.errno in DENIED and _was_written(name)):
        return no_room(Path(name or "standard output"), error)
    return WrongUsage(
        f"cannot be used: {error.strerror or error}",
        code=errno.errorcode.get(error.errno, "os_error").lower(),
        where=name,
        fix=TO_DO.get(error.errno, ""),
    )


def _was_written(name: str) -> bool:
    """Whether what was denied can only have been a write: reading would have been allowed."""
    if not name:
        return True
    if Path(name).exists():
        return os.access(name, os.R_OK)
    return os.access(Path(name).parent, os.X_OK)


def _text(error: UnicodeError) -> OpsinError:
    """Bytes or names that are not text."""
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        said = f"a file or text is not UTF-8: byte {error.start} is {byte:#x}"
        return WrongUsage(said, code="not_utf8", fix="save it as UTF-8")
    where = str(error.object) if isinstance(error, UnicodeEncodeError) else ""
    said = "this name cannot be written on this system"
    return WrongUsage(said, code="bad_name", where=where, fix="give another name")
