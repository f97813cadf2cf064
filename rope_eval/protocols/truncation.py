"""Cut long prompts on one side, by tokens and without a token that was not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from rope_eval.errors import LengthError, UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Side = Literal["left", "right", "middle"]
SIDES: tuple[Side, ...] = get_args(Side)


def spans_of(tokenizer: Any, text: str) -> Sequence[tuple[int, int]]:
    """Return where each token of a text, BOS apart, begins and ends in it.

    Args:
        tokenizer: a fast one.
        text: any.
    """
    spans: Sequence[tuple[int, int]] = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )["offset_mapping"]
    return spans


def cut(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    room: int,
    side: Side,
    count: Callable[[str], int],
    *,
    option: str,
) -> str:
    """Leave out so much of one side of a text that it has `room` tokens at most.

    Args:
        tokenizer: a fast one.
        text: what may be too long.
        room: tokens that fit, BOS included.
        side: what is left out: "left", "right", or "middle", which keeps both ends.
        count: how many tokens a text has, BOS included.
        option: the host's name of the length that sets `room`, which an error names.

    Raises:
        LengthError: where not one token fits.
        UnsupportedModelError: for a tokenizer that does not know where its tokens are.
    """
    excess = count(text) - room
    if excess <= 0:
        return text
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedModelError(
            "cutting long prompts needs a fast tokenizer, which knows where in the text its tokens "
            f"are; {type(tokenizer).__name__} does not"
        )
    spans = spans_of(tokenizer, text)
    kept = len(spans)
    while excess > 0:  # tokens at a cut can join or split
        kept -= excess
        if kept < 1:
            raise LengthError(f"no token of a prompt fits: {option} leaves room for {room}")
        head = {"left": 0, "right": kept, "middle": kept // 2}[side]
        tail = kept - head
        shorter = text[: spans[head - 1][1]] if head else ""
        shorter += text[spans[-tail][0] :] if tail else ""
        excess = count(shorter) - room
    return shorter
