"""What was measured: the store, its numbers as one frame, and how a result came about.

The two public names are loaded when they are first used: the modules of this room are light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rope_eval.results.store import Store
    from rope_eval.results.tidy import frame

_HOMES = {"Store": "rope_eval.results.store", "frame": "rope_eval.results.tidy"}
__all__ = ["Store", "frame"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
