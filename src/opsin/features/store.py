"""Features on disk: one file for each pair of a backbone and its pictures.

`features/<key>.<sha256, first 16>.safetensors` in the cache folder. The key holds everything that
decides the bits, so what is found is what would be computed again on this machine; the checksum in
the name finds damage, which safetensors does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
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

FORMAT = 1
FREE_FRAC = 0.25
"""A file takes at most this share of the disk that is free."""
_NAME = "features"
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

    def load(self, key: str, rows: int) -> torch.Tensor | None:
        """The features of `key`, `rows` x ...; None where they are not there, or damaged: then the
        file is taken away.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        for path in self._files(key):
            try:
                data = path.read_bytes()
                if sha256_bytes(data)[:16] == path.name.split(".")[1]:
                    found = load(data)[_NAME]
                    if len(found) == rows:
                        os.utime(path)  # last used: now
                        return found
            except OSError:
                continue
            except (SafetensorError, KeyError, ValueError):
                pass
            self._note("damaged", f"stored features are damaged ({path.name}): computed again")
            with contextlib.suppress(OSError):
                path.unlink()
        return None

    def save(self, key: str, features: torch.Tensor) -> bool:
        """Keep `features`; False where the disk has no room for them."""
        from safetensors.torch import save

        needed = features.numel() * features.element_size()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._note("folder", f"features stay in memory: {self.folder}: {error.strerror}")
            return False
        free = disk_free(self.folder)
        if needed > FREE_FRAC * free:
            self._note(
                "room",
                f"features stay in memory: they need {size(needed)}, of which a quarter of the "
                f"disk's {size(free)} free is the most",
            )
            return False
        data = save({_NAME: features.contiguous()}, metadata={"format": str(FORMAT)})
        path = self.folder / f"{key}.{sha256_bytes(data)[:16]}.safetensors"
        try:
            write_bytes(path, data)
        except NoRoom as error:
            self._note("folder", f"features stay in memory: {error.message}")
            return False
        return True

    def has(self, key: str) -> bool:
        """Whether there is a file of `key`, whole or not."""
        return bool(self._files(key))

    def _files(self, key: str) -> list[Path]:
        try:
            return sorted(self.folder.glob(f"{key}.*.safetensors"))
        except OSError:
            return []

    def _note(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._say(text)


def features_key(
    backbone_hash: str, contents: Sequence[str], *, device: torch.device, **deciding: Any
) -> str:
    """The name of what `backbone_hash` says of pictures with the hashes `contents`, in their order;
    `deciding` (JSON): what else the bits depend on. Threads, versions and processor are added here.
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
        "contents": list(contents),
        **deciding,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


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
