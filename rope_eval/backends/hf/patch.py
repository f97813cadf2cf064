"""`patched(model, spec)`: apply a RopeSpec to a Hugging Face model, and take it off again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedConfig,
    PreTrainedModel,
)

from rope_eval.backends.hf.anatomy import Anatomy, geometry, without_adapter
from rope_eval.backends.hf.attention import (
    ATTRIBUTE,
    NAME,
    RopeAttention,
    attention_function,
    mask_function,
)
from rope_eval.errors import SpecError
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec

_SETTINGS = "_rope_eval_settings"  # where a patched model holds its `_Settings`


class patched(AbstractContextManager[PreTrainedModel]):  # noqa: N801  (it reads as a function)
    """Run a model under a RoPE setting.

    The model's rotary module becomes the identity, so its cache keeps unrotated keys, and our
    attention function rotates queries and keys itself: one mechanism for every combination, in one
    pass and in cached generation. A model that is patched already takes the setting entered last;
    each leaves by itself, in any order. With the last of them the model is as it was, bit for bit,
    also after an exception.

    Args:
        model: a supported causal language model (`rope_eval.backends.hf.anatomy`).
        spec: the setting; the neutral one computes what the stock model does.

    Raises:
        UnsupportedModelError: on entering, for a model the mechanism does not fit.
        SpecError: on entering, where the setting needs a length that neither it nor the config
            gives.
    """

    def __init__(self, model: PreTrainedModel, spec: RopeSpec):
        self.model, self.spec = model, spec
        self._settings: _Settings | None = None

    def __enter__(self) -> PreTrainedModel:
        """Put the setting on the model, and return it."""
        if self._settings is not None:
            raise RuntimeError("this setting is on its model already: make another `patched`")
        attention = RopeAttention(Rotary(self.spec, geometry(self.model)))
        inner = without_adapter(self.model)
        settings = vars(inner).get(_SETTINGS) or _Settings(inner)
        settings.put([*settings.entered, attention])
        self._settings, self._attention = settings, attention
        return self.model

    def __exit__(self, *_: object) -> None:
        """Take the setting off, whatever else is on the model."""
        settings, self._settings = self._settings, None
        if settings is not None:
            settings.put(settings.without(self._attention))

    def close(self) -> None:
        """Take the setting off, if it is on."""
        self.__exit__()

    @contextmanager
    def in_front(self) -> Iterator[None]:
        """Run the model under the setting, and after that under the one that it ran under.

        Raises:
            SpecError: where the setting was taken off.
        """
        settings = self._settings
        if settings is None:
            raise SpecError(f"the setting {self.spec} was closed, and is not on its model any more")
        before = settings.entered
        settings.put([*settings.without(self._attention), self._attention])
        try:
            yield
        finally:  # one may have left since, or come
            stayed = [some for some in before if some in settings.entered]
            settings.put([*stayed, *(some for some in settings.entered if some not in before)])


@contextmanager
def stock(model: PreTrainedModel) -> Iterator[None]:
    """Take every setting off a model for a while."""
    settings: _Settings | None = vars(without_adapter(model)).get(_SETTINGS)
    if settings is None:
        yield
        return
    entered = settings.entered
    settings.put([])
    try:
        yield
    finally:
        settings.put(entered)


class _Settings:
    """Every setting on one model; it runs under the last."""

    def __init__(self, model: PreTrainedModel):
        self.entered: list[RopeAttention] = []
        self._model = model
        self._holders: tuple[nn.Module, ...] = ()
        self._undo = ExitStack()

    def put(self, entered: list[RopeAttention]) -> None:
        """Have these settings on the model, in this order, and no other."""
        if entered and not self.entered:
            self._prepare(entered[-1].rotary.geometry.rotary_dim)
        self.entered = entered
        for module in self._holders if entered else ():
            setattr(module, ATTRIBUTE, entered[-1])
        if not entered:
            self._undo.close()

    def without(self, attention: RopeAttention) -> list[RopeAttention]:
        """Return the others, in their order."""
        return [some for some in self.entered if some is not attention]

    def _prepare(self, rotary_dim: int) -> None:
        parts = Anatomy.of(self._model)
        AttentionInterface.register(NAME, attention_function)
        AttentionMaskInterface.register(NAME, mask_function)
        configs: dict[int, PreTrainedConfig] = {}  # copies: another model may share the original
        for module in (self._model, self._model.base_model, *parts.attentions):
            config = configs.setdefault(id(module.config), copy.copy(module.config))
            config._attn_implementation = NAME
            _override(self._undo, module, "config", config)
        _override(self._undo, parts.rotary, "forward", partial(_identity, rotary_dim))
        self._holders = (self._model, *parts.attentions)
        for module in self._holders:
            _override(self._undo, module, ATTRIBUTE, None)
        _override(self._undo, self._model, _SETTINGS, self)


def _identity(rotary_dim: int, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos 1 and sin 0 in the shape of a rotary module's forward, ``[1, T, rotary_dim]``."""
    one = torch.ones(1, 1, 1, dtype=x.dtype, device=x.device)
    shape = (1, position_ids.shape[-1], rotary_dim)
    return one.expand(shape), torch.zeros_like(one).expand(shape)


def _override(undo: ExitStack, module: nn.Module, name: str, value: object) -> None:
    """Set an attribute on the instance, and have it restored."""
    before = vars(module).get(name, _ABSENT)

    def restore() -> None:
        if before is _ABSENT:
            delattr(module, name)
        else:
            setattr(module, name, before)

    undo.callback(restore)
    setattr(module, name, value)


_ABSENT = object()
