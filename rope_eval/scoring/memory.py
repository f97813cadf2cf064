"""What is held where while a document is scored, planned to fit into a budget.

The letters are those of `rope_eval.scoring.cost`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.scoring.cost import BYTES, Cost
from rope_eval.sizes import size_text

SHORTEST = 128  # tokens of a chunk; shorter ones take far longer, and save nothing
# Allowances, chosen so that plans were above the peaks of the one model of benchmarks/memory.py:
SCALED = 5  # copies of all keys for xPos, which makes one a chunk; glibc keeps some of the freed
TEMPORARY = 6  # of `[C, widest]` in a layer: twice `cost.CHUNKS`, which PyTorch's own count has


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The bytes of what is held, by what it depends on.

    Attributes:
        weights: what of them is held at a time.
        text: keys, values and tables of a layer for all tokens.
        hidden: the hidden states of all tokens.
        per_token: what a token of a chunk takes in a layer.
        logits: what becoming scores takes, a part of the text at a time.
    """

    weights: int
    text: int
    hidden: int
    per_token: int
    logits: int

    @classmethod
    def of(
        cls,
        cost: Cost,
        tokens: int,
        dtype: str,
        *,
        weights: int,
        unrotated: bool = False,
        scaled: bool = False,
        layers_kept: int = 1,
    ) -> Sizes:
        """Return the sizes for a text.

        Args:
            cost: of the model.
            tokens: T.
            dtype: that it runs in.
            weights: what of the weights is held at a time, in bytes.
            unrotated: whether keys are held unrotated too, as the base changes with the query.
            scaled: whether a chunk makes scaled copies of all keys before it (xPos).
            layers_kept: of how many layers keys and values are held at once.
        """
        from rope_eval.scoring.logits import LOGITS_AT_ONCE

        each = BYTES[dtype]
        keys = tokens * cost.kv_heads * cost.head_dim * each
        copies = (3 if unrotated else 2) * layers_kept + (SCALED if scaled else 0)
        widest = max(cost.wide, (cost.heads + 2 * cost.kv_heads) * cost.head_dim)
        rows = min(LOGITS_AT_ONCE, tokens * cost.vocabulary)
        return cls(
            weights=weights,
            text=copies * keys + 2 * tokens * cost.head_dim * 4,
            hidden=tokens * cost.hidden * each,
            per_token=TEMPORARY * widest * each,
            logits=2 * 4 * rows,
        )

    def held(self, chunk_size: int, *, hidden: bool) -> int:
        """Return the bytes held at most, with the hidden states among them or elsewhere."""
        most = self.weights + max(self.text + chunk_size * self.per_token, self.logits)
        return most + (self.hidden if hidden else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """What is held where.

    Attributes:
        budget: bytes.
        held: bytes at most, where the model computes: weights, and what scoring holds.
        weights: bytes of them.
        keys_and_values: bytes, tables of angles included.
        hidden: bytes of the hidden states.
        place: where these are, of `rope_eval.backends.hf.rows.PLACES`.
        chunk_size: C.
    """

    budget: int
    held: int
    weights: int
    keys_and_values: int
    hidden: int
    place: str
    chunk_size: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return memory_line(asdict(self))


def memory_line(plan: dict[str, Any]) -> str:
    """Return a recorded plan as a line: what will be held where."""
    places = {"device": "beside them", "host": "in pinned host memory", "disk": "on disk"}
    return (
        f"{size_text(plan['held'])} of {size_text(plan['budget'])}: weights "
        f"{size_text(plan['weights'])}, a layer's keys and values "
        f"{size_text(plan['keys_and_values'])}, hidden states {size_text(plan['hidden'])} "
        f"{places[plan['place']]}, chunks of {plan['chunk_size']} tokens"
    )


def plan_memory(
    sizes: Sizes, budget: int, *, chunk_size: int, is_fixed: bool, device: str, what: str
) -> MemoryPlan:
    """Choose where hidden states are held, and the size of chunks, to fit into a budget.

    The hidden states leave first, as that changes no score: each is read and written once a layer,
    which is little beside what the layer computes. Then chunks are halved.

    Args:
        sizes: of what is held.
        budget: bytes.
        chunk_size: the longest chunk to plan.
        is_fixed: whether no other was wanted.
        device: "cuda" or another kind.
        what: is scored, for errors.

    Raises:
        SpecError: where no plan fits, with the numbers.
    """
    elsewhere = "host" if device == "cuda" else "disk"
    candidates = [("device", chunk_size), *((elsewhere, n) for n in _halves(chunk_size, is_fixed))]
    for place, size in candidates:
        held = sizes.held(size, hidden=place == "device")
        if held <= budget:
            return MemoryPlan(
                budget=budget,
                held=held,
                weights=sizes.weights,
                keys_and_values=sizes.text,
                hidden=sizes.hidden,
                place=place,
                chunk_size=size,
            )
    raise SpecError(
        f"--memory-budget {size_text(budget)} does not hold {what}: {size_text(held)} is the least,"
        f" of weights {size_text(sizes.weights)}, a layer's keys and values "
        f"{size_text(sizes.text)} and chunks of {size} tokens {size_text(size * sizes.per_token)} "
        f"(or logits {size_text(sizes.logits)}), with the hidden states elsewhere. Ask for more, "
        "for shorter lengths, or for --offload, which holds two layers' weights at a time"
    )


def _halves(chunk_size: int, is_fixed: bool) -> Iterator[int]:
    yield chunk_size
    while not is_fixed and chunk_size > SHORTEST:
        chunk_size = max(SHORTEST, chunk_size // 2)
        yield chunk_size
