"""The first documents of a source that are long enough: what "N documents" means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.data.books import Document, read_books
from rope_eval.errors import LengthError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


def long_enough(
    source: str | Path,
    length: int,
    tokenizer: PreTrainedTokenizerBase,
    documents: int | None = None,
) -> list[tuple[Document, Tensor]]:
    """Return the first documents of at least `length` tokens, and their tokens up to it.

    Args:
        source: of `rope_eval.data.books.read_books`; what comes after the last document that is
            needed is not read.
        length: tokens, BOS included where the tokenizer has one.
        tokenizer: the model's.
        documents: how many; None for all.

    Returns:
        Documents and their tokens, int64 ``[length]``.

    Raises:
        DataError: for books that cannot be read.
        LengthError: where fewer documents than asked for, or none, are long enough.
    """
    from rope_eval.backends.hf.encoding import first_tokens

    ids: dict[Document, Tensor] = {}

    def count(document: Document) -> int:
        ids[document] = first_tokens(tokenizer, document.text, length)
        return len(ids[document])

    chosen = first_documents(source, length, count, documents)
    return [(document, ids[document]) for document in chosen]


def first_documents(
    source: str | Path,
    length: int,
    count: Callable[[Document], int],
    documents: int | None = None,
) -> list[Document]:
    """Return the first documents of at least `length` tokens.

    Args:
        source: as in `long_enough`.
        length: tokens.
        count: returns how many tokens a document has, or `length` where it has more.
        documents: as in `long_enough`.

    Raises:
        DataError: for books that cannot be read.
        LengthError: where fewer documents than asked for, or none, are long enough.
    """
    chosen: list[Document] = []
    seen = most = 0
    for document in read_books(source):
        tokens = count(document)
        seen, most = seen + 1, max(most, tokens)
        if tokens >= length:
            chosen.append(document)
        if len(chosen) == documents:
            break
    wanted = documents or 1
    if len(chosen) < wanted:
        raise LengthError(
            f"{wanted} document{'' if wanted == 1 else 's'} of at least {length} tokens "
            f"{'is' if wanted == 1 else 'are'} needed, and {source} has {len(chosen)} (of {seen}"
            f"{'' if chosen else f'; the longest has {most} tokens'}): ask for shorter lengths or "
            "fewer documents"
        )
    return chosen
