"""Layers without rotation: every n-th, or those of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.rope.facts import Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods._maps import whole
from rope_eval.rope.values import Field, numbers, optional

EVERY, LAYERS = "nope_every", "nope_layers"
INTERVAL, ROTATING = "no_rope_layer_interval", "no_rope_layers"  # the words of SmolLM3's config
FULL = "full_attention"
FAMILIES = ("smollm3", "llama4_text")  # whose configs have them


def _kept(spec: Setting, count: int) -> frozenset[int]:
    if spec.nope_every is not None:
        return frozenset(range(spec.nope_every - 1, count, spec.nope_every))
    named = frozenset(spec.nope_layers or ())
    if named and max(named) >= count:
        raise SpecError(
            f"{LAYERS} counts from 0, and this checkpoint has {count} layers: got {max(named)}"
        )
    return named


def _parse(name: str, value: object) -> tuple[int, ...]:
    given = [value] if isinstance(value, int) else value
    return tuple(sorted({int(one) for one in numbers(whole(least=0))(name, given)}))


def _check(spec: Setting) -> None:
    given = [name for name in (EVERY, LAYERS) if getattr(spec, name) is not None]
    if len(given) == 2:
        raise SpecError(f"{EVERY} and {LAYERS} both say which layers do not rotate: give one")
    if given and spec.drope:
        raise SpecError(f"{given[0]} has no meaning beside drope: with that no layer rotates")


def still_in(values: Mapping[str, Any]) -> list[int] | None:
    """Return the decoder layers, from 0, that a config says do not rotate; None if it cannot."""
    count, rotating = values.get("num_hidden_layers"), values.get(ROTATING)
    if values.get("model_type") not in FAMILIES or not isinstance(count, int):
        return None
    if isinstance(rotating, list) and rotating:
        return [n for n, rotates in enumerate(rotating[:count]) if not rotates]
    every = values.get(INTERVAL) or 4  # as in both of these families
    return list(range(every - 1, count, every)) if isinstance(every, int) else None


def _of_config(values: Mapping[str, Any]) -> dict[str, Any]:
    still = still_in(values)
    if not still:
        return {}
    every = still[0] + 1
    if every > 1 and still == list(range(every - 1, values["num_hidden_layers"], every)):
        return {EVERY: every}
    return {LAYERS: still}


def _to_config(spec: Setting, values: Mapping[str, Any]) -> dict[str, Any] | None:
    still = still_in(values)
    if still is None:
        return None
    count = values["num_hidden_layers"]
    asked = {*_kept(spec, count), *still}
    kinds = values.get("layer_types") or [FULL] * count
    rotating = {kinds[n] for n in range(count) if n not in still}
    if spec.layers == "full" and FULL in rotating and any(kinds[n] != FULL for n in asked):
        return None  # it would keep more of them from rotating
    return {ROTATING: [int(n not in asked) for n in range(count)]}


METHOD = Method(
    name="layers without rotation",
    says=(
        "some decoder layers do not rotate, and take nothing else of a setting (but Llama 4's "
        "temperature): every n-th, or those named. With `layers=full` those of them that attend "
        "to everything before, with `layers=all` those with a window too"
    ),
    source="SmolLM3 and Llama 4, transformers' `no_rope_layers`; arXiv 2501.18795",
    fields=(
        Field(
            name=EVERY,
            default=None,
            type=int | None,
            parse=optional(whole(least=2)),
            says=(
                "n ≥ 2: of the decoder layers, counted from 1, the n-th, the 2n-th and so on do "
                "not rotate (SmolLM3 and Llama 4: 4)"
            ),
            live=("", "nope_every=2"),
        ),
        Field(
            name=LAYERS,
            default=None,
            type=tuple[int, ...] | None,
            parse=optional(_parse),
            says="the decoder layers that do not rotate, counted from 0: 3:7:11, a list, or @file",
            live=("nope_layers=0", "nope_layers=1"),
        ),
    ),
    effect=lambda facts: Effect(),
    keeps_still=_kept,
    check=_check,
    examples=("nope_every=2", "nope_layers=0"),
    neutral=("nope_every=none", "nope_layers=none"),
    of_config=_of_config,
    to_config=_to_config,
    place=80,
)
