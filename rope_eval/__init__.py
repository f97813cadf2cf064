"""rope-eval: apply any RoPE setting to a language model, prove it was applied, measure what it did.

The public names load what they need when they are first used, so importing this is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rope_eval.hosts.lm_eval.plugin import announce

if TYPE_CHECKING:
    from rope_eval.api import Curve, compare, curve
    from rope_eval.backends.hf.patch import patched
    from rope_eval.results.store import Store
    from rope_eval.rope.spec import RopeSpec
    from rope_eval.scores import TokenScores
    from rope_eval.scoring.tokens import score_tokens

_HOMES = {
    "Curve": "rope_eval.api",
    "RopeSpec": "rope_eval.rope.spec",
    "Store": "rope_eval.results.store",
    "TokenScores": "rope_eval.scores",
    "compare": "rope_eval.api",
    "curve": "rope_eval.api",
    "patched": "rope_eval.backends.hf.patch",
    "score_tokens": "rope_eval.scoring.tokens",
}
__all__ = [
    "Curve",
    "RopeSpec",
    "Store",
    "TokenScores",
    "compare",
    "curve",
    "patched",
    "score_tokens",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


announce()
