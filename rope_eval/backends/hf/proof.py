"""The proof at load: what a setting does to the scores of the weights that will run.

Two things are shown on a probe of a few tokens. The neutral setting scores as the stock model does,
in all its layers: so every layer is rotated by our attention function, and by it alone. And each
field of the setting moves a score: in the last layer, on the hidden states that really reach it,
through the model's own last norm and head. Lengths that a setting refers to are brought down to the
probe's, so that what begins at a hundred thousand tokens is seen in twelve.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rope_eval.backends.hf.anatomy import Anatomy
from rope_eval.backends.hf.attention import rotary_of
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.patch import patched, stock
from rope_eval.backends.hf.probe import anatomy_of
from rope_eval.backends.hf.replay import HIDDEN, Extra, Parts
from rope_eval.errors import ScoreError, SpecError, UnsupportedModelError
from rope_eval.rope import methods
from rope_eval.rope.spec import RopeSpec
from rope_eval.rope.values import SHORTEST_LENGTH

TOKENS = 12
REFERENCE = 4.0  # tokens: T_ref of the probe: its last queries are in the second octave past it
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.float16: 0.25}  # nats
COARSE = 2.0  # nats, of bfloat16 and what is coarser: SmolLM2's rounding is 0.75
OFF = "off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What was shown.

    Attributes:
        neutral: the largest difference of a logit between the stock model and the
            neutral setting, in nats.
        layers: how far our attention is from the model's own in its furthest layer, of the largest
            output of that layer, where both get the same.
        moves: by how much the setting without a field scores the probe otherwise: the largest
            difference of a logit, in nats. It is 0 for a base that is the model's own,
            for a field that the others leave nothing to do, and for one that the dtype does not
            hold over so few tokens.
        tokens: of the probe.
        seconds: what it took.
    """

    neutral: float
    layers: float
    moves: dict[str, float]
    tokens: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def proof_of(model: PreTrainedModel, spec: RopeSpec, wanted: object = True) -> dict[str, Any] | str:
    """Prove a setting where that is wanted, and return what is to be recorded.

    Args:
        model: as for `prove`.
        spec: the setting.
        wanted: true or false, or "on" or "off"; without it the record is "off".

    Raises:
        SpecError: for another word.
        UnsupportedModelError: as `prove` does.
    """
    if not is_wanted(wanted):
        return OFF
    try:
        return prove(model, spec).to_dict()
    except ScoreError as error:  # the run will fail by it, and has a record that says so
        return f"none: {error}"


def is_wanted(proof: object) -> bool:
    """Return whether a proof is asked for: true, false, or a word for them."""
    word = str(proof).lower()
    if word not in ("true", "on", "false", OFF):
        raise SpecError(f"proof must be on or off, got {proof!r}")
    return word in ("true", "on")


def prove(model: PreTrainedModel, spec: RopeSpec) -> Proof:
    """Show that a model's neutral setting is the stock model, and that each field moves a score.

    Args:
        model: a supported model in evaluation mode; settings on it are taken off meanwhile.
        spec: the setting.

    Raises:
        UnsupportedModelError: where either does not hold, with the field and the difference.
        SpecError: as `patched` does.
        ScoreError: where the stock model scores what is no number.
    """
    with stock(model), torch.inference_mode():
        return _prove(model, spec)


def _prove(model: PreTrainedModel, spec: RopeSpec) -> Proof:
    started = time.perf_counter()
    if model.training:
        raise UnsupportedModelError("the model is in training mode: call model.eval()")
    with patched(model, spec):
        rotary = rotary_of(model)
        own_base = rotary.rope_theta == rotary.geometry.rope_theta
        config_scales = rotary.geometry.inv_freq is not None
    ids = _probe(model)
    expected = _scores(model(ids, use_cache=False).logits)
    if not bool(expected.isfinite().all()):
        raise ScoreError("the stock model's own scores are not numbers")
    last = _LastLayer(model, ids, spec)
    with _on_short_texts(model, RopeSpec()), last.recorded():
        found = _scores(model(ids, use_cache=False).logits)
    neutral = _difference(expected, found)
    tolerance = TOLERANCE.get(model.dtype, COARSE)
    if not neutral <= tolerance:  # also where it is not a number
        raise UnsupportedModelError(
            f"this model cannot be trusted to rope-eval: its neutral setting differs from the stock"
            f" model by {neutral:.3g} nats in a probe of {TOKENS} tokens, and {tolerance:g} is what"
            f" rounding explains in {str(model.dtype).removeprefix('torch.')}"
        )
    ablations = list(_ablations(spec, config_scales=config_scales))
    last.run(x for ablation in ablations for x in (ablation.whole, ablation.without))
    moves = {}
    for ablation in ablations:
        field = ablation.field
        moves[field] = last.difference(ablation.whole, ablation.without)
        if moves[field] > 0 or (field == "rope_theta" and own_base):
            continue
        if ablation.refines or _begins_past_the_probe(model, ablation):
            continue
        last.run((ablation.alone, ablation.alone_without))
        if not last.difference(ablation.alone, ablation.alone_without) > 0:
            raise UnsupportedModelError(
                f"{field}={getattr(spec, field)} moves no score of a probe of {TOKENS} tokens: it "
                "is not applied to this model, or is too small for "
                f"{str(model.dtype).removeprefix('torch.')} to hold (proof=off runs it unproven)"
            )
    return Proof(
        neutral=neutral,
        layers=anatomy_of(model).misfit,
        moves=moves,
        tokens=TOKENS,
        seconds=round(time.perf_counter() - started, 3),
    )


class _on_short_texts(patched):  # noqa: N801
    """Any setting, whatever the config asks for, on the frequencies that so few tokens have."""

    def _anatomy(self, inner: PreTrainedModel) -> Anatomy:
        return anatomy_of(inner).unscaled()


def _begins_past_the_probe(model: PreTrainedModel, ablation: _Ablation) -> bool:
    with _on_short_texts(model, ablation.alone):
        begins = rotary_of(model).effective_from[ablation.field]
    return begins is not None and begins > TOKENS


class _LastLayer:
    """The last layer that takes settings and all after it, to be run again on what reached it."""

    def __init__(self, model: PreTrainedModel, ids: Tensor, spec: RopeSpec):
        self.model, self.ids = model, ids
        self.parts = Parts(model)
        anatomy = self.parts.anatomy
        self.place = anatomy.layers[anatomy.by_layer(spec).last].block
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._logits: dict[RopeSpec, Tensor] = {}

    def recorded(self) -> AbstractContextManager[object]:
        """Keep what reaches the layer in the next forward pass."""

        def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._args, self._kwargs = args, kwargs

        block = self.parts.blocks[self.place]
        return block.register_forward_pre_hook(keep, with_kwargs=True)

    def run(self, specs: Iterable[RopeSpec]) -> None:
        """Find logits ``[T, V]`` with each setting in this layer and those after it alone.

        The head is read once for all of them.
        """
        new = [spec for spec in dict.fromkeys(specs) if spec not in self._logits]
        if not new:
            return
        hidden = torch.cat([self._hidden(spec) for spec in new])
        with self.parts.head() as head:
            logits = head(hidden.flatten(0, 1)).float()
        self._logits |= zip(new, logits.split(TOKENS), strict=True)

    def _hidden(self, spec: RopeSpec) -> Tensor:
        """Return last hidden states ``[1, T, D]``."""
        with (
            _on_short_texts(self.model, spec),
            self.parts.standing_in(lambda *_: self._reached(), self.place),
            self._given(),
        ):
            found: Tensor = self.parts.base(self.ids, use_cache=False).last_hidden_state
        return found

    def _reached(self) -> Tensor:
        hidden: Tensor = self._args[0] if self._args else self._kwargs[HIDDEN]
        return hidden

    def _given(self) -> AbstractContextManager[object]:
        """Hand the layer what reached it, also where none before it can stand in."""

        def give(
            layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            args = tuple(
                self._args[i] if i == 0 or isinstance(x, Extra) else x for i, x in enumerate(args)
            )
            for name, x in kwargs.items():
                if name == HIDDEN or isinstance(x, Extra):
                    kwargs[name] = self._kwargs[name]
                elif isinstance(x, MutableMapping):  # keys that layers before it share
                    x.update(self._kwargs[name])
            return args, kwargs

        block = self.parts.blocks[self.place]
        return block.register_forward_pre_hook(give, with_kwargs=True)

    def difference(self, one: RopeSpec, other: RopeSpec) -> float:
        """Return the largest difference of a logit between two settings that were run, in nats."""
        return _difference(self._logits[one], self._logits[other])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ablation:
    """A field of a method, and the settings that differ in it (and in the fields that refine it).

    Attributes:
        field: its name.
        refines: whether it means nothing without another, and so may change no number of a probe.
        whole: the setting, with lengths that the probe reaches.
        without: the same without the field.
        alone: the method without the others, and where the config allows it with a base so small
            that every pair turns within the probe.
        alone_without: the same without the field.
    """

    field: str
    refines: bool
    whole: RopeSpec
    without: RopeSpec
    alone: RopeSpec
    alone_without: RopeSpec


def _ablations(spec: RopeSpec, *, config_scales: bool) -> Iterator[_Ablation]:
    """Yield every active field; a later field of a method refines those before it."""
    active = methods.active(spec)
    whole = spec
    if any(method.needs for method in active):
        whole = spec.replace(
            reference_length=REFERENCE, train_length=SHORTEST_LENGTH, tune_length=None
        )
    for method in active:
        given = method.given(spec)
        whole = whole.replace(**{f: x for f, x in method.in_probe.items() if f in given})
    for method in active:
        given = method.given(spec)
        alone = _without(whole, [f for m in active if m is not method for f in m.given(spec)])
        if method.frequencies != "base" and not config_scales:
            with suppress(SpecError):  # a method that takes the base's place
                alone = alone.replace(rope_theta=REFERENCE)
        for i, field in enumerate(given):
            yield _Ablation(
                field=field,
                refines=any(f.only_with for f in method.fields if f.name == field),
                whole=whole,
                without=_without(whole, given[i:]),
                alone=alone,
                alone_without=_without(alone, given[i:]),
            )


def _without(spec: RopeSpec, fields: list[str]) -> RopeSpec:
    return spec.replace(**{f.name: f.default for f in methods.FIELDS if f.name in fields})


def _probe(model: PreTrainedModel) -> Tensor:
    """Return tokens drawn from the vocabulary, the same ones each time: int64 ``[1, T]``."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.get_text_config().vocab_size, (1, TOKENS), generator=generator)
    return ids.to(input_device(model))


def _scores(logits: Tensor) -> Tensor:
    return logits.float()


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
