"""The version of Opsin that is running."""

from __future__ import annotations


def version() -> str:
    """As installed, or "0+unknown" when it runs from a copied folder."""
    from importlib import metadata

    try:
        return metadata.version("opsin")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def code_hash() -> str:
    """SHA-256 over Opsin's own source files: tells a changed checkout from the release."""
    import hashlib
    from pathlib import Path

    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
