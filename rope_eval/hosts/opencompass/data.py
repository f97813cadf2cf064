"""The data sets of OpenCompass runs: the same questions, in the same order, as under lm-eval."""

from __future__ import annotations

import hashlib
import json

from datasets import Dataset, DatasetDict
from opencompass.datasets.base import BaseDataset

from rope_eval.data.books import read_books
from rope_eval.errors import DataError
from rope_eval.protocols.documents import Doc
from rope_eval.protocols.tasks import Task

ITEM, ROWS, SHA256 = "rope_eval_item", "rope_eval_rows", "rope_eval_sha256"
"""Columns beside a data set's own: an item's name, the number of items, the digest of the rows."""


class PaperDataset(BaseDataset):
    """A column of Tables 3 to 5, or a part of one, as ``test``; MMLU's examples as ``dev``."""

    @staticmethod
    def load(
        entry: str, output_column: str, subject: str | None = None, data_dir: str | None = None
    ) -> DatasetDict:
        """Return the questions.

        Args:
            entry: of protocol ``paper`` in prompts.yaml.
            output_column: what the answer is called.
            subject: of MMLU.
            data_dir: a folder to read instead of the hub.

        Raises:
            DataError: where they cannot be read, or are not as expected.
        """
        task = Task(protocol="paper", entry=entry, subject=subject)
        asked = task.questions(data_dir)
        test = [
            {key: value for key, value in doc.items() if key != "gold"}
            | {output_column: doc["gold"]}
            | {ITEM: item_name(i, doc), ROWS: len(asked.docs), SHA256: asked.sha256}
            for i, doc in enumerate(asked.docs)
        ]
        splits = {"test": Dataset.from_list(test)}
        if shots := task.shots(data_dir):
            splits["dev"] = Dataset.from_list(shots)
        return DatasetDict(splits)


class BooksDataset(BaseDataset):
    """Whole books as ``test``."""

    @staticmethod
    def load(books: str, read_docs: int | None = None) -> DatasetDict:
        """Return the books with the columns ``name``, ``sha256`` and ``text``.

        Args:
            books: a source of `rope_eval.data.books.read_books`.
            read_docs: how many to read, long enough or not; None for all.

        Raises:
            DataError: for books that cannot be read, or none.
        """
        rows = [
            {"name": book.name, "sha256": book.digest, "text": book.text}
            for book in read_books(books, limit=read_docs)
        ]
        if not rows:
            raise DataError(f"{books}: no book in it")
        return DatasetDict({"test": Dataset.from_list(rows)})


def item_name(index: int, doc: Doc) -> str:
    """Return what lm-eval's samples call a question, so that runs of both hosts can be paired."""
    text = json.dumps(doc, indent=2, ensure_ascii=False)
    return f"{index}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
