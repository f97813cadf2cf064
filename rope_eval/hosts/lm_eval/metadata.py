"""What a task of ours takes from ``--metadata``: every name has an effect, or is refused or said.

lm-eval gives each task of a run all metadata, and the model's arguments among them: what a task
does not know may be another task's, or the model's. A misspelt name of its own is neither.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import sys
from collections.abc import Collection, Mapping
from typing import Any

from rope_eval.errors import SURELY, SpecError, did_you_mean
from rope_eval.rope.spec import FIELDS

OF_EVERY_TASK = ("version", "config_source", "_metadata")
log = logging.getLogger(__name__)


def check_names(task: str, kind: str, given: Mapping[str, Any], own: Collection[str]) -> None:
    """Refuse a misspelt name, and say which names have no effect on a task.

    Args:
        task: its name.
        kind: what it is one of many of, in whose place it is said.
        given: the metadata.
        own: the names that the task takes.

    Raises:
        SpecError: for a name that is very like one of the task's own.
    """
    unknown = [name for name in given if name not in (*own, *OF_EVERY_TASK)]
    if not unknown:
        return
    of_the_model = _of_the_model()
    for name in unknown:
        if name in of_the_model:
            continue
        if difflib.get_close_matches(name, own, n=1, cutoff=SURELY):
            raise SpecError(
                f"{task} takes no {name!r} from --metadata.{did_you_mean(name, own)} It takes: "
                f"{', '.join(own)}"
            )
        _say(kind, name, ", ".join(own))


def whole(name: str, value: Any) -> int:
    """Return a value that is a whole number of 1 or more, and raise `SpecError` for another."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{name} must be a whole number of 1 or more, got {value!r}")
    return value


def numbers(name: str, value: Any) -> list[Any]:
    """Return a number or a list of different ones as a list, and raise `SpecError` for another."""
    found = list(value) if isinstance(value, (list, tuple)) else [value]
    if not found or len(set(map(str, found))) < len(found) or not all(map(_is_number, found)):
        raise SpecError(f"{name} must be a number or a list of different ones, got {value!r}")
    return found


def text(name: str, value: Any) -> str:
    """Return a value that is text, and raise `SpecError` for another."""
    if not isinstance(value, str) or not value:
        raise SpecError(f"{name} must be text, got {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@functools.cache
def _say(kind: str, name: str, own: str) -> None:
    log.warning("rope-eval: %r in --metadata has no effect on %s, which takes: %s", name, kind, own)


def _of_the_model() -> frozenset[str]:
    """Return the arguments of the models that our tasks are run with."""
    from rope_eval.hosts.lm_eval.model import HF_ARGUMENTS, ScalingRopeLM

    names = {*FIELDS, *HF_ARGUMENTS, *inspect.signature(ScalingRopeLM.__init__).parameters}
    if "lm_eval.models.vllm_causallms" in sys.modules:  # the model is made before the tasks
        from rope_eval.hosts.lm_eval.vllm import VLLM_ARGUMENTS

        names |= set(VLLM_ARGUMENTS)
    return frozenset(names)
