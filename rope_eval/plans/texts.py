"""The texts of a cell: the first documents that are long enough, each one a part of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rope_eval.plans.cell import Cell
from rope_eval.plans.parts import Part, Whole
from rope_eval.results.store import Store
from rope_eval.runner import CumulativeRequest, Texts
from rope_eval.safe_text import masked


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """Where the texts of a measurement are from.

    Attributes:
        source: of `rope_eval.data.books.read_books`.
        tokens: of each, BOS included.
        documents: how many, the first that are long enough; None for all.
    """

    source: str
    tokens: int
    documents: int | None

    def texts(self, cell: Cell, store: Store) -> Texts:
        """Return them for a cell's model."""
        request = CumulativeRequest(
            model=cell.setting.checkpoint,
            rope=cell.setting.rope,
            books=self.source,
            lengths=(self.tokens,),
            documents=self.documents,
            loading=cell.loading,
        )
        return Texts(request, store)

    def whole(self, texts: Texts, kind: str, options: Mapping[str, Any]) -> Whole:
        """Return the run of a kind on them, a document a part.

        Args:
            texts: of `texts`.
            kind: of the run.
            options: what else determines it.
        """
        documents = texts.documents()
        setting = texts.setting()
        # what a model is called changes nothing, and so two names of one model share their parts
        of_part = {name: value for name, value in setting.items() if name != "model"}
        parts = tuple(
            Part(
                name=document.name,
                asked={**of_part, **options, "kind": f"{kind}_part", "document": document.digest},
                tokens=self.tokens,
                of=document,
            )
            for document in {one.digest: one for one in documents}.values()
        )
        named = [{"name": one.name, "sha256": one.digest} for one in documents]
        asked = {**setting, **options, "books": masked(self.source), "documents": named}
        return Whole(asked=asked | {"kind": kind}, parts=parts)
