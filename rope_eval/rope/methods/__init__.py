"""The position methods: one file each, found by being here.

To add a method:

1. Write ``rope_eval/rope/methods/<name>.py`` with ``METHOD = Method(...)``: its fields (their
   readers are in `rope_eval.rope.values`), what it does to the numbers (`rope_eval.rope.method`
   names all there is), the lengths it needs, what vLLM cannot serve, the source. Import torch
   inside functions: a setting is read without it.
2. Give ``examples`` (they must move a tiny model's scores by 0.3 nats), ``neutral`` settings (they
   must change nothing, bit for bit), and for each field a ``live`` pair of settings.
3. Write its float64 brute force in ``tests/helpers/brute_force.py``, from the paper and not from
   step 1.
4. Where the authors publish code, run it beside yours on a tiny model, outside the repository; give
   ``checked`` and some of its numbers to ``tests/rope/methods/test_authors.py``.
5. ``python -m rope_eval.rope.document > docs/methods.md``.
6. Run ``pytest tests/rope tests/backends/hf``. `RopeSpec`, every host's arguments, vLLM's tables
   and refusals, the identity of results, the test matrix and the page follow from the registry.

If the numbers need something that `Effect` cannot say, that is a change of the pipeline: make it
first, in a commit of its own that changes no score.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from itertools import combinations
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.rope.facts import Setting
from rope_eval.rope.method import BaseChanges, Method, NotServed
from rope_eval.rope.values import Field


def _found() -> tuple[Method, ...]:
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    names = [name for name in modules if not name.startswith("_")]
    methods: list[Method] = [import_module(f"{__name__}.{name}").METHOD for name in names]
    return tuple(sorted(methods, key=lambda method: (method.place, method.name)))


REGISTRY = _found()
FIELDS = tuple(field for method in REGISTRY for field in method.fields)
DEFAULTS = {field.name: field.default for field in FIELDS}
METHODS = tuple(method for method in REGISTRY if method.effect is not None)
NEED_LENGTHS = tuple(f.name for method in METHODS if method.needs for f in method.fields)
"""The fields whose numbers depend on train_length or tune_length."""


def active(spec: Setting) -> tuple[Method, ...]:
    """Return the methods that a setting asks for, in the order in which they are applied."""
    return tuple(method for method in METHODS if method.is_active(spec))


def base_changes(spec: Setting) -> BaseChanges:
    """Return when a token's frequencies change under a setting."""
    changes: list[BaseChanges] = [method.base_changes(spec) for method in active(spec)]
    return next((change for change in changes if change != "never"), "never")


def kept_still(spec: Setting, count: int) -> frozenset[int]:
    """Return which of so many decoder layers, from 0, a setting keeps from rotating."""
    return frozenset[int]().union(*(method.keeps_still(spec, count) for method in active(spec)))


def parts(spec: Any) -> tuple[Any, Any]:
    """Return what layers that rotate take of a `RopeSpec`, and what layers that do not.

    It is of a model that has both: a method is of the one or of the other.
    """
    of_rotating, of_still = (
        {
            field.name: field.default
            for method in active(spec)
            for field in method.fields
            if method.of_still(spec) != still
        }
        for still in (False, True)
    )
    return spec.replace(**of_rotating), spec.replace(**of_still)


def check_config(spec: Setting, values: Mapping[str, Any]) -> None:
    """Raise `SpecError` for a setting that a checkpoint's config does not go together with.

    Args:
        spec: the setting, the neutral one too.
        values: the config.
    """
    for method in METHODS:
        method.check_config(spec, values)


def check_combination(spec: Setting) -> None:
    """Raise `SpecError` for fields or methods that have no meaning together."""
    for method in REGISTRY:
        for field in method.fields:
            if getattr(spec, field.name) != field.default:
                _check_alone(spec, field)
        method.check(spec)
    for one, other in combinations(active(spec), 2):
        kinds = {one.frequencies, other.frequencies}
        if "off" in kinds and None not in kinds:
            raise _conflict(spec, one, other, "with the one nothing rotates")
        if "set" in kinds and kinds <= {"set", "scale"}:
            raise _conflict(spec, one, other, "both set the same frequencies")
        if one.maps_positions and other.maps_positions:
            raise _conflict(spec, one, other, "both map the positions")
        if "never" not in (one.base_changes(spec), other.base_changes(spec)):
            raise _conflict(spec, one, other, "both have the frequencies follow the length")


def _check_alone(spec: Setting, field: Field) -> None:
    if field.only_with and all(getattr(spec, n) == DEFAULTS[n] for n in field.only_with):
        raise SpecError(
            f"{field.name} has no meaning without {' or '.join(field.only_with)}: give that too, "
            f"or leave {field.name} out"
        )


def _conflict(spec: Setting, one: Method, other: Method, why: str) -> SpecError:
    names = [" and ".join(method.given(spec)) for method in (one, other)]
    return SpecError(f"{names[0]} cannot be combined with {names[1]}: {why}; leave one out")


def not_served(spec: Setting) -> NotServed | None:
    """Return why an engine with rotated keys in its cache cannot serve a setting, or None."""
    found = (method.not_served(spec) for method in active(spec))
    return next((reason for reason in found if reason is not None), None)
