"""A setting as a model's config says it, in transformers' words, and back.

What a method of the registry calls its config form (`Method.config`) is all that is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.rope.facts import Facts
from rope_eval.rope.geometry import RopeConfig, RotaryGeometry
from rope_eval.rope.method import ConfigForm, Method
from rope_eval.rope.methods import METHODS
from rope_eval.rope.spec import RopeSpec
from rope_eval.rope.values import plain

ORIGINAL = "original_max_position_embeddings"
LONGEST = "max_position_embeddings"
PARTIAL = "partial_rotary_factor"
LAYERS = "layers"
OF_THE_CHECKPOINT = ("rope_theta", "train_length", "tune_length", "pretrain_theta")
_METHODS = {method.config.rope_type: method for method in METHODS if method.config is not None}
FORMS = {m.config.rope_type: m.config for m in METHODS if m.config is not None}
"""How configs ask for methods, by rope_type."""


def spec_of_config(config: RopeConfig) -> RopeSpec:
    """Return the setting that a config amounts to, on a checkpoint of the same plain base.

    Raises:
        SpecError: for a rope_type that is no method here, or a word of it that is not known.
        DataError: for a config without sense.
    """
    words = dict(config.parameters)
    if config.rope_type != "default":
        words.setdefault(ORIGINAL, config.train_length)
    if config.rope_theta is not None:
        words["rope_theta"] = config.rope_theta
    form = FORMS.get(config.rope_type)
    if form is None or PARTIAL not in form.words:
        words.pop(PARTIAL, None)  # of the checkpoint, and no method
    beside = {word for method in METHODS for word in method.of_parameters}
    words = {word: value for word, value in words.items() if word not in beside}
    spec = spec_of_parameters(words, longest=config.values.get(LONGEST))
    for method in METHODS:
        fields = method.of_config(config.values)
        if fields and method.frequencies == "off":  # nothing rotates by the rest
            spec = RopeSpec()
        spec = spec.replace(**fields)
    return spec


def spec_of_parameters(parameters: Mapping[str, Any], longest: int | None = None) -> RopeSpec:
    """Return the setting that a config's rope_parameters amount to.

    Args:
        parameters: them.
        longest: the config's max_position_embeddings, where it is known.

    Raises:
        SpecError: for what no field does.
    """
    words = {name: value for name, value in parameters.items() if value is not None}
    kind = words.pop("rope_type", None) or words.pop("type", "default")
    words.pop("type", None)
    if named := [word for word, value in words.items() if isinstance(value, str | Mapping)]:
        raise SpecError(f"{', '.join(named)} of a config must be a number, or a list of them")
    fields: dict[str, Any] = {}
    original = words.pop(ORIGINAL, None)
    if "rope_theta" in words:
        fields["rope_theta"] = words.pop("rope_theta")
    form = FORMS.get(kind) if isinstance(kind, str) else None
    if form is not None:
        if form.length == LONGEST and longest is not None:
            original = longest
        words = dict(form.meant(words, longest / original if longest and original else None))
        if "factor" in form.words and "factor" not in words:
            raise SpecError(f"rope_type={kind} has no factor")
        fields |= form.fixed
        for field in dict.fromkeys(form.words.values()):
            named = [word for word, of in form.words.items() if of == field and word in words]
            values = {word: words.pop(word) for word in named}
            if len(values) == 1:
                (fields[field],) = values.values()
            elif values:
                fields[field] = values
        if original is not None and form.length is not None:
            fields["train_length"] = original
    elif kind != "default":
        raise SpecError(f"rope_type={kind!r} is no method of rope-eval")
    if words:
        raise SpecError(f"no field does what {', '.join(words)} does with rope_type={kind}")
    return RopeSpec(**fields)


def config_of_spec(spec: RopeSpec, config: RopeConfig) -> dict[str, Any]:
    """Return what a plain checkpoint's config must say for a setting to be its own.

    Args:
        spec: the setting.
        config: the checkpoint's, with rope_type default.

    Returns:
        Its rope_parameters, and what else a method needs: max_position_embeddings where it refers
        to that, and words of its own.

    Raises:
        SpecError: where no rope_type of transformers says the setting, with the fields.
    """
    asked = {name: value for name, value in spec.to_dict().items() if name not in OF_THE_CHECKPOINT}
    rope_theta = config.rope_theta if spec.rope_theta is None else spec.rope_theta
    if config.rope_type != "default" or rope_theta is None:
        raise SpecError(
            f"{config.where} must be that of a plain checkpoint: one with a rope_theta and "
            f"rope_type=default, got rope_type={config.rope_type}"
        )
    parameters: dict[str, Any] = {"rope_type": "default", "rope_theta": rope_theta}
    partial = {name: value for name, value in config.parameters.items() if name == PARTIAL}
    words_beside = _words_beside(spec, config, asked)
    if not asked:
        return {"rope_parameters": parameters | partial, **words_beside}
    form = next((FORMS[k] for k, m in _METHODS.items() if _says(FORMS[k], m, spec, asked)), None)
    if form is None or (partial and PARTIAL in form.words):
        raise SpecError(_unsaid(asked))
    parameters["rope_type"] = form.rope_type
    beside: dict[str, Any] = {}
    if form.length is not None:
        target = parameters if form.length == ORIGINAL else beside
        target[form.length] = _facts(spec, config).scaled_from
    words = {word: _value(spec, word, field, form.words) for word, field in form.words.items()}
    words = {word: value for word, value in words.items() if value is not None}
    parameters |= form.meant(words, None)
    again = spec_of_parameters(parameters, beside.get(LONGEST)).to_dict()
    lost = {name: value for name, value in asked.items() if again.get(name) != value}
    if lost and not _same_lists(lost, again):
        raise SpecError(_unsaid(lost))
    return {"rope_parameters": parameters | partial, **beside, **words_beside}


def _words_beside(spec: RopeSpec, config: RopeConfig, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what methods ask for in words beside rope_parameters; their fields leave `asked`."""
    words: dict[str, Any] = {}
    for method in METHODS:
        if method.to_config is not None and method.is_active(spec):
            said = method.to_config(spec, {**config.values, **words})
            if said is not None:
                words |= said
                for name in method.given(spec):
                    del asked[name]
    if words and not asked.keys() - {LAYERS}:
        asked.pop(LAYERS, None)  # it was asked for them alone
    return words


def _says(form: ConfigForm, method: Method, spec: RopeSpec, asked: Mapping[str, Any]) -> bool:
    return (
        method.is_active(spec)
        and form.fixed.items() <= asked.items()
        and asked.keys() <= {*form.fixed, *form.words.values()}
    )


def _value(spec: RopeSpec, word: str, field: str, words: Mapping[str, str]) -> Any:
    value = plain(getattr(spec, field))
    names = [name for name, of in words.items() if of == field]
    if len(names) > 1 and isinstance(value, list) and isinstance(value[0], list):
        return value[names.index(word)]
    return value


def _same_lists(lost: Mapping[str, Any], again: Mapping[str, Any]) -> bool:
    """Tell whether what differs is one list that the config has to say twice."""
    return all(again.get(name) == [value, value] for name, value in lost.items())


def _unsaid(asked: Mapping[str, Any]) -> str:
    return (
        f"no rope_type of transformers says {', '.join(asked)}"
        f"{' together' if len(asked) > 1 else ''}: rope-eval alone runs it. The types are "
        f"{', '.join(FORMS)}"
    )


def _facts(spec: RopeSpec, config: RopeConfig) -> Facts:
    dim = config.rotary_dim or 0
    geometry = RotaryGeometry(
        head_dim=dim,
        rotary_dim=dim,
        rope_theta=config.rope_theta or 0.0,
        train_length=config.train_length,
        laws=config.laws,
    )
    return Facts(spec, geometry)
