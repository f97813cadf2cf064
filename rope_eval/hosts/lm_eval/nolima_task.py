"""NoLiMa in lm-eval: a needle whose question shares no words with it, by length and depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rope_eval.data.nolima import Haystack, NolimaData, read_nolima
from rope_eval.hosts.lm_eval.haystack_task import HaystackTask, Prompts, Tokens
from rope_eval.hosts.lm_eval.metadata import text, whole


@dataclass(frozen=True, slots=True)
class _Books:
    data: NolimaData

    def prompt(self, tokens: Tokens, doc: Mapping[str, Any], *, length: int, depth: float) -> str:
        book = self.data.books[doc["book"]]
        haystack = Haystack(text=book, spans=tokens.spans(book))
        found = haystack.around(doc["needle"], length=length, depth=depth)
        template: str = doc["template"]
        return template.format(haystack=found, question=doc["question"])


class NolimaTask(HaystackTask):
    """Its documents are the needles of a set, each in every book.

    From ``--metadata``: ``lengths``, tokens of the book around a needle; ``depths``;
    ``needle_set``, a file of NoLiMa's; ``books``, how many of its five; ``max_gen_toks``;
    ``seed_of_names``; ``data_dir``, a folder instead of the hub.
    """

    OWN = (
        *("lengths", "depths", "needle_set", "books", "max_gen_toks", "seed_of_names"),
        "data_dir",
    )

    def read(
        self, given: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], Prompts, dict[str, Any]]:
        """Return the needles with names put in, by book, and the digest of NoLiMa's files."""
        folder = given.get("data_dir")
        data = read_nolima(
            text("needle_set", given["needle_set"]),
            whole("books", given["books"]),
            None if folder is None else text("data_dir", folder),
        )
        docs = []
        for book in data.books:
            for one in data.needles:
                needle, question, golds = one.drawn(f"{given['seed_of_names']}:{book}")
                docs.append(
                    {
                        "name": one.name,
                        "book": book,
                        "needle": needle,
                        "question": question,
                        "template": one.template,
                        "golds": list(golds),
                    }
                )
        return docs, _Books(data), {"data_sha256": data.sha256}
