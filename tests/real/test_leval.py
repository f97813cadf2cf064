"""L-Eval's published answers, marked by our rules, where ROPE_EVAL_LEVAL says that they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rope_eval.protocols.rules import RULES

ANSWERS = os.environ.get("ROPE_EVAL_LEVAL")
RULE = {
    "coursera": "leval_letters",
    "gsm100": "leval_number",
    "quality": "leval_letter",
    "tpo": "leval_letter",
    "topic_retrieval_longchat": "leval_topic",
}
# of the README of OpenLMLab/LEval at cd34b05, which cuts some and rounds others
SCORES = {
    "gpt4-32k": (75.58, 96.00, 82.17, 84.38, 95.33),
    "turbo-16k-0613": (63.52, 84.00, 61.39, 78.44, 79.33),
    "Claude-100k": (60.03, 88.00, 73.76, 84.01, 70.67),
}


@pytest.mark.skipif(ANSWERS is None, reason="ROPE_EVAL_LEVAL: L-Eval's answers, a folder a model")
@pytest.mark.parametrize("model", SCORES)
def test_published_scores_come_from_published_answers(model: str) -> None:
    for (name, rule), score in zip(RULE.items(), SCORES[model], strict=True):
        (file,) = Path(ANSWERS or "", model).glob(f"{name}*.jsonl")
        items = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        read, mark = RULES[rule]
        marks = [
            mark(read(item[next(key for key in item if key.endswith("_pred"))]), item["gt"])
            for item in items
        ]
        found = 100 * sum(marks) / len(marks)
        assert found == pytest.approx(score, abs=0.01), (model, name)
