"""JSON KV, the part of HELMET's recall that RULER does not have, in lm-eval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rope_eval.data.json_pairs import JsonPairs
from rope_eval.hosts.lm_eval.haystack_task import HaystackTask, Prompts, Tokens
from rope_eval.hosts.lm_eval.metadata import whole


@dataclass(frozen=True, slots=True)
class _Objects:
    seed: int
    max_gen_toks: int

    def prompt(self, tokens: Tokens, doc: Mapping[str, Any], *, length: int, depth: float) -> str:
        pairs = JsonPairs(seed=self.seed, sample=doc["sample"])
        return pairs.prompt(tokens.count, room=length - self.max_gen_toks, depth=depth)


class JsonPairsTask(HaystackTask):
    """Its documents are drawn: an object of random keys and values each.

    From ``--metadata``: ``max_seq_lengths``, as RULER's tasks have it, tokens of a prompt and its
    continuation; ``depths``; ``samples``; ``max_gen_toks``; ``pairs_seed``.
    """

    LENGTHS = "max_seq_lengths"
    OWN = ("max_seq_lengths", "depths", "samples", "max_gen_toks", "pairs_seed")

    def read(
        self, given: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], Prompts, dict[str, Any]]:
        """Return what is asked of each object."""
        seed, samples = given["pairs_seed"], whole("samples", given["samples"])
        docs = []
        for sample in range(samples):
            key, value = JsonPairs(seed=seed, sample=sample).asked
            docs.append({"sample": sample, "question": key, "golds": [value]})
        return docs, _Objects(seed, whole("max_gen_toks", given["max_gen_toks"])), {}
