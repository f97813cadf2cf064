"""Retrieval probes: a needle stands early in a text, and is asked for at its end.

A model whose base is too small for a length can keep its perplexity there and still lose what it
read (arXiv 2405.14591): perplexity is mostly won from near context, and a needle cannot be.
Here a probe is only built. Any model that gives log-likelihoods or continuations can answer it.
"""

from __future__ import annotations

import functools
import math
import random
import re
import string
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from rope_eval.errors import LengthError, SpecError

Encode = Callable[[str], Sequence[int]]
"""Text to tokens as the model sees them, BOS included where it has one."""

CHARACTERS_A_TOKEN = 6  # of filler that is set aside; prose has 3 to 5
MOST_SAMPLES, MOST_FACTS = 100_000, 10_000  # far above any study's: more take hours to draw
ATTEMPTS = 50  # to meet a length exactly; 3 to 10 are usual
NEARBY = 3  # places where a sample's filler may end: at one, no end of it may have the length


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How facts and their question are worded.

    Attributes:
        fact: what plants a value, with ``{key}`` and ``{value}``.
        question: what the text ends in, with ``{key}``; the answer follows.
        answer: what is scored, with ``{value}``.
        key_letters: what keys are drawn from; no key has two values in one text.
        key_length: letters of a key.
        value_letters: what values are drawn from, each letter alike.
        value_length: letters of a value.
        after: a pattern; facts and the question stand at ends of its matches in the filler.
    """

    fact: str
    question: str
    answer: str
    key_letters: str
    key_length: int
    value_letters: str
    value_length: int
    after: str

    def draw(self, rng: random.Random, count: int) -> list[tuple[str, str]]:
        """Draw keys, all different, with their values."""
        keys: dict[str, str] = {}
        while len(keys) < count:
            key = "".join(rng.choices(self.key_letters, k=self.key_length))
            keys.setdefault(key, "".join(rng.choices(self.value_letters, k=self.value_length)))
        return list(keys.items())


PASSKEY = Form(
    fact="The pass key of {key} is {value}. Remember it: {value} is the pass key of {key}.\n",
    question="\nWhat is the pass key of {key}? The pass key of {key} is",
    answer=" {value}",
    key_letters=string.ascii_uppercase,
    key_length=4,
    value_letters=string.digits,
    value_length=7,
    after=r"\n|(?<=[.!?]) ",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One question.

    Attributes:
        sample: which sample it is of; a sample has the same facts at every length and depth.
        length: tokens of the context and the answer, BOS included.
        depth: asked for: the part of the filler that stands before the facts, 0 to 1.
        key: whose value is asked for.
        value: what the needle says.
        context: the text, its question last.
        answer: what follows it: the value, as the form writes it.
        tokens: the ids of context and answer together; `length` of them.
        value_tokens: how many of them, the last ones, are the answer's.
    """

    sample: int
    length: int
    depth: float
    key: str
    value: str
    context: str
    answer: str
    tokens: tuple[int, ...]
    value_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbePlan:
    """Which probes to build; all of them come from the seed.

    Attributes:
        form: how facts are worded.
        text: filler; the end of a part of it stands in each probe.
        lengths: tokens, BOS, question and answer included.
        depths: where the facts stand: 0 is before the filler, 1 after it.
        samples: how many, each with facts and a part of the filler of its own.
        seed: of all draws.
        facts: how many stand together, one of them asked for.
    """

    form: Form = field(repr=False)
    text: str = field(repr=False)
    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    samples: int
    seed: int
    facts: int = 1

    def __post_init__(self) -> None:
        _check_list("lengths", self.lengths, (int,), 1, math.inf)
        _check_list("depths", self.depths, (int, float), 0, 1)
        for name, least, most in (
            ("samples", 1, MOST_SAMPLES),
            ("seed", 0, math.inf),
            ("facts", 1, MOST_FACTS),
        ):
            _check_list(name, (getattr(self, name),), (int,), least, most)
        most = len(set(self.form.key_letters)) ** self.form.key_length
        if self.facts > most:
            raise SpecError(f"there are {most} keys, too few for facts={self.facts}")

    def probes(self, encode: Encode) -> Iterator[Probe]:
        """Build all probes, sample by sample, then by length and depth."""
        for sample, length, depth in product(range(self.samples), self.lengths, self.depths):
            yield self.probe(encode, sample=sample, length=length, depth=depth)

    def facts_of(self, sample: int) -> tuple[list[tuple[str, str]], tuple[str, str]]:
        """Return the ``(key, value)`` pairs of a sample, and the one asked for."""
        rng = random.Random(f"{self.seed}:{sample}")
        facts = self.form.draw(rng, self.facts)
        return facts, rng.choice(facts)

    def probe(self, encode: Encode, *, sample: int, length: int, depth: float) -> Probe:
        """Build one probe of exactly `length` tokens; the filler loses its beginning for that.

        Raises:
            LengthError: where the facts and the question have no room in the length, or the filler
                is too short for it.
        """
        facts, (key, value) = self.facts_of(sample)
        needle = "".join(self.form.fact.format(key=k, value=v) for k, v in facts)
        question = self.form.question.format(key=key)
        answer = self.form.answer.format(value=value)

        def context(filler: str) -> str:
            place = self._place(filler, depth)
            return filler[:place] + needle + filler[place:] + question

        def tokens_of(filler: str) -> int:
            return len(encode(context(filler) + answer))

        least = tokens_of("")
        if least >= length:
            raise LengthError(
                f"a probe of {length} tokens has no room for filler: its facts, question and "
                f"answer take {least}; ask for longer lengths or fewer facts"
            )
        fitting = (_end_of(tokens_of, self.text[:end], length) for end in self._ends(sample))
        filler = next((found for found in fitting if found is not None), None)
        if filler is None:
            raise LengthError(
                f"the filler's {len(self.text)} characters have no part that makes a probe of "
                f"{length} tokens: give more text, or ask for other lengths"
            )
        text = context(filler)
        tokens = tuple(map(int, encode(text + answer)))
        return Probe(
            sample=sample,
            length=length,
            depth=depth,
            key=key,
            value=value,
            context=text,
            answer=answer,
            tokens=tokens,
            value_tokens=len(tokens) - len(encode(text)),
        )

    def _ends(self, sample: int) -> list[int]:
        """Return where the sample's part of the text may end: at its own place, or else nearby.

        The same place serves all lengths, so that they are compared on the same text.
        """
        room = min(len(self.text), CHARACTERS_A_TOKEN * max(self.lengths))
        own = random.Random(f"{self.seed}:{sample}:filler").uniform(room, len(self.text))
        ends = _ends_of(self.form.after, self.text)
        place = bisect_left(ends, own)
        around = ends[max(place - NEARBY, 0) : place + NEARBY]
        return [*sorted(around, key=lambda end: abs(end - own))[:NEARBY], ends[-1]]

    def _place(self, filler: str, depth: float) -> int:
        """Return where facts may stand that is nearest to the depth."""
        places = [0, *(match.end() for match in re.finditer(self.form.after, filler))]
        return min(places, key=lambda place: abs(place - depth * len(filler)))


@functools.lru_cache(maxsize=8)
def _ends_of(after: str, text: str) -> Sequence[int]:
    """Return where a text may end, increasing; a long text is searched once for all samples."""
    return [match.end() for match in re.finditer(after, text)] or [len(text)]


def _end_of(tokens_of: Callable[[str], int], text: str, length: int) -> str | None:
    """Return the end of a text of which `tokens_of` is the length, or None if none is found.

    A character more can be a token more, none, or one less, so what follows the first guesses is a
    search in the neighbourhood.
    """
    size, tried = min(length, len(text)), set()
    for _ in range(ATTEMPTS):
        tried.add(size)
        found = text[len(text) - size :]
        tokens = tokens_of(found)
        if tokens == length:
            return found
        if tokens < length and size == len(text):
            return None
        wanted = min(max(size + round((length - tokens) * size / tokens), 1), len(text))
        near = range(max(wanted - ATTEMPTS, 1), min(wanted + ATTEMPTS, len(text)) + 1)
        untried = [n for n in near if n not in tried]
        if not untried:
            return None
        size = min(untried, key=lambda n: abs(n - wanted))
    return None


def _check_list(
    name: str, values: Sequence[Any], kinds: tuple[type, ...], least: float, most: float
) -> None:
    whole = "whole numbers" if kinds == (int,) else "numbers"
    limits = f"{least} or more" if most == math.inf else f"from {least} to {most}"
    if not values or not all(type(x) in kinds and least <= x <= most for x in values):
        raise SpecError(f"{name} must be {whole}, {limits}, got {_shown(values)}")
    if len(set(values)) < len(values):
        raise SpecError(f"{name} must not repeat, got {_shown(values)}")


def _shown(values: Sequence[Any]) -> str:
    return repr(values[0]) if len(values) == 1 else repr(list(values))
