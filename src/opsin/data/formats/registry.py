"""The formats in which pictures with labels may lie: name -> function (root) -> `Index`."""

from __future__ import annotations

from opsin.core.registry import Registry

FORMATS = Registry("format", [("folder", "opsin.data.formats.folder:read_folder")])
