"""lm-eval tasks of the perplexity of whole books: books in, a curve out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from rope_eval.data.books import read_books
from rope_eval.errors import DataError, SpecError, UnsupportedModelError
from rope_eval.hosts.lm_eval.local_task import LocalTask, needed
from rope_eval.hosts.lm_eval.metadata import check_names, text, whole
from rope_eval.lengths import check_lengths
from rope_eval.protocols.perplexity import CUMULATIVE, FIELDS, PerplexityProtocol
from rope_eval.scores import Sums, total


class CumulativeTask(LocalTask):
    """Perplexity and accuracy of whole documents at every length, cumulative or otherwise.

    Its YAML gives the defaults in ``metadata``: ``books`` (a source of `rope_eval.data.books`),
    ``lengths`` (tokens seen, BOS included) and ``read_docs`` (how many documents to read, or null;
    lm-eval has its documents before its model, so that nothing here knows which are long enough);
    ``--metadata lengths=[1024,2048]`` overrides them. The tasks of another protocol have
    ``perplexity_protocol``, and take its numbers: ``stride``, ``mean``, ``last``, ``tokens``.
    """

    VERSION = 1
    OUTPUT_TYPE = "token_loglikelihoods"
    OWN = ("books", "lengths", "read_docs", "perplexity_protocol", *FIELDS)

    def __init__(self, config: Mapping[str, Any]):
        metadata = config.get("metadata", {})
        name = config["task"]
        if "docs" in metadata:
            raise SpecError(
                f"{config['task']} cannot choose the first docs={metadata['docs']} documents that "
                "are long enough, as `rope-eval ppl --docs` does: give read_docs=N, the number of "
                "documents to read, long enough or not"
            )
        check_names(name, "cumulative tasks", metadata, self.OWN)
        self.lengths = check_lengths(_as_list(needed(metadata, "lengths", name)))
        self.protocol = PerplexityProtocol.of(metadata)
        self.protocol.longest(self.lengths)
        if self.protocol != CUMULATIVE and name.endswith("_cumulative"):
            raise SpecError(
                f"{name} is cumulative, as its name says: for {self.protocol.name} run "
                f"perplexity_{self.protocol.name} with --metadata books=SRC"
            )
        if metadata.get("books") is None:
            raise DataError(
                f"{config['task']} needs your own copy of its books: "
                f"{config.get('description', '')} Give it as --metadata books=PATH"
            )
        books = text("books", metadata["books"])
        if (limit := metadata.get("read_docs")) is not None:
            limit = whole("read_docs", limit)
        self._books = list(read_books(books, limit=limit))
        super().__init__(
            task=config["task"],
            description=config.get("description", ""),
            num_fewshot=0,
            output_type=self.OUTPUT_TYPE,
            metadata=dict(metadata),
        )

    def test_docs(self) -> list[dict[str, Any]]:
        """Return the books' names, digests and places."""
        return [
            {"name": book.name, "sha256": book.digest, "index": i}
            for i, book in enumerate(self._books)
        ]

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        """Return the whole book."""
        return self._books[doc["index"]].text

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        """Return nothing: every token is a target."""
        return ""

    def fewshot_context(self, doc: Mapping[str, Any], *_: Any, **__: Any) -> str:
        """Return the whole book: there are no examples to put before it."""
        return self.doc_to_text(doc)

    def construct_requests(self, doc: Mapping[str, Any], ctx: str, **kwargs: Any) -> Instance:
        """Ask for the scores of the book's tokens, for all lengths at once."""
        return Instance(
            request_type=self.OUTPUT_TYPE,
            doc=dict(doc),
            arguments=(ctx, self.lengths, *self._how),
            idx=0,
            metadata=kwargs["metadata"],
        )

    @property
    def _how(self) -> tuple[dict[str, Any], ...]:
        return () if self.protocol == CUMULATIVE else (self.protocol.to_dict(),)

    def process_results(
        self, doc: Mapping[str, Any], results: Sequence[Any]
    ) -> dict[str, Sums | int]:
        """Total one book's scores; a book shorter than the longest length counts as left out."""
        scores = results[0]
        if scores is None:
            return {"documents": 0, "documents_too_short": 1}
        sums = {length: self.protocol.sums(scores[length], length) for length in self.lengths}
        return (
            {f"perplexity@{length}": s for length, s in sums.items()}
            | {f"accuracy@{length}": s for length, s in sums.items()}
            | {"documents": 1, "documents_too_short": 0}
            | {"tokens": sums[self.lengths[-1]].tokens}
        )

    def aggregation(self) -> dict[str, Callable[[Sequence[Any]], float]]:
        """Return how each number comes from the books' totals."""
        return (
            {f"perplexity@{n}": _pooled_perplexity for n in self.lengths}
            | {f"accuracy@{n}": _pooled_accuracy for n in self.lengths}
            | {"documents": sum, "documents_too_short": sum, "tokens": sum}
        )

    def higher_is_better(self) -> dict[str, bool]:
        """Return which way is up."""
        return {f"perplexity@{n}": False for n in self.lengths} | {
            f"accuracy@{n}": True for n in self.lengths
        }


def _pooled_perplexity(sums: Sequence[Sums]) -> float:
    return total(sums).perplexity


def _pooled_accuracy(sums: Sequence[Sums]) -> float:
    return total(sums).accuracy


def _as_list(lengths: Any) -> list[Any]:
    return list(lengths) if isinstance(lengths, (list, tuple)) else [lengths]


def _other_model(self: LM, requests: Sequence[Instance]) -> NoReturn:
    raise UnsupportedModelError(
        f"{requests[0].task_name} asks for the scores of every token of whole documents, which "
        f"{type(self).__name__} does not give: run it with --model scaling_rope (its neutral "
        "setting is the stock model)"
    )


LM.token_loglikelihoods = getattr(LM, "token_loglikelihoods", _other_model)
