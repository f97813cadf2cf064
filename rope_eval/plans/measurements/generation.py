"""Continuations in a plan, Appendix E of arXiv 2310.05209: a unit is a document under a setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from rope_eval.plans.cell import Cell, Kind
from rope_eval.plans.context import Context
from rope_eval.plans.document import Value
from rope_eval.plans.parts import Compute, Found, Part, Report, Whole
from rope_eval.plans.texts import Books, OfBooks, record_of
from rope_eval.plans.values import length
from rope_eval.runner.texts import Texts
from rope_eval.runner.work import check_effect

PROMPT_CHARACTERS = 400


@dataclass(frozen=True, kw_only=True)
class Generation(OfBooks):
    """What a model goes on with after a book's first tokens, beside what the book does.

    Attributes:
        length: tokens of the book that the model is given, BOS included.
        tokens: that it writes at most.
        docs: how many documents, the first that are long enough to go on for as many tokens.
    """

    keeps_cache: ClassVar[bool] = True
    kind_of_run: ClassVar[str] = "continuation"
    length: int
    tokens: int = 64
    docs: int = 1

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.length + self.tokens

    def __str__(self) -> str:
        return f"{self.tokens} tokens after {self.length} of {self.books}"

    @property
    def _texts(self) -> Books:
        return Books(source=self.books, tokens=self.longest, documents=self.docs)

    def _options(self, cell: Cell) -> dict[str, Any]:
        return {"context_tokens": self.length, "new_tokens": self.tokens}

    def _together(self, cell: Cell, whole: Whole, found: Sequence[Found]) -> Found:
        return Found(
            results={
                "effective_from": found[0].results["effective_from"],
                "samples": [
                    {"document": part.name} | one.results["sample"]
                    for part, one in zip(whole.parts, found, strict=True)
                ],
            },
            record=record_of(found),
        )

    @contextmanager
    def _opened(self, cell: Cell, context: Context, texts: Texts) -> Iterator[Compute]:
        from rope_eval.backends.hf.attention import rotary_of
        from rope_eval.backends.hf.loading import load_tokenizer
        from rope_eval.scoring.continuation import continuation

        setting, loading = cell.setting, cell.loading
        tokenizer = load_tokenizer(setting.checkpoint, trust_remote_code=loading.trust_remote_code)
        with context.model.under(setting.checkpoint, setting.rope, loading) as (model, record):
            facts = {"effective_from": rotary_of(model).effective_from}
            check_effect(facts, self.longest, cell.strict, setting.stated)

            def compute(part: Part, report: Report) -> Found:
                ids = texts.ids(part.of)
                before, after = ids[: self.length], ids[self.length :]
                written = continuation(model, before, self.tokens)
                sample: dict[str, Any] = {
                    "context_tokens": self.length,
                    "prompt": _text(tokenizer, before)[-PROMPT_CHARACTERS:],
                    "reference": _text(tokenizer, after),
                    "text": _text(tokenizer, written),
                }
                return Found(results=facts | {"sample": sample}, record=record)

            yield compute


def _text(tokenizer: Any, ids: Any) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _read(value: Value) -> list[Generation]:
    given = value.items(("books", "length", "tokens", "docs"), needed={"length": "4k"})
    return [
        Generation(
            books=given["books"].text() if "books" in given else "builtin",
            length=length(given["length"]),
            **{name: given[name].count() for name in ("tokens", "docs") if name in given},
        )
    ]


KIND = Kind(word="generation", read=_read)
