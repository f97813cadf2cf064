"""A model's own code, run a decoder layer at a time: its layers recorded, and then replayed.

What a model does before its decoder layers, between and after them (embeddings and their scale,
masks, the last norm, the scale and the cap of logits) is its own forward pass, with stand-ins where
its layers are. So none of it has to be known by name. Shape letters: T tokens, D hidden size, V
vocabulary.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from rope_eval.backends.hf.anatomy import without_adapter
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.backends.hf.overrides import ATTRIBUTE, override
from rope_eval.backends.hf.probe import anatomy_of
from rope_eval.backends.hf.rows import Rows
from rope_eval.errors import UnsupportedModelError

Update = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor] | None]
HIDDEN = "hidden_states"


@dataclass(frozen=True, slots=True)
class Extra:
    """Stands for what a layer returns beside hidden states, at a place of its tuple."""

    place: int


class Parts:
    """The parts of a model that scoring runs by themselves."""

    def __init__(self, model: PreTrainedModel):
        self.model = without_adapter(model)
        self.anatomy = anatomy_of(model)
        self.base = self.model.get_submodule(self.anatomy.base)
        self.blocks: list[nn.Module] = list(
            self.model.get_submodule(self.anatomy.blocks).children()
        )

    @contextmanager
    def head(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """Give what turns last hidden states ``[T, D]`` into logits ``[T, V]``."""
        given: list[Tensor] = []

        def base(*_: Any, **__: Any) -> Any:
            return self.anatomy.returns(last_hidden_state=given.pop())

        def logits(hidden: Tensor) -> Tensor:
            given.append(hidden[None])
            ids = torch.zeros(1, len(hidden), dtype=torch.int64, device=hidden.device)
            found: Tensor = self.model(ids, use_cache=False).logits[0]
            return found

        with ExitStack() as undo:
            override(undo, self.base, "forward", base)
            yield logits

    @contextmanager
    def standing_in(
        self, forward: Callable[..., Tensor], upto: int | None = None
    ) -> Iterator[None]:
        """Have the first decoder layers return what `forward` does instead of what they compute.

        Args:
            forward: of a layer's place, and of what it is called with; returns hidden states.
            upto: how many of them; None for all.
        """
        with ExitStack() as undo:
            for i, block in enumerate(self.blocks[:upto]):
                override(undo, block, "forward", self._stand_in(forward, i))
            yield

    def _stand_in(self, forward: Callable[..., Tensor], place: int) -> Callable[..., Any]:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            hidden = forward(place, args, kwargs)
            outputs = self.anatomy.outputs[place]
            if outputs is None:
                return hidden
            extras = [Extra(i) if some else None for i, some in enumerate(outputs)]
            return (hidden, *extras[1:])

        return stand_in

    def run_base(self, ids: Tensor, positions: Tensor, cache: Any) -> Any:
        """Run the model without its head on ``[1, T]`` tokens, and return what it returns."""
        arguments: dict[str, Any] = {}
        if cache is not None:
            arguments = {cache_argument(self.base): cache, "use_cache": True}
        return self.base(ids, position_ids=positions, **arguments)


@dataclass(kw_only=True, slots=True)
class Chunk:
    """Tokens that go through a layer together.

    Attributes:
        part: their places in the text.
        rows: their places among the hidden states that are held.
        positions: int64 ``[1, T]``.
        calls: what each decoder layer is called with, but for the hidden states.
        extras: what the last layer returned, where it was more than hidden states.
    """

    part: slice
    rows: slice
    positions: Tensor
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    extras: tuple[Any, ...] = ()

    def given(self, x: object) -> Any:
        """Return what a layer is to be called with in the place of what was recorded."""
        return self.extras[x.place] if isinstance(x, Extra) else x


class Replay:
    """A text, or a share of it, through a model, one decoder layer after the other, in chunks.

    Args:
        model: inside `patched`.
        tokens: int64 ``[1, T]``.
        parts: the chunks that go through it here: all of the text, or a share of it.
        update: takes a layer's number, keys and values as its cache would, and returns all that it
            has seen; None leaves it to the model's own cache.
        place: where the hidden states are held, of `rope_eval.backends.hf.rows.PLACES`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: Tensor,
        parts: Sequence[slice],
        update: Update,
        place: str = "device",
    ):
        self.parts = Parts(model)
        self.tokens = tokens
        self.cache = _cache(self.parts, update)
        ends = list(itertools.accumulate(part.stop - part.start for part in parts))
        self.chunks = [
            Chunk(
                part=part,
                rows=slice(end - (part.stop - part.start), end),
                positions=torch.arange(part.start, part.stop, device=tokens.device)[None],
            )
            for part, end in zip(parts, ends, strict=True)
        ]
        self.hidden = Rows(ends[-1] if ends else 0, place)
        self._record()

    @property
    def depth(self) -> int:
        """How many decoder layers there are."""
        return len(self.parts.blocks)

    def _record(self) -> None:
        """Record every call of every layer, and keep the hidden states that reach the first."""
        for chunk in self.chunks:

            def record(
                place: int, args: tuple[Any, ...], kwargs: dict[str, Any], chunk: Chunk = chunk
            ) -> Tensor:
                if place != len(chunk.calls):
                    raise UnsupportedModelError(
                        "this model does not run its decoder layers once each, in their order"
                    )
                hidden: Tensor = args[0] if args else kwargs.pop(HIDDEN)
                chunk.calls.append((args[1:], kwargs))
                if place == 0:
                    self.hidden[chunk.rows] = hidden
                return hidden

            self._at(chunk)
            with self.parts.standing_in(record):
                self.parts.run_base(self.tokens[:, chunk.part], chunk.positions, self.cache)

    def run(self, block: int, chunk: Chunk) -> None:
        """Send a chunk through a decoder layer: its hidden states become what comes out."""
        args, kwargs = chunk.calls[block]
        args = tuple(chunk.given(x) for x in args)
        kwargs = {name: chunk.given(x) for name, x in kwargs.items()}
        self._at(chunk)
        out = self.parts.blocks[block](self.hidden[chunk.rows], *args, **kwargs)
        if isinstance(out, tuple):
            chunk.extras = out
            out = out[0]
        self.hidden[chunk.rows] = out

    def last(self) -> Rows:
        """Return what the model makes of what the last layer returned, ``[1, T, D]``."""
        found = self.hidden
        for chunk in self.chunks:
            hidden = self.hidden[chunk.rows]

            def give(*_: Any, hidden: Tensor = hidden) -> Tensor:
                return hidden

            self._at(chunk)
            with self.parts.standing_in(give):
                ids = self.tokens[:, chunk.part]
                out = self.parts.run_base(ids, chunk.positions, self.cache).last_hidden_state
            if found is self.hidden and out.shape != hidden.shape:
                found = Rows(self.hidden.length, self.hidden.place)
            found[chunk.rows] = out
        return found

    def _at(self, chunk: Chunk) -> None:
        if self.cache is not None:
            self.cache.start = chunk.part.start


def _cache(parts: Parts, update: Update) -> Any:
    """Make a cache of the model's own kind, that tells where a chunk starts and asks `update`."""
    if parts.anatomy.cache is None:
        return None
    kind = _started(parts.anatomy.cache)
    takes = inspect.signature(kind.__init__).parameters
    cache = kind(**({"config": parts.model.config} if "config" in takes else {}))
    cache.start, cache.ask = 0, update
    return cache


@functools.cache
def _started(kind: Any) -> Any:
    def update(self: Any, key: Tensor, value: Tensor, layer: int, *args: Any, **kw: Any) -> Any:
        ours = self.ask(layer, key, value)
        return kind.update(self, key, value, layer, *args, **kw) if ours is None else ours

    methods = {
        ATTRIBUTE: math.inf,  # its tokens are all read with the setting
        "update": update,
        "get_seq_length": lambda self, *_, **__: self.start,
        "get_query_offset": lambda self, *_, **__: self.start,
        "get_mask_sizes": lambda self, queries, *_, **__: (self.start + queries, 0),
    }
    return type(f"Started{kind.__name__}", (kind,), methods)


def plain_cache(model: PreTrainedModel) -> DynamicCache | None:
    """Return an empty cache that can be cropped anywhere, or None for a model that cannot.

    It keeps all keys, whatever the windows: a layer's pattern is known, and not taken from it.
    """
    anatomy = anatomy_of(model)
    cropped = not anatomy.keeps_state and anatomy.cache == DynamicCache
    return DynamicCache() if cropped else None
