"""Passes of a few tokens through a model, with tables of our own in its rotary modules' place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.layers import Identity
from rope_eval.backends.hf.overrides import evaluating, unweighted
from rope_eval.backends.hf.recording import Recorded, recording
from rope_eval.backends.hf.tables import (
    INV_FREQ,
    arguments_of,
    identity_of,
    is_rotary,
    named,
    with_frequencies,
)
from rope_eval.errors import UnsupportedModelError

TOKENS = 4
SLOWEST, FASTEST = 0.2, 1.4  # radians a token, of the probe's own frequencies

Asked = tuple[str, str | None]
"""A table: the name of a rotary module, and what it is asked for."""


class Passes:
    """The passes of one model's probe.

    Attributes:
        model: the model.
        names: of its modules.
        copies: of its rotary modules, by name.
        norms: the modules that normalise queries and keys after their rotation, by the name of the
            attention module: their weights are taken off in every pass but the stock one.

    Raises:
        UnsupportedModelError: by name, for a model whose tables cannot be set.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.names = {module: name for name, module in model.named_modules()}
        self.rotaries = {name: m for name, m in model.named_modules() if is_rotary(m)}
        if not self.rotaries:
            raise self.refused("has no rotary module that could be replaced")
        self.copies = {name: copy.deepcopy(module) for name, module in self.rotaries.items()}
        self.identities: dict[Asked, Identity] = {}
        self.norms: dict[str, tuple[str, str]] = {}

    def refused(self, why: str) -> UnsupportedModelError:
        """Return the refusal of the model, by its name."""
        return UnsupportedModelError(f"this {self.model.config.model_type} model {why}")

    def run(self, turning: Asked | None, *, stock: bool = False) -> tuple[Recorded, Tensor]:
        """Run the probe with one table of our frequencies, and the others not turning.

        Args:
            turning: the table; None for none.
            stock: have all tables as the model has them, and its norms their weights.
        """
        table = None if turning is None else self.ours(turning)

        def turn(*asked: Any) -> Callable[..., Any]:
            if stock:
                return self.copies[asked[0]]
            if asked == turning:
                assert table is not None
                return table
            identity, read = self.identity(asked), arguments_of(self.copies[asked[0]])
            return lambda *args, **kwargs: identity.of(*read(args, kwargs)[:2])

        device = input_device(self.model)
        ids = torch.arange(2, TOKENS + 2, device=device)[None]
        ids = ids % self.model.config.get_text_config().vocab_size
        with ExitStack() as undo:
            undo.enter_context(evaluating(self.model))
            undo.enter_context(torch.no_grad())
            for name in {name for pair in self.norms.values() for name in pair if not stock}:
                unweighted(undo, self.model.get_submodule(name))
            recorded = undo.enter_context(recording(self.model, self.rotaries, turn))
            mask = torch.ones_like(ids)  # without one, positions may look like packed texts
            scores = self.model(ids, attention_mask=mask, use_cache=True).logits
        return recorded, scores

    def identity(self, asked: Asked) -> Identity:
        """Return what takes a table's place."""
        if asked not in self.identities:
            name, layer_type = asked
            rotary = self.copies[name]
            device = getattr(rotary, named(rotary, layer_type, INV_FREQ)).device
            self.identities[asked] = identity_of(rotary, layer_type, device)
        return self.identities[asked]

    def frequencies(self, asked: Asked) -> Tensor:
        """Return the probe's own frequencies of a table, ``[F]``: no two alike."""
        rotary = self.copies[asked[0]]
        own: Tensor = getattr(rotary, named(rotary, asked[1], INV_FREQ))
        if own.ndim != 1:
            raise self.refused(f"has a rotary module of frequencies in {own.ndim} dimensions")
        return torch.linspace(SLOWEST, FASTEST, len(own), device=own.device)

    def ours(self, asked: Asked) -> nn.Module:
        """Return a rotary module that makes a table of the probe's own frequencies."""
        return with_frequencies(self.copies[asked[0]], asked[1], self.frequencies(asked))
