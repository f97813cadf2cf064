"""The first tokens of a long text, from no more of the text than they need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from tokenizers.models import Unigram
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rope_eval.backends.hf.loading import encode

MARGIN = 64  # tokens past the last one wanted that must not depend on where the text is cut

_BEFORE_SPACE = re.compile(r"\S(?=\s)")
_BEFORE_CHANGE = re.compile(r"(.)(?!\1)", re.DOTALL)  # no cut within a run of one character
_NEAR = 4096  # characters in which a space is looked for
_ROOM = 8  # characters a token, at first


def first_tokens(
    tokenizer: PreTrainedTokenizerBase, text: str, most: int, *, add_bos: bool = True
) -> Tensor:
    """Return the first tokens of a text, or all where it has fewer: int64 ``[min(most, T)]``.

    They are those of the whole text, cut. A tokenizer takes some hundred bytes for each character,
    so only beginnings of the text are given to it, that end at different places. What all of them
    begin with must go on for `MARGIN` tokens after the last that is wanted: then what the end
    changes does not reach that far. Else they grow, up to the whole.

    Args:
        tokenizer: the model's.
        text: the whole text.
        most: tokens, BOS included where the tokenizer has one.
        add_bos: put BOS first, where the tokenizer has one.
    """
    ends = _ends(tokenizer)
    size = _ROOM * (most + MARGIN)
    while ends and 2 * ends * size < len(text):  # else the whole is less work
        cuts = _cuts(text, size, ends)
        if cuts[-1] > len(text) // 2:
            break
        found = [encode(tokenizer, text[:cut], add_bos=add_bos) for cut in cuts]
        if _common(found) >= most + MARGIN:
            return found[0][:most].clone()
        size *= 2
    return encode(tokenizer, text, add_bos=add_bos)[:most].clone()


def _ends(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many ends tell that none reaches back; 0 for a tokenizer of unknown workings.

    Merges (BPE) and longest matches (WordPiece) go from the left, and an end disturbs what is near.
    A unigram model takes the likeliest way to the end, which in a text that repeats itself may turn
    on the last character, however far: but the way to a longer text's end goes through one of as
    many places in a row as its longest piece has characters.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return 0
    return max(map(len, tokenizer.get_vocab())) + 1 if isinstance(backend.model, Unigram) else 2


def _cuts(text: str, size: int, ends: int) -> Sequence[int]:
    if ends > 2:
        return range(size, size + ends)
    return [_cut(text, size), _cut(text, size + size // 2)]


def _cut(text: str, start: int) -> int:
    """Return the next place to cut at: before a space, else where one character gives way."""
    found = _BEFORE_SPACE.search(text, start, start + _NEAR) or _BEFORE_CHANGE.search(text, start)
    return found.end() if found else len(text)


def _common(rows: list[Tensor]) -> int:
    """Return how many tokens all rows begin with."""
    least = min(map(len, rows))
    differ = [(a[:least] != b[:least]).nonzero() for a, b in pairwise(rows)]
    return min([least, *(int(places[0]) for places in differ if len(places))])
