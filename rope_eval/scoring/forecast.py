"""What a text will cost on machines of known rates: operations, bytes, memory and seconds.

Letters: T tokens, C tokens of a chunk, G devices.
"""

from __future__ import annotations

from dataclasses import dataclass

from rope_eval.errors import SpecError
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.cost import Cost
from rope_eval.scoring.machine import Machine
from rope_eval.scoring.memory import Sizes

SPLITS = ("queries", "layers")


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """The devices that one text is over.

    Attributes:
        count: G.
        split: "queries", where each has all weights and a part of the tokens; or "layers", where
            each has a part of the layers, and works while the others wait.

    Raises:
        SpecError: for less than one device, or another split.
    """

    count: int = 1
    split: str = "queries"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SpecError(f"devices must be 1 or more, got {self.count}")
        if self.split not in SPLITS:
            raise SpecError(f"split must be one of {', '.join(SPLITS)}, got {self.split!r}")

    @property
    def share(self) -> int:
        """Between how many devices the work of a moment is shared."""
        return self.count if self.split == "queries" else 1

    @property
    def parts(self) -> int:
        """Over how many devices the weights are."""
        return self.count if self.split == "layers" else 1

    def check_steps(self) -> None:
        """Raise `SpecError` where tokens cannot be written: a step is one query."""
        if self.share > 1:
            raise SpecError(
                "a token that is written is one query, which cannot be split: split=layers"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a piece of work costs.

    Attributes:
        tokens: that are scored, or written.
        flops: operations of all devices.
        bytes: that are read and written in memory, by all devices.
        received: bytes that each device receives from others.
        memory: bytes of the device that holds most, its weights included.
        seconds: None where bytes are received over a link of unknown speed.
    """

    tokens: int
    flops: float
    bytes: float
    received: int
    memory: int
    seconds: float | None

    @property
    def rate(self) -> float | None:
        """Tokens a second."""
        return None if self.seconds is None else self.tokens / self.seconds


def scoring(
    cost: Cost,
    tokens: int,
    machine: Machine,
    dtype: str,
    *,
    chunk_size: int,
    rope: RopeSpec | None = None,
    devices: Devices | None = None,
) -> Forecast:
    """Forecast one document.

    Args:
        cost: the model's size.
        tokens: T.
        machine: each device.
        dtype: that the model runs in.
        chunk_size: C.
        rope: the setting, as far as it changes memory; None for a neutral one.
        devices: one by default.
    """
    over = devices or Devices()
    chunks = -(-tokens // chunk_size)
    read = chunks * _multiplied(cost, dtype)
    cached = cost.keys_and_values(tokens, dtype) * (chunks + 1) / 2
    moved, logits = cost.moved(tokens, dtype), cost.logits_moved(tokens)
    seconds = (
        max(cost.product_flops(tokens) / machine.products, read / machine.bandwidth)
        + cost.attention_flops(tokens) / machine.attention
        + moved / machine.moves
        + logits / machine.logits
        + chunks * cost.layers * machine.layer_calls
    ) / over.share
    received = _received(cost, tokens, dtype, over)
    sizes = Sizes.of(
        cost,
        tokens,
        dtype,
        rope or RopeSpec(),
        weights=cost.weights(dtype, over.parts),
        devices=over.share,
    )
    return Forecast(
        tokens=tokens,
        flops=cost.flops(tokens),
        bytes=read + cached + moved + logits,
        received=received,
        memory=sizes.held(min(chunk_size, tokens)),
        seconds=_with_transport(seconds, received, machine, over),
    )


def generation(
    cost: Cost,
    prompt: int,
    tokens: int,
    machine: Machine,
    dtype: str,
    *,
    rope: RopeSpec | None = None,
    devices: Devices | None = None,
) -> Forecast:
    """Forecast tokens that are written one by one after a prompt, the prompt not counted.

    Each reads the weights, and all layers' keys and values before it.

    Args:
        cost: the model's size.
        prompt: tokens before them.
        tokens: how many are written.
        machine: each device.
        dtype: that the model runs in.
        rope: as `scoring`'s.
        devices: one by default; queries cannot be split, as there is one at a time.

    Raises:
        SpecError: for queries over several devices.
    """
    over = devices or Devices()
    over.check_steps()
    whole = prompt + tokens
    read = float(tokens * _multiplied(cost, dtype))
    # a step sees what is before it and itself: from prompt + 1 to prompt + tokens keys
    seen = tokens * prompt + tokens * (tokens + 1) // 2
    cached = float(cost.keys_and_values(1, dtype)) * seen
    moved = cost.moved(tokens, dtype)
    flops = cost.attention_flops(tokens, past=prompt)
    seconds = (
        max(cost.product_flops(tokens) / machine.products, read / machine.bandwidth)
        + max(flops / machine.attention, cached / machine.cached)
        + moved / machine.moves
        + tokens * cost.layers * machine.layer_calls
    )
    received = _received(cost, tokens, dtype, over)
    sizes = Sizes.of(
        cost,
        whole,
        dtype,
        rope or RopeSpec(),
        weights=cost.weights(dtype, over.parts),
        layers=-(-cost.layers // over.parts),
        cached=True,
    )
    return Forecast(
        tokens=tokens,
        flops=cost.product_flops(tokens) + flops,
        bytes=read + cached + moved,
        received=received,
        memory=sizes.held(prompt),
        seconds=_with_transport(seconds, received, machine, over),
    )


def _multiplied(cost: Cost, dtype: str) -> int:
    """Return the bytes of the weights that a token is multiplied with."""
    return cost.weights(dtype) * cost.multiplied // cost.parameters


def _received(cost: Cost, tokens: int, dtype: str, over: Devices) -> int:
    """Return the bytes that each device receives: keys and values, or the layers' hidden states."""
    if over.split == "queries":
        return cost.gathered(tokens, dtype, over.count)
    return cost.hidden_states(tokens, dtype) if over.count > 1 else 0


def _with_transport(seconds: float, received: int, machine: Machine, over: Devices) -> float | None:
    """Add what is received: by all devices at a time, or from one to the next in turn."""
    if not received:
        return seconds
    turns = 1 if over.split == "queries" else over.count - 1
    return None if machine.link is None else seconds + turns * received / machine.link
