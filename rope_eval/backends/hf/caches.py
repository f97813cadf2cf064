"""Caches that a patched model is given or makes: whose keys they hold, and where they keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from transformers import Cache

from rope_eval.backends.hf.overrides import ATTRIBUTE
from rope_eval.backends.hf.rooms import make_room
from rope_eval.errors import UnsupportedModelError


def take_caches(given: Iterable[Any]) -> None:
    """Make room in the caches that a patched model is to read and to fill.

    Args:
        given: what a model was called with.

    Raises:
        UnsupportedModelError: for a cache with tokens that no patched model has read.
    """
    for cache in _caches(given):
        others = cache.get_seq_length() - getattr(cache, ATTRIBUTE, 0)
        if others > 0:
            raise UnsupportedModelError(
                f"the cache holds {others} tokens that were read without the setting, whose keys "
                "are turned already: read them again, with the setting on the model"
            )
        make_room(cache)


def keep_caches(made: Iterable[Any]) -> None:
    """Remember how many tokens of each cache a patched model has read, and make room in it."""
    for cache in _caches(made):
        make_room(cache)
        setattr(cache, ATTRIBUTE, max(getattr(cache, ATTRIBUTE, 0), cache.get_seq_length()))


def _caches(values: Iterable[Any]) -> Iterator[Cache]:
    for value in values:
        if isinstance(value, Cache):
            yield value
        elif isinstance(value, tuple | Mapping):
            yield from _caches(value.values() if isinstance(value, Mapping) else value)
