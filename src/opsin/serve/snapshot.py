"""A private copy of the bundle, so that what happens to the original does not reach the service.

A worker that has to be replaced loads the model anew. If the bundle was replaced or damaged by
then, the service would change its model behind everybody's back, or have none.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from opsin.bundle.load import find_bundle
from opsin.core.errors import ModelRefused, NoRoom, OpsinError
from opsin.core.files import no_room


class Snapshot:
    """A copy of the bundle at (or inside the run folder at) `source`, gone after `close`.

    Raises `WrongUsage` when there is no bundle, `NoRoom` when it cannot be copied.
    """

    def __init__(self, source: Path) -> None:
        self.source = find_bundle(source)
        folder = Path(tempfile.gettempdir())
        try:
            folder = Path(tempfile.mkdtemp(prefix="opsin-serve-"))
            self._folder = folder
            self.path = folder / "bundle"
            # links are copied as links, for the bundle's own check to refuse them
            shutil.copytree(self.source, self.path, symlinks=True)
        except (OSError, shutil.Error) as error:
            self.close()
            raise _cannot_copy(self.source, folder, error) from error

    def explain(self, error: OpsinError) -> OpsinError:
        """The same error, naming the person's bundle where it names the copy."""
        error.where = error.where.replace(str(self.path), str(self.source))
        return error

    def close(self) -> None:
        """Remove the copy."""
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


def _cannot_copy(source: Path, folder: Path, error: OSError) -> OpsinError:
    if isinstance(error, shutil.Error):  # a list of (from, to, why), one for each file
        return ModelRefused(
            f"cannot be read: {error.args[0][0][2]}", code="unreadable", where=str(source)
        )
    if error.filename and Path(str(error.filename)).is_relative_to(source):
        return ModelRefused(
            f"cannot be read: {error.strerror}", code="unreadable", where=str(error.filename)
        )
    refused = no_room(folder / "bundle", error)
    return NoRoom(
        refused.message, code=refused.code, where=refused.where, fix="set TMPDIR to a roomy folder"
    )
