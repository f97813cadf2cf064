"""Retrieval by distance: each sample at one distance, and the numbers of the bins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from rope_eval.data.distances import Distances
from rope_eval.data.probes import PASSKEY
from rope_eval.errors import RopeEvalError, SpecError

ROOT = Path(__file__).parents[3]
TAKEN = {"distances": [200, 263], "bins": 8, "samples": 32}
DISTANCES = Distances(shortest=200, longest=263, samples=32, bins=8, seed=0)
LOST = range(216, 232)
"""Distances at which `Forgetful` gives another number: two bins of eight."""


class Forgetful(LM):
    """Reads the pass key that stands first, but at some distances; a character is a token."""

    max_length = 300
    tokenizer: Any = object()

    def tok_encode(self, text: str) -> list[int]:
        return [0, *map(ord, text)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [self._answer(request.args[0]) for request in requests]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        found = []
        for request in requests:
            context, answer = request.args
            found.append((-float(len(context)), self._answer(context) == answer))
        return found

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise AssertionError("a probe asks for no rolling log-likelihoods")

    def _answer(self, context: str) -> str:
        opening, _, rest = context.partition(" is ")
        assert opening.startswith("The pass key of ")  # the needle stands first
        value = rest[: PASSKEY.value_length]
        distance = len(self.tok_encode(context)) + 1 + len(value)
        return f" {'0' * len(value) if distance in LOST else value}"


def evaluate(**metadata: Any) -> dict[str, Any]:
    manager = TaskManager(
        include_path=str(ROOT / "tasks"), include_defaults=False, metadata=metadata
    )
    found: dict[str, Any] = simple_evaluate(
        Forgetful(), tasks=["retrieval_distances"], task_manager=manager, bootstrap_iters=0
    )
    return found


def test_a_number_is_of_the_samples_whose_distance_lies_in_its_bin() -> None:
    found = evaluate(**TAKEN)
    scores = found["results"]["retrieval_distances"]
    docs = [sample["doc"] for sample in found["samples"]["retrieval_distances"]]
    assert [doc["distance"] for doc in docs] == list(DISTANCES.drawn)
    asked = len(PASSKEY.answer.format(value="0" * PASSKEY.value_length))
    for start, end in zip(DISTANCES.starts(), DISTANCES.ends, strict=True):
        accuracy = 0.0 if start in LOST else 1.0
        assert scores[f"accuracy@{end},none"] == scores[f"greedy@{end},none"] == accuracy
        some = [n for n in DISTANCES.drawn if start <= n <= end]
        nats = sum(n - 1 - asked for n in some) / (asked * len(some))
        assert scores[f"nll@{end},none"] == pytest.approx(nats)
    assert scores["accuracy,none"] == 0.75
    assert sum(name.startswith("accuracy@") for name in scores if "stderr" not in name) == 8


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"distances": 300}, SpecError, r"must be \[shortest, longest\] in tokens, got 300"),
        ({"distances": [263, 200]}, SpecError, "a greater longest one"),
        ({"bins": 100}, SpecError, "bins must be from 1 to 32"),
        ({"distances": [200, 400]}, RopeEvalError, r"give --model_args max_length=39\d"),
        ({"bin": 8}, SpecError, "[Dd]id you mean 'bins'"),
    ],
)
def test_mistakes(metadata: dict[str, Any], error: type[RopeEvalError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        evaluate(**(TAKEN | metadata))
    assert raised.value.exit_code == 2
