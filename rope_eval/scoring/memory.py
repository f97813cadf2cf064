"""What is held where while a document is scored: the one count that estimates and budgets go by.

The letters are those of `rope_eval.scoring.cost`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.cost import BYTES, Cost
from rope_eval.sizes import size_text, told_apart

SHORTEST = 128  # tokens of a chunk; shorter ones take far longer, and save nothing
CHUNKS = 3  # of `[C, …]`: what an attention layer or a feed-forward part holds at a time
LOGITS = 2  # of `[rows, V]` in float32: the logits, and what their log-sum-exp needs
KEPT = 1.25  # an allocator takes up to so much of what PyTorch asks for (benchmarks/memory.py)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The bytes of what is held on a device, by what it depends on.

    Attributes:
        weights: what of them is held at a time.
        tables: of angles.
        keys: keys and values, and the copies of keys that a setting needs, for all tokens.
        hidden: the hidden states of all tokens.
        per_token: what a token of a chunk takes in a layer.
        logits: what becoming scores takes, a part of the text at a time.
    """

    weights: int
    tables: int
    keys: int
    hidden: int
    per_token: int
    logits: int

    @classmethod
    def of(
        cls,
        cost: Cost,
        tokens: int,
        dtype: str,
        rope: RopeSpec,
        *,
        weights: int,
        layers: int = 1,
        cached: bool = False,
        devices: int = 1,
    ) -> Sizes:
        """Return the sizes for a text.

        A base that changes with the query needs keys before they turn beside those that did, as
        does xPos, and a cache of each layer.

        Args:
            cost: of the model.
            tokens: T.
            dtype: that it runs in.
            rope: the setting.
            weights: what of the weights is held at a time, in bytes.
            layers: of how many layers keys and values are held at once.
            cached: whether that is in a cache, as a continuation has it.
            devices: G that the queries are over.
        """
        from rope_eval.scoring.logits import LOGITS_AT_ONCE

        each = BYTES[dtype]
        turned = layers if cached else int(rope.xpos or rope.base_changes == "per_query")
        copies = 2 * layers + turned
        widest = max(cost.wide, (cost.heads + 2 * cost.kv_heads) * cost.head_dim)
        return cls(
            weights=weights,
            tables=(10 if rope.xpos else 8) * tokens * cost.head_dim,
            keys=copies * tokens * cost.kv_heads * cost.head_dim * each,
            hidden=-(-tokens // devices) * cost.hidden * each,
            per_token=CHUNKS * widest * each,
            logits=LOGITS * 4 * min(LOGITS_AT_ONCE, tokens * cost.vocabulary),
        )

    @property
    def text(self) -> int:
        """Keys, values and tables: what a layer holds for all tokens."""
        return self.tables + self.keys

    def held(self, chunk_size: int, *, hidden: bool = True) -> int:
        """Return the bytes held at most, with the hidden states among them or elsewhere."""
        most = self.tables + max(self.keys + chunk_size * self.per_token, self.logits)
        return self.weights + int(KEPT * (most + (self.hidden if hidden else 0)))


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
    asked, least = told_apart(budget, held)
    raise SpecError(
        f"--memory-budget {asked} does not hold {what}: {least} is the least, of weights "
        f"{size_text(sizes.weights)}, a layer's keys and values {size_text(sizes.text)}, chunks of "
        f"{size} tokens {size_text(size * sizes.per_token)} (or logits {size_text(sizes.logits)}) "
        f"and {KEPT - 1:.0%} more than all but weights for the allocator, with the hidden states "
        "elsewhere. Ask for more, for shorter lengths, or for --offload, which holds two layers' "
        "weights at a time"
    )


def _halves(chunk_size: int, is_fixed: bool) -> Iterator[int]:
    yield chunk_size
    while not is_fixed and chunk_size > SHORTEST:
        chunk_size = max(SHORTEST, chunk_size // 2)
        yield chunk_size
