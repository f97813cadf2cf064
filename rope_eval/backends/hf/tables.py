"""The geometry of a rotary module's table: read from the module, and from the config beside it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_eval.backends.config import DYNAMIC, rope_config
from rope_eval.backends.hf.layers import Identity
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.geometry import RopeConfig, RotaryGeometry
from rope_eval.rope.rotary import inverse_frequencies

INV_FREQ = "inv_freq"
SCALING = "attention_scaling"
FACTOR = 1.1  # bfloat16 tells it from 1, and the epsilon of a norm does not


def is_rotary(module: nn.Module) -> bool:
    """Tell whether a module makes tables: it holds frequencies, and is called with positions."""
    names = {*dict(module.named_buffers(recurse=False)), *vars(module)}
    takes = inspect.signature(module.forward).parameters
    return any(name.endswith(INV_FREQ) for name in names) and "position_ids" in takes


def named(rotary: nn.Module, layer_type: str | None, what: str) -> str:
    """Return the attribute of a table: ``inv_freq``, or ``full_attention_inv_freq``."""
    of_type = f"{layer_type}_{what}"
    return of_type if layer_type is not None and hasattr(rotary, of_type) else what


def with_frequencies(rotary: nn.Module, layer_type: str | None, inv_freq: Tensor) -> nn.Module:
    """Return a copy of a rotary module, one of whose tables has other frequencies for good.

    Its cos and sin are multiplied by `FACTOR` more, where it has such a number, so that it can be
    seen whether that reaches the scores.

    Raises:
        UnsupportedModelError: for a module that does not take them.
    """
    made: Any = copy.deepcopy(rotary)
    setattr(made, named(made, layer_type, INV_FREQ), inv_freq)
    scaling = named(made, layer_type, SCALING)
    if hasattr(made, scaling):
        setattr(made, scaling, getattr(made, scaling) * FACTOR)
    kinds = getattr(made, "rope_type", None)
    made.rope_type = dict.fromkeys(kinds, "default") if isinstance(kinds, dict) else "default"
    for again in (False, True):  # it may compute them in every call
        if again:
            made.rope_init_fn = lambda *_, **__: (inv_freq, getattr(made, SCALING, 1.0))
        found = measured(made, layer_type)[0]
        if found.shape == inv_freq.shape and torch.allclose(found, inv_freq.double(), atol=1e-5):
            return made
    raise UnsupportedModelError(
        f"the rotary module {type(rotary).__name__} does not turn by its inv_freq"
    )


def measured(rotary: nn.Module, layer_type: str | None, position: int = 2) -> tuple[Tensor, float]:
    """Return what a table turns by, whatever the module says: it is called, and its angles read.

    Args:
        rotary: the module.
        layer_type: which table of it.
        position: the last one of the sequence.

    Returns:
        The angle of each pair at position 1, float64 ``[F]``, and what cos and sin are multiplied
        by.
    """
    device = getattr(rotary, named(rotary, layer_type, INV_FREQ)).device
    positions = torch.tensor([[0, 1, max(position, 2)]], device=device)
    found = call(rotary, layer_type, torch.zeros(1, 3, 1, device=device), positions)
    cos, sin = (found.real, found.imag) if isinstance(found, Tensor) else found
    angles = torch.atan2(sin[0, 1].double(), cos[0, 1].double())
    F = len(getattr(rotary, named(rotary, layer_type, INV_FREQ)))
    if len(angles) == 2 * F:
        angles = angles[:F] if torch.equal(angles[:F], angles[F:]) else angles[::2]
    return angles, float(cos[0, 0].abs().max())


def arguments_of(
    rotary: nn.Module,
) -> Callable[[tuple[Any, ...], dict[str, Any]], tuple[Tensor, Tensor, str | None]]:
    """Return a reader of a rotary module's call: hidden states, positions, and type of layer."""
    names = list(inspect.signature(rotary.forward).parameters)

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor, str | None]:
        given = dict(zip(names, args, strict=False)) | kwargs
        return given[names[0]], given["position_ids"], given.get("layer_type")

    return read


def call(rotary: nn.Module, layer_type: str | None, x: Tensor, position_ids: Tensor) -> Any:
    """Ask a rotary module for a table."""
    asked = {} if layer_type is None else {"layer_type": layer_type}
    return rotary(x, position_ids=position_ids, **asked)


def identity_of(rotary: nn.Module, layer_type: str | None, device: torch.device) -> Identity:
    """Learn what takes a table's place, from what it is at position 0, where nothing turns.

    Raises:
        UnsupportedModelError: for a module that returns what is no table of positions.
    """
    rotary = copy.deepcopy(rotary)
    positions = torch.zeros(1, 3, dtype=torch.int64, device=device)
    found = [
        call(rotary, layer_type, torch.zeros(1, 3, 1, dtype=dtype, device=device), positions)
        for dtype in (torch.float32, torch.float64)
    ]
    tensors, others = ([x] if isinstance(x, Tensor) else list(x) for x in found)
    if not all(isinstance(x, Tensor) and x.shape[:-1] == (1, 3) for x in tensors):
        raise UnsupportedModelError(
            f"the rotary module {type(rotary).__name__} returns what is no table of positions"
        )
    return Identity(
        ones=tuple(bool(x.abs().max() > 0) for x in tensors),
        is_tuple=not isinstance(found[0], Tensor),
        width=tensors[0].shape[-1],
        dtype=tensors[0].dtype if tensors[0].dtype == others[0].dtype else None,
    )


def geometry_of_table(
    rotary: nn.Module, layer_type: str | None, head_dim: int, config: PreTrainedConfig
) -> RotaryGeometry:
    """Return the geometry of one table of a rotary module.

    Args:
        rotary: the module.
        layer_type: which table of it.
        head_dim: of the attention that turns by it.
        config: the model's.

    Raises:
        UnsupportedModelError: for no frequencies to change.
    """
    own = getattr(rotary, "config", config)
    parameters = _parameters(own, layer_type)
    whole = rope_config(config)
    said = RopeConfig({**whole.values, "rope_parameters": parameters}, whole.where)
    inv_freq, factor = _read(rotary, layer_type, 0)
    rotary_dim = 2 * len(inv_freq)
    if rotary_dim < 4:
        raise UnsupportedModelError(
            f"a rotary embedding of {rotary_dim} dimensions has no frequencies to change"
        )
    theta = _base(parameters, own, inv_freq)
    geometry = RotaryGeometry(
        head_dim=head_dim,
        rotary_dim=rotary_dim,
        rope_theta=theta,
        train_length=said.train_length,
        attention_factor=factor,
        rope_type=said.rope_type,
        laws=said.laws,
    )
    plain = inverse_frequencies(theta, rotary_dim)
    if said.rope_type in ("default", DYNAMIC) and _close(inv_freq, plain):
        return geometry
    rebuilt = _Rebuilt(type(rotary), own, layer_type)
    border = math.inf
    positions = [0]
    if said.rope_type == "longrope":
        border = float(_number(parameters, own, "original_max_position_embeddings") or math.inf)
        positions.append(int(border))
    knows = rebuilt.makes(inv_freq, theta)
    made = []
    for position in positions:
        frequencies, factor = _read(rotary, layer_type, position)
        made.append(
            dataclasses.replace(
                geometry,
                inv_freq=frequencies.double().cpu(),
                attention_factor=factor,
                rescaled=rebuilt.frequencies(position) if knows else None,
            )
        )
    if len(made) == 1:
        return made[0]
    return dataclasses.replace(made[0], short_length=border, long=made[1])


class _Rebuilt:
    """A rotary module made again from its config, with another base in it."""

    def __init__(self, kind: type[nn.Module], config: Any, layer_type: str | None):
        self.kind, self.config, self.layer_type = kind, copy.deepcopy(config), layer_type

    def frequencies(self, position: int) -> Any:
        """Return a function from a base to the frequencies of a sequence past `position`."""

        def of_base(rope_theta: float) -> Tensor:
            config = copy.deepcopy(self.config)
            _parameters(config, self.layer_type)["rope_theta"] = rope_theta
            with torch.device("cpu"):
                rotary: Any = self.kind(config)
            return _read(rotary, self.layer_type, position)[0].double()

        return of_base

    def makes(self, inv_freq: Tensor, rope_theta: float) -> bool:
        """Tell whether what is made again is what the model has."""
        try:
            return _close(inv_freq, self.frequencies(0)(rope_theta))
        except (TypeError, KeyError, AttributeError, ValueError, IndexError):
            return False


def _parameters(config: Any, layer_type: str | None) -> dict[str, Any]:
    """Return what a config says of a table; the dictionary itself, so that it can be changed."""
    parameters = getattr(config, "rope_parameters", None) or {}
    if layer_type is not None and isinstance(parameters.get(layer_type), Mapping):
        parameters = parameters[layer_type]
    found: dict[str, Any] = parameters
    return found


def _number(parameters: Mapping[str, Any], config: Any, name: str) -> float | None:
    value = parameters.get(name, getattr(config, name, None))
    return float(value) if isinstance(value, int | float) else None


def _base(parameters: Mapping[str, Any], config: Any, inv_freq: Tensor) -> float:
    """Return the base that a config says, or the one that plain frequencies have."""
    said = _number(parameters, config, "rope_theta")
    if said is not None:
        return said
    F = len(inv_freq)
    return float(inv_freq[-1].double() ** (-F / (F - 1)))


def _read(rotary: nn.Module, layer_type: str | None, position: int) -> tuple[Tensor, float]:
    """Return the frequencies ``[F]`` and the factor of a sequence that ends at a position.

    They are those that the module holds once it was called, where it turns by them.
    """
    rotary = copy.deepcopy(rotary)
    angles, factor = measured(rotary, layer_type, position)
    held: Tensor = getattr(rotary, named(rotary, layer_type, INV_FREQ)).detach()
    same = held.shape == angles.shape and torch.allclose(
        held.double(), angles, rtol=1e-2 if held.dtype.itemsize < 4 else 1e-4, atol=1e-7
    )
    said = getattr(rotary, named(rotary, layer_type, SCALING), factor)
    return (held if same else angles), said if abs(said - factor) < 1e-2 * factor else factor


def _close(one: Tensor, other: Tensor) -> bool:
    """Tell whether frequencies are the same to the rounding of the type that holds the first."""
    if one.shape != other.shape:
        return False
    tolerance = 1e-5 if one.dtype in (torch.float32, torch.float64) else 2e-2
    return torch.allclose(one.double().cpu(), other.double().cpu(), rtol=tolerance, atol=0)
