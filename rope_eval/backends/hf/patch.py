"""`patched(model, spec)`: apply a RopeSpec to a Hugging Face model, and take it off again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NoReturn

from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from rope_eval.backends.hf.anatomy import Anatomy, without_adapter
from rope_eval.backends.hf.attention import NAME, RopeAttention, attention_function
from rope_eval.backends.hf.caches import keep_caches, take_caches
from rope_eval.backends.hf.layers import Identity
from rope_eval.backends.hf.masks import PATTERNS, mask_function
from rope_eval.backends.hf.overrides import ATTRIBUTE, attend_by, override, unweighted
from rope_eval.backends.hf.probe import anatomy_of
from rope_eval.backends.hf.tables import arguments_of
from rope_eval.errors import SpecError
from rope_eval.rope.methods import check_config
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
        inner = without_adapter(self.model)
        attention = RopeAttention(self.spec, self._anatomy(inner))
        settings = vars(inner).get(_SETTINGS) or _Settings(inner)
        settings.put([*settings.entered, attention])
        self._settings, self._attention = settings, attention
        return self.model

    def _anatomy(self, inner: PreTrainedModel) -> Anatomy:
        check_config(self.spec, inner.config.get_text_config().to_dict())
        return anatomy_of(inner)

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
        self._attentions: list[nn.Module] = []
        self._norms: list[tuple[nn.Module, ...]] = []
        self._undo = ExitStack()

    def put(self, entered: list[RopeAttention]) -> None:
        """Have these settings on the model, in this order, and no other."""
        if entered and not self.entered:
            self._prepare(entered[-1].anatomy)
        self.entered = entered
        if not entered:
            self._undo.close()
            return
        setattr(self._model, ATTRIBUTE, entered[-1])
        layers = entered[-1].layers
        for module, layer, norms in zip(self._attentions, layers, self._norms, strict=True):
            layer.norms = norms
            setattr(module, ATTRIBUTE, layer)

    def without(self, attention: RopeAttention) -> list[RopeAttention]:
        """Return the others, in their order."""
        return [some for some in self.entered if some is not attention]

    def _prepare(self, anatomy: Anatomy) -> None:
        AttentionInterface.register(NAME, attention_function)
        AttentionMaskInterface.register(NAME, mask_function)
        model, undo = self._model, self._undo
        attend_by(undo, model, NAME)
        identities: dict[str, dict[str | None, Identity]] = {}
        for table in anatomy.tables:
            identities.setdefault(table.module, {})[table.layer_type] = table.identity
        for name, of_types in identities.items():
            rotary = model.get_submodule(name)
            override(undo, rotary, "forward", self._identity(arguments_of(rotary), of_types))
        self._attentions = [model.get_submodule(layer.module) for layer in anatomy.layers]
        self._norms = [
            tuple(model.get_submodule(name) for name in layer.norms or ())
            for layer in anatomy.layers
        ]
        for norm in (norm for norms in self._norms for norm in norms):
            unweighted(undo, norm)
        for module in (model, *self._attentions):
            override(undo, module, ATTRIBUTE, None)
        override(undo, model, _SETTINGS, self)
        base = model.get_submodule(anatomy.base)
        undo.callback(base.register_forward_pre_hook(self._begin, with_kwargs=True).remove)
        undo.callback(base.register_forward_hook(self._end, with_kwargs=True).remove)
        for module in (model, base):
            override(undo, module, "__reduce_ex__", _uncopied)

    def _begin(self, base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        take_caches((args, kwargs))
        attention = self.entered[-1]
        attention.forget()
        PATTERNS.set(attention.anatomy.patterns)

    def _end(
        self, base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: object
    ) -> None:
        keep_caches((args, kwargs, out))

    def _identity(
        self, read: Callable[..., Any], identities: Mapping[str | None, Identity]
    ) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden, positions, layer_type = read(args, kwargs)
            self.entered[-1].begin(positions)
            return identities[layer_type].of(hidden, positions)

        return forward


def _uncopied(*_: object) -> NoReturn:
    raise SpecError("a model cannot be copied or pickled while a setting is on it: take it off")
