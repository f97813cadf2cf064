"""What a model is tuned on: windows of any text, packed one document after another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.errors import LengthError
from rope_eval.tuning.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def packed_windows(
    recipe: Recipe, source: str, tokenizer: PreTrainedTokenizerBase, cache: Path
) -> Dataset:
    """Return windows of the documents' tokens, one document after another, shuffled by the seed.

    They are on the disk, not in memory. Where the text has fewer than the recipe asks for, they
    are gone through again.

    Args:
        recipe: whose windows.
        source: text.
        tokenizer: the model's; its BOS stands before each document.
        cache: folder for them.

    Returns:
        Rows of ``tokens``: ids, one more than the recipe's length.

    Raises:
        LengthError: the text is shorter than one window.
    """
    from datasets import Dataset, Features, List, Value
    from datasets.exceptions import DatasetGenerationError

    from rope_eval.backends.hf.loading import encode
    from rope_eval.data.books import read_books

    size = recipe.length + 1
    wanted = recipe.steps * recipe.batch_size

    def windows() -> Iterator[dict[str, list[int]]]:
        pending: list[int] = []
        made = 0
        for document in read_books(source, whole_pile=True):
            pending += encode(tokenizer, document.text).tolist()
            while len(pending) >= size:
                yield {"tokens": pending[:size]}
                made += 1
                del pending[:size]
                if made == wanted:
                    return
        if not made:
            raise LengthError(
                f"{source} has {len(pending)} tokens, too few for one window of {size}: give "
                "more text, or a shorter --tune-length"
            )

    try:
        rows = Dataset.from_generator(
            windows,
            features=Features({"tokens": List(Value("int32"))}),
            cache_dir=str(cache),
            fingerprint=hashlib.sha256(f"{recipe} {text_identity(source)}".encode()).hexdigest(),
        )
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None
    return rows.shuffle(seed=recipe.seed)


def text_identity(source: str) -> str:
    """Return what tells a text from another: its name, and the files' sizes and times."""
    path = Path(source)
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path] if path.is_file() else []
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{source} {facts}"
