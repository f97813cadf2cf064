"""Where the package's own tasks, model configurations and published tables lie."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def asset(name: str) -> Path:
    """Return the folder `tasks`, `model_configs` or `results`, installed or in a checkout."""
    installed = _PACKAGE / "_assets" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def checkout() -> Path | None:
    """Return the root of the repository that this package runs from, or None where installed."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() else None


def is_directory(name: str) -> bool:
    """Tell whether a text names a directory; one that no file system takes names none."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long, or a null character
        return False
