"""Features on disk, by backbone and picture.

`features/<key>.<sha256, first 16>.safetensors` in the cache folder: features N x ..., and the names
of the pictures that they are of. Key and name hold everything that decides the bits, so what is
found is what would be computed again on this machine; the checksum in the file's name finds damage,
which safetensors does not. Each run adds a file of what was missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opsin.core.cache_dir import cache_dir
from opsin.core.device import versions
from opsin.core.errors import NoRoom
from opsin.core.files import disk_free, sha256_bytes, write_bytes
from opsin.core.version import code_hash
from opsin.core.words import size

FORMAT = 2
FREE_FRAC = 0.25
"""The most of a disk's free room that features may take, those that lie there already counted."""
_FEATURES, _NAMES = "features", "names"
_NAME_BYTES = 16
_LONGEST_HEADER = 1 << 16
_DECIDING = ("numpy", "pillow", "simplejpeg", "torch", "torchvision", "timm")
"""Packages whose version may change the bits; of opsin the code itself counts."""


class FeatureStore:
    """The folder `features` of the cache, or of `folder`. Nothing here is needed: what cannot be
    written or read is computed again, and `say` hears why, once.
    """

    def __init__(
        self, folder: Path | None = None, *, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.folder = (folder or cache_dir()) / "features"
        self._say = say
        self._said: set[str] = set()

    def known(self, key: str, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """The features of those of `names` that are stored under `key`. A damaged file is taken
        away.
        """
        wanted, found = set(names), dict[str, torch.Tensor]()
        for path in self._files(key):
            said = self._names(path)
            if said is not None and wanted.isdisjoint(said):
                continue  # of other pictures: not worth reading
            here = self._read(path)
            for name in wanted & here.keys():
                found[name] = here[name]
            wanted -= here.keys()
        return found

    def missing(self, key: str, names: Iterable[str]) -> int:
        """How many of `names` are not stored under `key`, by what the files say of themselves."""
        wanted = set(names)
        for path in self._files(key):
            wanted.difference_update(self._names(path) or ())
        return len(wanted)

    def save(self, key: str, names: Sequence[str], features: torch.Tensor) -> bool:
        """Keep `features`, N x ..., of N `names`, 32 hex digits each; False where the disk has no
        room for them.
        """
        from safetensors.torch import save

        needed = features.numel() * features.element_size()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._note("folder", f"features stay in memory: {self.folder}: {error.strerror}")
            return False
        taken = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
        room = FREE_FRAC * (disk_free(self.folder) + taken) - taken
        if needed > room:
            self._note(
                "room",
                f"features stay in memory: they need {size(needed)}, and of a quarter of the disk "
                f"{size(max(0.0, room))} are left (to make room: opsin cache --clear features)",
            )
            return False
        named = torch.frombuffer(bytearray.fromhex("".join(names)), dtype=torch.uint8)
        tensors = {_FEATURES: features.contiguous(), _NAMES: named.reshape(-1, _NAME_BYTES)}
        data = save(tensors, metadata={"format": str(FORMAT)})
        path = self.folder / f"{key}.{sha256_bytes(data)[:16]}.safetensors"
        try:
            write_bytes(path, data)
        except NoRoom as error:
            self._note("folder", f"features stay in memory: {error.message}")
            return False
        return True

    @staticmethod
    def _names(path: Path) -> list[str] | None:
        """The pictures in a file by its own words, unchecked; None where it cannot be read.

        Read, not mapped as safetensors would: to be cut short meanwhile must be no SIGBUS.
        """
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > _LONGEST_HEADER:
                    return None
                begin, end = json.loads(file.read(length))[_NAMES]["data_offsets"]
                file.seek(8 + length + begin)
                return _hex(file.read(end - begin))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _read(self, path: Path) -> dict[str, torch.Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            data = path.read_bytes()
            if sha256_bytes(data)[:16] == path.name.split(".")[1]:
                found = load(data)
                with contextlib.suppress(OSError):  # a folder for reading alone
                    os.utime(path)  # last used: now
                names = _hex(found[_NAMES].numpy().tobytes())
                return dict(zip(names, found[_FEATURES], strict=True))
        except OSError:
            return {}
        except (SafetensorError, KeyError, ValueError):
            pass
        self._note("damaged", f"stored features are damaged ({path.name}): computed again")
        with contextlib.suppress(OSError):
            path.unlink()
        return {}

    def _files(self, key: str) -> list[Path]:
        try:
            return sorted(self.folder.glob(f"{key}.*.safetensors"))
        except OSError:
            return []

    def _note(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._say(text)


def features_key(backbone_hash: str, *, device: torch.device, **deciding: Any) -> str:
    """The name of everything that `backbone_hash` says, whatever the picture; `deciding` (JSON):
    what else the bits depend on. Threads, versions and processor are added here.
    """
    installed = versions()
    parts = {
        "format": FORMAT,
        "backbone": backbone_hash,
        "device": device.type,
        "processor": torch.backends.cpu.get_cpu_capability()
        if device.type == "cpu"
        else torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "",
        "threads": torch.get_num_threads(),
        "versions": {name: installed.get(name) for name in _DECIDING},
        "code": _code(),
        **deciding,
    }
    return name_of(parts)


def name_of(parts: Any) -> str:
    """32 hex digits for what can be written as JSON: the key of a backbone, or the name of a
    picture by its content and, where it is augmented, by all that is drawn for it.
    """
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[: 2 * _NAME_BYTES]


def _hex(data: bytes) -> list[str]:
    """The rows of N x 16 bytes in hex digits."""
    return [data[at : at + _NAME_BYTES].hex() for at in range(0, len(data), _NAME_BYTES)]


@cache
def _code() -> str:
    return code_hash()


def hash_of(module: nn.Module, name: str = "") -> str:
    """SHA-256 over what `module` computes with: its structure, and the name, type, shape and bytes
    of every tensor. Buffers that are not saved count too.

    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> hash_of(a) == hash_of(a), hash_of(a) == hash_of(b)
    (True, False)
    """
    tensors: Mapping[str, torch.Tensor] = {
        **dict(module.named_parameters()),
        **dict(module.named_buffers()),
    }
    found = hashlib.sha256(f"{name}\n{module!r}".encode())
    for key, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        found.update(f"\n{key} {plain.dtype} {tuple(plain.shape)}\n".encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
