"""The version of Opsin that is running."""

from __future__ import annotations


def version() -> str:
    """As installed, or "0+unknown" when it runs from a copied folder."""
    from importlib import metadata

    try:
        return metadata.version("opsin")
    except metadata.PackageNotFoundError:
        return "0+unknown"
