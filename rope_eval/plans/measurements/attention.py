"""Attention scores by relative position in a plan: a unit is a document under a setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rope_eval.plans.cell import Cell, Kind
from rope_eval.plans.context import Context
from rope_eval.plans.document import Value
from rope_eval.plans.parts import Compute, Found, Part, Report, Whole
from rope_eval.plans.texts import Books, OfBooks, record_of
from rope_eval.plans.values import length
from rope_eval.runner.texts import Texts
from rope_eval.runner.work import check_effect
from rope_eval.scoring.attention_facts import pooled, profile_of, setting_facts
from rope_eval.scoring.attention_profile import AttentionProfile, check_bins, of_documents

ARRAYS = ("bin_edges", "counts", "sums", "squares")


@dataclass(frozen=True, kw_only=True)
class Attention(OfBooks):
    """Mean attention scores before and beyond the critical dimension, as `rope-eval attention`.

    Attributes:
        length: tokens of each document.
        docs: how many documents, the first that are long enough.
        bins: of distance.
        spacing: of the bins.
    """

    kind_of_run: ClassVar[str] = "attention"
    length: int
    docs: int = 1
    bins: int = 32
    spacing: Literal["log", "linear"] = "log"

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.length

    def __str__(self) -> str:
        return f"attention in {self.books} at {self.length}"

    @property
    def _texts(self) -> Books:
        return Books(source=self.books, tokens=self.length, documents=self.docs)

    def _options(self, cell: Cell) -> dict[str, Any]:
        return {"length": self.length, "bins": self.bins, "spacing": self.spacing}

    def _together(self, cell: Cell, whole: Whole, found: Sequence[Found]) -> Found:
        profiles = [
            AttentionProfile(**{name: one.arrays[name] for name in ARRAYS}) for one in found
        ]
        return Found(
            results=found[0].results
            | {
                "model": whole.asked["model"],
                "rope": cell.setting.rope.to_dict(),
                "setting": str(cell.setting.rope),
                "books": whole.asked["books"],
                "documents": [part.name for part in whole.parts],
            }
            | pooled(profiles),
            arrays=of_documents(profiles),
            record=record_of(found),
        )

    @contextmanager
    def _opened(self, cell: Cell, context: Context, texts: Texts) -> Iterator[Compute]:
        from rope_eval.backends.hf.attention import rotary_of

        setting = cell.setting
        with context.model.under(setting.checkpoint, setting.rope, cell.loading) as (model, record):
            facts = setting_facts(rotary_of(model), self.length)
            check_effect(facts, self.length, cell.strict, cell.setting.stated)

            def compute(part: Part, report: Report) -> Found:
                profile = profile_of(
                    model,
                    texts.ids(part.of),
                    bins=self.bins,
                    spacing=self.spacing,
                    progress=report,
                )
                arrays: dict[str, Any] = {name: getattr(profile, name) for name in ARRAYS}
                return Found(results=facts, arrays=arrays, record=record)

            yield compute


def _read(value: Value) -> list[Attention]:
    given = value.items(("books", "length", "docs", "bins", "spacing"), needed={"length": "16k"})
    options: dict[str, Any] = {
        name: given[name].count() for name in ("docs", "bins") if name in given
    }
    if "spacing" in given:
        options["spacing"] = given["spacing"].one_of(("log", "linear"))
    if "bins" in given:
        given["bins"].checked(check_bins)
    return [
        Attention(
            books=given["books"].text() if "books" in given else "builtin",
            length=length(given["length"]),
            **options,
        )
    ]


KIND = Kind(word="attention", read=_read)
