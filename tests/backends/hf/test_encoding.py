"""The first tokens of a beginning are those of the whole, whatever the tokenizer."""

from __future__ import annotations

import functools
import random
import resource
from collections.abc import Callable
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rope_eval.backends.hf import encoding
from rope_eval.backends.hf.encoding import first_tokens
from rope_eval.backends.hf.loading import encode
from studies.scaling_laws.recipes.model import build_tokenizer

ENGLISH = "\n\n".join(dict(sorted(topics.items())).values())[:200_000]
SPECIAL = ["<unk>", "<s>"]


def _letters(alphabet: str, length: int = 30_000) -> str:
    return "".join(random.Random(0).choices(alphabet, k=length))


TEXTS = {
    "english": ENGLISH,
    "no spaces": _letters("天地玄黄宇宙洪荒日月盈昃。，"),
    "paragraphs": _letters("天地玄黄宇宙洪荒日月盈昃。，").replace("。", "。\n"),
    "one character": "x " + "a" * 40_000 + " y",
    "a run, then words": "a b" + " " * 20_000 + "c d. " * 4_000,
    "two letters": "ab" * 20_000,
    "repeats, and ends otherwise": "🎉é’ \u0301" * 9_000,
    "little of everything": _letters("ab \n"),
}


def _bpe(tokenizer: Tokenizer) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet() if tokenizer.pre_tokenizer else []
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text[:3_000] for text in TEXTS.values()], trainer)
    return tokenizer


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _bpe(tokenizer)


def _merges_over_spaces() -> Tokenizer:
    return _bpe(Tokenizer(models.BPE(unk_token="<unk>")))


def _as_llama2() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.NFKC()]
    )
    return _bpe(tokenizer)


def _unigram(*, split: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text[:10_000] for text in TEXTS.values()], trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte level": _byte_level,
    "merges over spaces": _merges_over_spaces,
    "as LLaMA2's": _as_llama2,
    "unigram": functools.partial(_unigram, split=False),
    "unigram of words": functools.partial(_unigram, split=True),
}


class Spy:
    """A tokenizer that notes how much it was given."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.longest = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str, **options: Any) -> Any:
        self.longest = max(self.longest, len(text))
        return self._tokenizer(text, **options)


def _wrapped(tokenizer: Tokenizer, bos: str | None = "<s>") -> Any:
    return Spy(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_the_whole(kind: str) -> None:
    tokenizer = _wrapped(KINDS[kind]())
    for name, text in TEXTS.items():
        whole = encode(tokenizer, text)
        for most in (1, 2, 64, 500, len(whole), len(whole) + 9):
            tokenizer.longest = 0
            assert torch.equal(first_tokens(tokenizer, text, most), whole[:most]), (name, most)
            if name == "english" and most <= 64:
                assert tokenizer.longest < 2_000
        without = first_tokens(tokenizer, text, 9, add_bos=False)
        assert torch.equal(without, whole[1:10])


def test_of_tokenizers_made_by_chance_none_gives_other_tokens() -> None:
    shorter = 0
    for seed in range(150):
        chance = random.Random(seed)
        letters = "abc "[: chance.randint(2, 4)]
        pieces, merges = list(letters), []
        for _ in range(chance.randint(1, 14)):
            pair = (chance.choice(pieces), chance.choice(pieces))
            if pair not in merges and len("".join(pair)) <= 8:
                merges.append(pair)
                pieces += {"".join(pair)} - set(pieces)
        if seed % 2:
            costs = (-chance.choice([1, 2, 3, 9 * chance.random()]) for _ in pieces)
            made = Tokenizer(models.Unigram(list(zip(pieces, costs, strict=True)), unk_id=0))
        else:
            vocabulary = {piece: i for i, piece in enumerate(pieces)}
            made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        tokenizer = _wrapped(made, bos=None)
        unit = "".join(chance.choices(letters, k=chance.randint(1, 7)))
        text = unit * (20_000 // len(unit)) + letters[: chance.randint(0, 2)]
        whole = encode(tokenizer, text)
        for most in (1, 7, 60):
            tokenizer.longest = 0
            assert torch.equal(first_tokens(tokenizer, text, most), whole[:most]), (seed, most)
            shorter += tokenizer.longest < len(text) / 2
    assert shorter > 150


def test_where_the_ends_disagree_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text, tokenizer = ENGLISH[:60_000], Spy(build_tokenizer())
    given: list[int] = []

    def fickle(tokenizer: Any, text: str, **options: Any) -> torch.Tensor:
        given.append(len(text))
        ids = encode(tokenizer, text, **options)
        ids[5] = len(text)  # as if every end reached back to the beginning
        return ids

    monkeypatch.setattr(encoding, "encode", fickle)
    assert first_tokens(tokenizer, text, 10)[5] == len(text)  # type: ignore[arg-type]
    assert given == sorted(given)
    assert len(given) > 3


def test_a_tokenizer_of_unknown_workings_reads_the_whole() -> None:
    class Slow:
        bos_token_id = None

        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": [len(text), *map(ord, text)]}

    slow: Any = Slow()
    assert first_tokens(slow, ENGLISH, 2).tolist() == [len(ENGLISH), ord(ENGLISH[0])]


def test_sixty_four_tokens_of_ten_megabytes_take_little_memory() -> None:
    tokenizer, text = _wrapped(_byte_level()), ENGLISH * 50
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(first_tokens(tokenizer, text, 64)) == 64
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10  # KiB
