"""Evaluators of OpenCompass runs, and the inferencer of cumulative perplexity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from datasets import Dataset
from opencompass.openicl.icl_evaluator import BaseEvaluator
from opencompass.openicl.icl_inferencer.icl_base_inferencer import BaseInferencer
from opencompass.registry import ICL_EVALUATORS
from tqdm import tqdm

from rope_eval.errors import LengthError, ScoreError
from rope_eval.hosts.opencompass.data import ITEM, ROWS, SHA256
from rope_eval.lengths import check_lengths
from rope_eval.protocols.rules import RULES
from rope_eval.scores import Sums, sums_at, total


class ItemEvaluator(BaseEvaluator):
    """OpenCompass's own evaluator of a data set, and beside its score every item's.

    Args:
        evaluator: the configuration of OpenCompass's.
    """

    def __init__(self, evaluator: dict[str, Any]):
        super().__init__()
        self.evaluator = ICL_EVALUATORS.build(evaluator)

    def score(
        self,
        predictions: list[Any],
        references: list[Any],
        origin_prompt: list[Any],
        test_set: Dataset,
    ) -> dict[str, Any]:
        """Return OpenCompass's score, and as details the mark of every item.

        Raises:
            ScoreError: where the score is not the mean of the marks.
        """
        known: dict[str, float] = {}
        marks = []
        for given in zip(predictions, references, strict=True):
            key = json.dumps(given)
            if key not in known:
                known[key] = self._percent([given[0]], [given[1]]) / 100
            marks.append(known[key])
        percent = self._percent(predictions, references)
        if abs(percent / 100 - sum(marks) / len(marks)) > 1e-6:
            raise ScoreError(
                f"the score {percent} is not the mean of its items': {sum(marks)} of {len(marks)}"
            )
        return {"accuracy": percent, **_details(predictions, marks, test_set)}

    def _percent(self, predictions: list[Any], references: list[Any]) -> float:
        given = {
            "predictions": predictions,
            "references": references,
            "origin_prompt": [""] * len(predictions),
        }
        names = signature(self.evaluator.score).parameters
        scores = self.evaluator.score(**{name: given[name] for name in names if name in given})
        numbers = [value for value in scores.values() if isinstance(value, int | float)]
        if len(numbers) != 1:
            raise ScoreError(f"{type(self.evaluator).__name__} gave {scores}: want one score")
        return float(numbers[0])


class RuleEvaluator(BaseEvaluator):
    """The evaluator of October 2023, where OpenCompass's of today accepts more answers.

    Args:
        rule: of `rope_eval.protocols.rules.RULES`.
    """

    def __init__(self, rule: str):
        super().__init__()
        self.read, self.mark = RULES[rule]

    def score(
        self, predictions: list[str], references: list[Any], test_set: Dataset
    ) -> dict[str, Any]:
        """Return the score in percent, and as details the mark of every item."""
        read = [self.read(text) for text in predictions]
        marks = [self.mark(*pair) for pair in zip(read, references, strict=True)]
        return {"accuracy": 100 * sum(marks) / len(marks), **_details(read, marks, test_set)}


def _details(
    predictions: Sequence[Any], marks: Sequence[float], test_set: Dataset
) -> dict[str, Any]:
    first = test_set[0]
    return {
        "data": {"rows": first[ROWS], "sha256": first[SHA256]},
        "details": [
            {"item": item, "predicted": str(predicted), "mark": mark}
            for item, predicted, mark in zip(test_set[ITEM], predictions, marks, strict=True)
        ],
    }


# ---- cumulative perplexity ---------------------------------------------------------------------


class CumulativeInferencer(BaseInferencer):
    """Scores whole books, each once for every length, and writes their sums and counts.

    Args:
        model: a `ScalingRope`.
        lengths: tokens seen, BOS included.
        **arguments: OpenCompass's.
    """

    def __init__(self, model: Any, lengths: Sequence[int], **arguments: Any):
        super().__init__(model=model, **arguments)
        self.lengths = check_lengths(list(lengths))

    def inference(
        self,
        retriever: Any,
        ice_template: Any = None,
        prompt_template: Any = None,
        output_json_filepath: str | None = None,
        output_json_filename: str | None = None,
    ) -> list[Any]:
        """Score the books of the retriever's test split; return and write their totals.

        A book shorter than the longest length has none.

        Raises:
            ScoreError: for a score that is not a number.
        """
        results = {}
        for i, book in enumerate(tqdm(retriever.test_ds, unit="book")):
            scores = self.model.score_document(book["text"], self.lengths)
            totals = scores and [sums_at(scores[n], n).to_dict() for n in self.lengths]
            results[str(i)] = {"origin_prompt": book["name"], "prediction": totals}
        folder = Path(output_json_filepath or self.output_json_filepath)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / (output_json_filename or self.output_json_filename)
        file.write_text(json.dumps(results, indent=1), encoding="utf-8")
        return [result["prediction"] for result in results.values()]


class CumulativeEvaluator(BaseEvaluator):
    """Pools the books' sums and counts; perplexities are never averaged.

    Args:
        lengths: as the inferencer's.
    """

    def __init__(self, lengths: Sequence[int]):
        super().__init__()
        self.lengths = list(lengths)

    def score(self, predictions: list[Any], test_set: Dataset) -> dict[str, Any]:
        """Return perplexity and accuracy at every length, and the sums they come from.

        Raises:
            LengthError: where no book is long enough.
        """
        scored = [
            (book, [Sums(**sums) for sums in totals])
            for book, totals in zip(test_set, predictions, strict=True)
            if totals
        ]
        if not scored:
            raise LengthError(
                f"none of {len(predictions)} books has {self.lengths[-1]} tokens: ask for shorter "
                "lengths"
            )
        pooled = [total(sums) for sums in zip(*(totals for _, totals in scored), strict=True)]
        pairs = list(zip(self.lengths, pooled, strict=True))
        return (
            {f"perplexity@{n}": sums.perplexity for n, sums in pairs}
            | {f"accuracy@{n}": 100 * sums.accuracy for n, sums in pairs}
            | {
                "documents": len(scored),
                "documents_too_short": len(predictions) - len(scored),
                "books": [
                    {
                        "name": book["name"],
                        "sha256": book["sha256"],
                        "sums": [sums.to_dict() for sums in totals],
                    }
                    for book, totals in scored
                ],
            }
        )
