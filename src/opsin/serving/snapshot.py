"""A private copy of the bundle, so that what happens to the original does not reach the service.

A worker that has to be replaced loads the model anew. If the bundle was replaced or damaged by
then, the service would change its model behind everybody's back, or have none.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from opsin.bundle.held_folder import HeldFolder
from opsin.bundle.load import find_bundle, read_manifest
from opsin.bundle.manifest import MANIFEST
from opsin.core.errors import NoRoom, OpsinError
from opsin.core.files import no_room
from opsin.core.magic import readable

_PIECE = 1 << 20


class Snapshot:
    """A copy of the bundle at (or inside the run folder at) `source`, gone after `close`.

    What killed servers left behind is removed on the way. Raises `WrongUsage` when there is no
    bundle, `ModelRefused` when it is not whole or cannot be read, `NoRoom` when there is no place
    for the copy. Whether the contents are right is for the worker to find out.
    """

    def __init__(self, source: Path) -> None:
        self.source = find_bundle(source)
        _, manifest = read_manifest(self.source)
        folder = Path(tempfile.gettempdir())
        try:
            self._folder = HeldFolder(folder, prefix="opsin-serve-")
        except OSError as error:
            raise _no_room(folder, error) from error
        self.path = self._folder.path / "bundle"
        try:
            for name in (MANIFEST, *manifest.files):
                _copy(self.source / name, self.path / name)
        except OSError as error:
            self.close()
            raise _no_room(self.path, error) from error
        except BaseException:
            self.close()
            raise

    def explain(self, error: OpsinError) -> OpsinError:
        """The same error, naming the person's bundle where it names the copy."""
        error.where = error.where.replace(str(self.path), str(self.source))
        return error

    def close(self) -> None:
        """Remove the copy."""
        self._folder.close()


def _copy(source: Path, target: Path) -> None:
    """An `OSError` is of the target's; of the source's it is a `ModelRefused`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with readable(source):
        reading = source.open("rb")
    with reading, target.open("xb") as writing:
        while True:
            with readable(source):
                piece = reading.read(_PIECE)
            if not piece:
                return
            writing.write(piece)


def _no_room(path: Path, error: OSError) -> NoRoom:
    refused = no_room(path, error)
    return NoRoom(
        refused.message, code=refused.code, where=refused.where, fix="set TMPDIR to a roomy folder"
    )
