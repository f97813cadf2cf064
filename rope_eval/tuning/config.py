"""What a model's config can say of a RoPE setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.geometry import TUNED
from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


LAWS = ("pretrain_theta", "train_length", "tune_length")
"""What the laws of a tuned model stand on, and its config has no word of transformers' for."""


def record_laws(config: PreTrainedConfig, recipe: Recipe) -> None:
    """Write into a config what was the pre-training's and the tuning's, for `RopeConfig.laws`."""
    known = {name: getattr(recipe.rope, name) for name in LAWS} | {"tune_length": recipe.length}
    setattr(config, TUNED, {name: value for name, value in known.items() if value is not None})


def unsaid(spec: RopeSpec) -> RopeSpec:
    """Return what of a setting the config of a tuned model does not say."""
    return spec.replace(**dict.fromkeys(LAWS), rope_theta=None, linear_factor=1.0)


def configure(config: PreTrainedConfig, spec: RopeSpec) -> RopeSpec | None:
    """Write into a config what it can say of a setting: the base, interpolation and the length.

    Args:
        config: of the model to train; it is changed.
        spec: what to train under.

    Returns:
        The spec to train under, inside `patched`, where the config cannot say all of it, else None.

    Raises:
        SpecError: the config has scaled frequencies of its own, and the spec asks for others.
        UnsupportedModelError: the model has no rotary embedding, or several.
    """
    parameters = dict(getattr(config, "rope_parameters", None) or {})
    if "rope_theta" not in parameters:
        raise UnsupportedModelError(
            f"a model of type {config.model_type} has no single rotary base in its config "
            f"(rope_parameters: {parameters or 'none'}), so there is none to tune it with"
        )
    if spec.rope_theta is not None:
        parameters["rope_theta"] = spec.rope_theta
    if spec.linear_factor != 1.0:
        if parameters.get("rope_type", "default") != "default":
            raise SpecError(
                f"linear_factor={spec.linear_factor:g} for a model whose config has rope_type "
                f"{parameters['rope_type']}: start from one with default frequencies"
            )
        parameters |= {"rope_type": "linear", "factor": spec.linear_factor}
    config.rope_parameters = parameters
    length = spec.tune_length or spec.train_length or 0
    config.max_position_embeddings = max(length, config.max_position_embeddings)
    said = spec.replace(rope_theta=None, linear_factor=1.0)
    return None if said.is_neutral else said
