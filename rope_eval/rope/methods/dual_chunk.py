"""Dual Chunk Attention: positions within a chunk, and clipped ones to the chunks before."""

from __future__ import annotations

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods._maps import checks, refused, whole
from rope_eval.rope.position_maps import Chunked
from rope_eval.rope.values import Field, optional


def _effect(facts: Facts) -> Effect:
    chunk, limit = facts.spec.dual_chunk_size, facts.spec.dual_chunk_limit
    position_map = Chunked(chunk, chunk * 6 // 5 if limit is None else limit)
    return Effect(position_map=position_map, effective_from=position_map.exact + 1)


def _reaches(spec: Setting) -> None:
    chunk, limit = spec.dual_chunk_size, spec.dual_chunk_limit
    if limit is not None and limit < chunk:
        raise SpecError(
            f"dual_chunk_limit={limit} must be dual_chunk_size={chunk} or more: else keys would be "
            "after their queries"
        )


METHOD = Method(
    name="Dual Chunk Attention",
    says=(
        "a key is at s mod S; its query at t mod S in the same chunk, at min(t mod S + S, c) in "
        "the next, and at min(2S − 1, c) in later ones"
    ),
    source="arXiv 2402.17463; c as in github.com/HKUNLP/ChunkLlama, without its factor on cos",
    fields=(
        Field(
            name="dual_chunk_size",
            default=None,
            type=int | None,
            parse=optional(whole(least=1)),
            says="Dual Chunk Attention's S: tokens of a chunk (the authors': 5/8 of train_length)",
            live=("dual_chunk_size=6", "dual_chunk_size=25"),
        ),
        Field(
            name="dual_chunk_limit",
            default=None,
            type=int | None,
            parse=optional(whole(least=1)),
            says=(
                "its c ≥ S: the largest position of a query; None takes 6/5 of S (the authors': "
                "3/4 of train_length)"
            ),
            live=("dual_chunk_size=16", "dual_chunk_size=16,dual_chunk_limit=30"),
        ),
    ),
    effect=_effect,
    maps_positions=True,
    in_probe={"dual_chunk_size": 3, "dual_chunk_limit": 5},
    check=checks("dual_chunk_size", "dual_chunk_limit", also=_reaches),
    not_served=refused("dual_chunk_size"),
    examples=("dual_chunk_size=20", "dual_chunk_size=10,dual_chunk_limit=17"),
    untuned=lambda made_for, length: f"dual_chunk_size={made_for * 5 // 8}",
    neutral=("dual_chunk_size=none", "dual_chunk_size=4096"),
    checked=(
        Checked(
            code="HKUNLP/ChunkLlama, chunkllama_attn_replace.py",
            commit="2add4d7",
            ran=(
                "prefill and decoding, in transformers 4.37; parts merged in float32, there in "
                "bfloat16"
            ),
            settings=(
                "dual_chunk_size=20",
                "dual_chunk_size=15,dual_chunk_limit=24",
                "dual_chunk_size=20,attention_factor=1.0549306144334054",
            ),
            off=1.4e-5,
            readings=(
                "the first two are its chunks alone. Its file as it is also multiplies cos and sin "
                "by max(1, 0.05·ln(length / T) + 1), which it says the paper's results do not "
                "have: 2.0 nats; left out here. In prefill it is the third, by "
                "`attention_factor`; in decoding its keys keep the factors of shorter lengths"
            ),
        ),
    ),
    place=53,
)
