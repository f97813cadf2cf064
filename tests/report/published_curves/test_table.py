"""Published curves against the worked reading of them, and made-up ones against their making."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from rope_eval.errors import DataError, RopeEvalError, SpecError
from rope_eval.paths import asset
from rope_eval.report.published_curves.file import PublishedCurve, read_curves
from rope_eval.report.published_curves.reading import read_curve, window_losses
from rope_eval.report.published_curves.table import COLUMNS, published_curves_table
from rope_eval.report.published_curves.trained import known

PUBLISHED = asset("results") / "published"
LONG = PUBLISHED / "proof-pile-128k.csv"


def cells(file: Path, name: str, **given: object) -> dict[str, object]:
    table = published_curves_table(file, rows=(name,), given=given)
    ((_, *found),) = table.rows
    return dict(zip(COLUMNS, found, strict=True))


def test_code_llama_is_lost_at_0_89_to_0_97_of_its_bound() -> None:
    seven, thirteen = (cells(LONG, f"*CodeLlama-{size}b-hf") for size in (7, 13))
    assert seven["lost window"] == "110592 to 118784"
    assert thirteen["lost window"] == "106496 to 114688"
    assert seven["curve turns"] == thirteen["curve turns"] == 124928
    assert seven["bound"] == thirteen["bound"] == 129027
    assert (seven["lost / bound"], thirteen["lost / bound"]) == (Decimal("0.92"), Decimal("0.89"))
    assert seven["turn / bound"] == thirteen["turn / bound"] == Decimal("0.97")
    assert seven["B(m) < 0 from"] == 27115


def test_mistral_lite_is_lost_where_the_model_is_that_it_was_tuned_from() -> None:
    lite, base = (cells(LONG, name) for name in ("amazon/MistralLite", "mistralai/*"))
    assert lite["lost window"] == base["lost window"] == "4096 to 12288"
    assert (lite["bound"], lite["lost / bound"]) == (305971, Decimal("0.04"))
    assert (base["bound"], base["lost / bound"]) == (8192, Decimal("1.50"))


def test_scaled_models_have_no_bound_and_say_so() -> None:
    table = published_curves_table(LONG, rows=("NousResearch/Yarn-Llama-2-7b-*",))
    assert "no bound, as YaRN 16 scales its frequencies" in table.caption
    assert all(row[1 + COLUMNS.index("bound")] is None for row in table.rows)
    assert [row[1 + COLUMNS.index("lost window")] for row in table.rows] == [
        "63488 to 71680",
        "none up to 131072",
    ]


def test_llama2_70b_holds_its_own_length() -> None:
    found = cells(PUBLISHED / "proof-pile-32k.csv", "meta-llama/*")
    assert (found["bound"], found["lost window"]) == (4096, "3072 to 5120")


def test_every_published_model_has_a_source() -> None:
    names = {curve.name for file in PUBLISHED.glob("proof-*.csv") for curve in read_curves(file)}
    facts = known()
    assert set(facts) <= names
    assert all(trained.source for trained in facts.values())


def curve(losses: Sequence[float], step: int = 1000) -> PublishedCurve:
    """Return the cumulative curve of tokens that cost so much in each step."""
    nats, lengths, values = 0.0, [], []
    for number, loss in enumerate(losses, 1):
        nats += loss * (step if number > 1 else step - 1)
        lengths.append(number * step)
        values.append(math.exp(nats / (number * step - 1)))
    return PublishedCurve(name="made", lengths=tuple(lengths), perplexities=tuple(values))


def test_the_loss_of_each_step_is_found_again() -> None:
    losses = [2.0, 1.5, 1.4, 3.0, 1.0]
    assert window_losses(curve(losses), 1) == pytest.approx(losses[1:])
    assert window_losses(curve(losses), 2) == pytest.approx([1.45, 2.2, 2.0])


@pytest.mark.parametrize(
    ("losses", "margin", "steps", "lost"),
    [
        ([2, 1, 1, 1, 1.31], 0.3, 1, (4000, 5000)),
        ([2, 1, 1, 1, 1.29], 0.3, 1, None),
        ([2, 1, 1, 1, 1.29], 0.2, 1, (4000, 5000)),
        ([2, 1, 1, 1, 1.5, 1.5], 0.3, 2, (4000, 6000)),
        ([2, 1.6, 1.2, 1.4, 1.6], 0.3, 1, (4000, 5000)),  # above the best, not above the last
    ],
)
def test_the_first_window_above_the_best_is_lost(
    losses: list[float], margin: float, steps: int, lost: tuple[int, int] | None
) -> None:
    assert read_curve(curve(losses), margin=margin, steps=steps).lost == lost


def test_an_unknown_model_needs_to_be_told_of(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("model,1k,2k,3k,4k,5k,6k\nmine,5,4.5,4,3.9,3.8,3.7\n")
    table = published_curves_table(file)
    assert "give --head-dim … --pretrain-theta … --train-length …: mine" in table.caption
    found = cells(file, "mine", head_dim=128, pretrain_theta=1e4, train_length=4096, rope_theta=4e4)
    assert (found["bound"], found["lost window"]) == (12762, "none up to 6144")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,1k,2k\n", "no curve"),
        ("model,2k,1k\nm,1,2\n", "must increase"),
        ("model,1k,x\nm,1,2\n", "first line must be lengths"),
        ("model,1k,2k\nm,1,two\n", "row 2: a perplexity is a number above 0, got 'two' at 2048"),
        ("model,1k,2k\nm,1,-2\n", "above 0"),
        ("model,1k,2k\nm,1,2,3\n", "3 perplexities for 2 lengths"),
        ("model,1k,2k\n,1,2\n", "must name the model"),
        ("model,1k,2k\nm,1,2\nm,1,2\n", "stands twice"),
        ("model,1k,2k\nm,1,2\n", "6 make the two windows"),
    ],
)
def test_what_is_no_table_of_curves_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "curves.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        published_curves_table(file)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(SpecError, match="CodeLlama"):
        published_curves_table(LONG, rows=("NousResearch/CodeLama-7b-hf",))
    with pytest.raises(RopeEvalError):
        published_curves_table(LONG / "nothing")
