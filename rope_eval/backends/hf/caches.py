"""Whose keys a cache holds: a patched model's are not turned, and stock's are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from transformers import Cache

from rope_eval.backends.hf.overrides import ATTRIBUTE
from rope_eval.errors import UnsupportedModelError


def check_caches(given: Iterable[Any]) -> None:
    """Raise `UnsupportedModelError` for a cache with tokens that a patched model did not read.

    Args:
        given: what a model was called with.
    """
    for cache in _caches(given):
        others = cache.get_seq_length() - getattr(cache, ATTRIBUTE, 0)
        if others > 0:
            raise UnsupportedModelError(
                f"the cache holds {others} tokens that were read without the setting, whose keys "
                "are turned already: read them again, with the setting on the model"
            )


def keep_caches(made: Iterable[Any]) -> None:
    """Remember how many tokens of each cache a patched model has read."""
    for cache in _caches(made):
        setattr(cache, ATTRIBUTE, max(getattr(cache, ATTRIBUTE, 0), cache.get_seq_length()))


def _caches(values: Iterable[Any]) -> Iterator[Cache]:
    for value in values:
        if isinstance(value, Cache):
            yield value
        elif isinstance(value, tuple | Mapping):
            yield from _caches(value.values() if isinstance(value, Mapping) else value)
