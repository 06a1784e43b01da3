"""Open a bundle: every file's SHA-256 is checked before one byte of it is used."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError

from opsin.bundle import manifest as names
from opsin.bundle.manifest import GoldenSample, Manifest
from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.files import sha256_bytes, sha256_file
from opsin.core.magic import readable, require_kind
from opsin.core.preprocess import PreprocessSpec
from opsin.core.run_dir import follow_latest


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `hash` is the SHA-256 of its manifest, so of everything in it."""

    path: Path
    hash: str
    manifest: Manifest
    spec: PreprocessSpec
    classes: tuple[str, ...]
    golden: tuple[GoldenSample, ...]

    @property
    def graph(self) -> Path:
        """The ONNX graph."""
        return self.path / names.GRAPH

    @property
    def weights(self) -> Path:
        """The weights, for going on in torch."""
        return self.path / names.WEIGHTS


def find_bundle(path: Path) -> Path:
    """The bundle folder of a run folder, or `path` itself when it is a bundle.

    Raises `WrongUsage` when there is neither, `ModelRefused` when that cannot be seen.
    """
    with readable(path):
        return _find(path)


def _find(path: Path) -> Path:
    path = follow_latest(path)
    if (path / names.MANIFEST).is_file():
        return path
    if (path / "bundle" / names.MANIFEST).is_file():
        return path / "bundle"
    if not path.exists():
        raise WrongUsage("no such run or bundle", code="no_such_path", where=str(path))
    if (path / "config.yaml").is_file():
        ended = (path / "metrics.json").is_file()
        raise WrongUsage(
            "this run was made without a bundle"
            if ended
            else "this run has no bundle: it did not get so far",
            code="no_bundle",
            where=str(path),
            fix=f"opsin export {path} -o FOLDER" if ended else f"opsin train --resume {path}",
        )
    raise WrongUsage(
        "neither a run folder nor a bundle (a bundle is a folder with manifest.json)",
        code="not_a_bundle",
        where=str(path),
    )


def load_bundle(path: Path) -> Bundle:
    """Open and check the bundle at `path` (a bundle folder, or a run folder that holds one).

    Raises `WrongUsage` (nothing there) or `ModelRefused` (damaged, hostile, unreadable, from a
    newer Opsin).
    """
    root = find_bundle(path)
    with readable(root):
        raw, manifest = read_manifest(root)
        for name, entry in manifest.files.items():
            _check_content(root / name, name, entry.sha256)
        require_kind(root / names.GRAPH, "ONNX")
        _refuse_external_data(root / names.GRAPH)
        if names.WEIGHTS in manifest.files:
            require_kind(root / names.WEIGHTS, "safetensors")
        return _checked(root, raw, manifest)


def read_manifest(root: Path) -> tuple[bytes, Manifest]:
    """The manifest of the bundle at `root`, as bytes and as read.

    Every file that it names is there and inside, and none that a bundle needs is missing; their
    contents are not read yet. Raises `ModelRefused`.
    """
    with readable(root):
        raw = (root / names.MANIFEST).read_bytes()
        manifest = _manifest(root, raw)
        for name in manifest.files:
            _check_place(root, name)
    for name in (names.GRAPH, names.PREPROCESS, names.LABELS, names.GOLDEN):
        if name not in manifest.files:
            raise _refused(root / name, "not listed in the manifest", "incomplete")
    return raw, manifest


def _checked(root: Path, raw: bytes, manifest: Manifest) -> Bundle:
    try:
        spec = PreprocessSpec.model_validate_json((root / names.PREPROCESS).read_bytes())
        labels = json.loads((root / names.LABELS).read_bytes())
        classes = TypeAdapter(tuple[str, ...]).validate_python(labels["classes"])
        golden = TypeAdapter(tuple[GoldenSample, ...]).validate_json(
            (root / names.GOLDEN).read_bytes()
        )
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise _refused(root, f"a field is not what it must be: {error}", "malformed") from error
    if not golden:
        raise _refused(root / names.GOLDEN, "no golden samples: it proves nothing", "incomplete")
    for sample in golden:
        if sample.file not in manifest.files:
            raise _refused(root / sample.file, "golden sample not in the manifest", "incomplete")
        for recorded in (sample.probabilities, sample.raw_probabilities):
            if len(recorded) != len(classes):
                raise _refused(
                    root / names.GOLDEN,
                    f"{len(recorded)} probabilities for {sample.file}, {len(classes)} classes",
                    "malformed",
                )
    return Bundle(root, sha256_bytes(raw), manifest, spec, classes, golden)


def _manifest(root: Path, raw: bytes) -> Manifest:
    path = root / names.MANIFEST
    try:
        data = json.loads(raw)
        version = data["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refused(path, f"not a manifest ({error})", "malformed") from error
    if version != names.SCHEMA:
        raise ModelRefused(
            f"schema version {version!r}; this Opsin reads {names.SCHEMA}",
            code="schema_version",
            where=str(path),
            fix="upgrade opsin, or export the bundle again with this version",
        )
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _refused(path, f"field {field}: {first['msg']}", "malformed") from error
    if manifest.checksum != manifest.seal():
        raise _refused(
            path,
            f"manifest.json: SHA-256 is {manifest.seal()[:12]}…, it says {manifest.checksum[:12]}…",
            "damaged",
        )
    return manifest


def _check_place(root: Path, name: str) -> None:
    """Refuse a name that leads out of the bundle, by itself or by a symbolic link on its way.

    Hard links are let through: one to a file elsewhere cannot be told from one inside a backup
    made with `cp -al`, its content is under the same SHA-256, and it lets nobody read what they
    could not read before. External data is refused altogether, so no link is opened through it.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or not parts.parts:
        raise _refused(root / names.MANIFEST, f'file name "{name}" leaves the bundle', "escapes")
    path = root
    for part in parts.parts:
        path = path / part
        if path.is_symlink():
            raise _refused(path, "a link; a bundle holds its own files", "escapes")
    if not path.resolve().is_relative_to(root.resolve()):  # "C:x" and the like on Windows
        raise _refused(path, "leaves the bundle", "escapes")
    if not path.is_file():
        raise _refused(path, "missing", "incomplete")


def _check_content(path: Path, name: str, expected: str) -> None:
    found = sha256_file(path)
    if found != expected:
        raise _refused(
            path, f"{name}: SHA-256 is {found[:12]}…, manifest says {expected[:12]}…", "damaged"
        )


# Protobuf's field 1 (bytes) = "location". Tag and length are varints, which a parser also takes
# with more bytes than needed, and some drop what is above 32 bits: so only the lowest seven bits
# of each are looked at.
_REST = rb"[\x80-\xff]{0,8}[\x00-\x7f]"
_LOCATION = re.compile(
    rb"(?:\x0a|\x8a" + _REST + rb")(?:\x08|\x88" + _REST + rb")location", re.DOTALL
)


def _refuse_external_data(path: Path) -> None:
    """An ONNX tensor may name another file to be read; ours never do.

    Looked for in the bytes, since the serving side has no onnx package and onnxruntime would open
    the file.
    """
    data = path.read_bytes()
    found = _LOCATION.search(data)
    if found:
        # field 2, which follows as everybody writes it, is the file's name
        value = re.match(rb"\x12([\x00-\x7f])", data[found.end() : found.end() + 2])
        start = found.end() + 2
        target = data[start : start + value[1][0]].decode("utf-8", "replace") if value else "?"
        raise _refused(path, f'external data "{target}" leaves the bundle', "external_data")


def _refused(path: Path, why: str, code: str) -> ModelRefused:
    return ModelRefused(
        why, code=code, where=str(path), fix="copy the bundle again, or export it anew"
    )
