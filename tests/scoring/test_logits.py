"""One rule from logits to scores, against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rope_eval.errors import ScoreError
from rope_eval.scoring import logits
from rope_eval.scoring.logits import score_hidden, score_logits

V = 11


def given(rows: int) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    head = nn.Linear(8, V).requires_grad_(False)
    return head, torch.randn(rows, 8), torch.arange(rows) % V


def by_hand(values: Tensor, targets: Tensor) -> Tensor:
    return -values.double().log_softmax(-1).gather(-1, targets[..., None])[..., 0]


@pytest.mark.parametrize("at_once", [1, 3 * V, 7 * V + 2, 1 << 23])
def test_parts_of_hidden_states(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits, "LOGITS_AT_ONCE", at_once)
    head, hidden, targets = given(20)
    held: list[int] = []

    def counted(some: Tensor) -> Tensor:
        held.append(len(some))
        return head(some)  # type: ignore[no-any-return]

    nll, hit = score_hidden(counted, hidden, targets, vocabulary=V)
    assert nll.dtype == torch.float32 and hit.dtype == torch.bool
    torch.testing.assert_close(nll.double(), by_hand(head(hidden), targets), rtol=0, atol=1e-6)
    assert torch.equal(hit, head(hidden).argmax(-1) == targets)
    assert 0 < hit.sum() < 20
    assert max(held) == min(20, max(1, at_once // V)) and sum(held) == 20


def test_no_target_has_no_score() -> None:
    head, hidden, targets = given(0)
    assert [len(x) for x in score_hidden(head, hidden, targets, vocabulary=V)] == [0, 0]


def test_logits_of_a_batch_are_scored_in_single_precision_at_least() -> None:
    values, targets = torch.randn(3, 5, V).bfloat16(), torch.arange(15).reshape(3, 5) % V
    nll, hit = score_logits(values, targets)
    torch.testing.assert_close(nll.double(), by_hand(values, targets), rtol=0, atol=1e-6)
    assert torch.equal(hit, values.argmax(-1) == targets)


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "is nan"), (float("inf"), "is (nan|inf)")]
)
def test_a_score_that_is_no_number_is_named(value: float, said: str) -> None:
    head, hidden, targets = given(9)
    hidden[4] = value
    with pytest.raises(ScoreError, match=f"token 17 {said}.*1 of 9 scores are not numbers"):
        score_hidden(head, hidden, targets, vocabulary=V, first=13)
    values = head(hidden).reshape(3, 3, V)
    with pytest.raises(ScoreError, match=f"token 2 {said}.*1 of 9"):
        score_logits(values, targets.reshape(3, 3))
