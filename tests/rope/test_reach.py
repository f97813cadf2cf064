"""From which length on a field changes a score: what is said is what is measured."""

from __future__ import annotations

import pytest
import torch

from helpers import models
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.attention import rotary_of
from rope_eval.errors import SpecError
from rope_eval.rope import methods
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.reach import Reach, without_effect
from rope_eval.rope.rotary import Rotary

EXAMPLES = [text for method in methods.METHODS for text in method.examples]
GEOMETRY = RotaryGeometry(head_dim=16, rotary_dim=16, rope_theta=10000.0, train_length=32)


@pytest.mark.parametrize("text", EXAMPLES)
@pytest.mark.parametrize("reference", ["reference_length=20", "reference_length=20.5", ""])
def test_a_score_changes_from_the_length_that_is_said(text: str, reference: str) -> None:
    given = "pretrain_theta=10000,train_length=24"
    spec = RopeSpec.parse(",".join(part for part in (text, reference, given) if part))
    model, ids = models.tiny(), models.token_ids(300)

    def moved(length: int) -> bool:
        some = ids[:, :length]
        plain = models.log_probabilities(model, some)
        with patched(model, RopeSpec()):
            neutral = models.log_probabilities(model, some)
        with patched(model, spec):
            changed = models.log_probabilities(model, some)
        assert torch.allclose(plain, neutral, atol=1e-3)
        return not torch.equal(neutral[:, :-1], changed[:, :-1])

    with patched(model, spec):
        starts = dict(rotary_of(model).effective_from)
    if "reference_length" in starts:
        assert starts.pop("reference_length") is None  # no method of it asks for one
    assert set(starts) == {f for f in spec.to_dict() if f not in (given + reference)}
    (start,) = set(starts.values())
    assert start is not None
    assert moved(start)
    assert not moved(start - 1)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("rope_theta=10000", "rope_theta"),
        ("rotated_share=0.99", "rotated_share"),
        ("beyond_critical=clip,train_length=100000", "beyond_critical"),
        ("beyond_critical=drop,train_length=100000", "beyond_critical"),
        ("rope_theta=500,reference_length=train", "reference_length"),
    ],
)
def test_what_changes_nothing_at_all(text: str, field: str) -> None:
    spec = RopeSpec.parse(text)
    rotary = Rotary(spec, GEOMETRY)
    if field == "rotated_share":
        assert rotary.effective_from == {field: 3}  # the slowest pair stands still
    else:
        assert rotary.effective_from[field] is None
        assert field in without_effect(rotary.effective_from, 10**6)
        assert torch.equal(
            rotary.table(1.0, 64, torch.device("cpu"))[0],
            Rotary(spec.replace(**{field: _default(field)}), GEOMETRY).table(
                1.0, 64, torch.device("cpu")
            )[0],
        )


def _default(name: str) -> object:
    return next(field.default for field in methods.FIELDS if field.name == name)


def test_lines_for_people() -> None:
    starts = {"rope_theta": 2, "log_scale": 129, "dynamic_ntk": 129, "beyond_critical": None}
    assert (
        without_effect(starts, 129)
        == "beyond_critical changes nothing on this checkpoint, at any length"
    )
    assert without_effect({"rope_theta": 2}, 2) == ""
    assert without_effect({"rope_theta": None}, 2, stated={"rope_theta"}) == ""
    assert "log_scale" in without_effect({"log_scale": 9}, 2, stated={"log_scale"})
    short = (
        "log_scale and dynamic_ntk change nothing in 128 tokens, the longest text: they begin at "
    )
    assert without_effect({**starts, "beyond_critical": 2}, 128) == short + "129"


def test_a_reach_says_each_line_once_and_strictly_refuses() -> None:
    said: list[str] = []
    reach = Reach({"log_scale": 129}, say=said.append)
    for length in (100, 90, 128):
        reach.expect("loglikelihood", length)
    reach.expect("generate_until", 129)
    assert said == [
        f"log_scale changes nothing in {n} tokens, the longest loglikelihood request: "
        "it begins at 129"
        for n in (100, 128)
    ]
    assert reach.to_dict() == {
        "effective_from": {"log_scale": 129},
        "longest": {"loglikelihood": 128, "generate_until": 129},
    }
    strict = Reach({"log_scale": 129, "rope_theta": None}, strict=True, stated={"rope_theta"})
    strict.expect("loglikelihood", 129)
    for _ in range(2):  # asked again, it is refused again
        with pytest.raises(SpecError, match="changes nothing in 128 tokens, the longest generate"):
            strict.expect("generate_until", 128)
