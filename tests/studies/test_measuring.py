"""What the laboratory measures: its text, its measurements, and `rope-eval lab measure`."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_eval import score_tokens
from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.hf.patch import patched
from rope_eval.cli import main
from rope_eval.data.probes import ProbePlan
from rope_eval.errors import LengthError
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.attention_profile import bin_edges
from rope_eval.scoring.attention_scores import attention_by_distance
from studies.scaling_laws.measurements import SETS, Kind, Measurement, measurements, set_numbers
from studies.scaling_laws.measuring.evaluation import EvaluationText, evaluation_text
from studies.scaling_laws.measuring.measurer import Measurer
from studies.scaling_laws.measuring.probe import LAB, held_out_text
from studies.scaling_laws.measuring.protocol import PROTOCOLS, QUICK, Protocol
from studies.scaling_laws.recipes.checkpoints import recipe_of
from studies.scaling_laws.recipes.grids import GRIDS
from studies.scaling_laws.recipes.model import BOUNDARY_ID, build_tokenizer
from studies.scaling_laws.recipes.text import training_text

SHIPPED = Path(__file__).parents[2] / "model_configs" / "lab"
SMALL = Protocol(
    shortest=32,
    tokens=256,
    pieces=3,
    samples=4,
    attention_tokens=128,
    attention_pieces=2,
)


@pytest.fixture(scope="module")
def text() -> EvaluationText:
    return evaluation_text(training_text().held_out, pieces=SMALL.pieces, tokens=SMALL.tokens)


@pytest.fixture
def measurer(text: EvaluationText, tmp_path: Path) -> Measurer:
    return Measurer("lab", SHIPPED, text, held_out_text(), Store(tmp_path / "store"), SMALL)


def _measurement(kind: Kind, name: str, method: str = "as trained") -> Measurement:
    recipe = recipe_of(SHIPPED / name)
    grid = replace(GRIDS["lab"], recipes=(recipe,))
    return next(m for m in measurements(grid) if (m.kind, m.method) == (kind, method))


# --- the text


def test_pieces_are_held_out_disjoint_and_spread_evenly() -> None:
    held_out = training_text().held_out
    text = evaluation_text(held_out, pieces=48, tokens=4096)
    whole = b"".join(path.read_bytes() for path in held_out)
    trained = training_text().tokens.to(torch.uint8).numpy().tobytes()
    places = []
    for piece in text.pieces:
        assert piece[0] == BOUNDARY_ID
        assert piece.shape == (4096,)
        content = bytes(piece[1:].tolist())
        places.append(whole.index(content))
        assert content[2000:2400] not in trained
    gaps = np.diff(places)
    assert (gaps >= 4095).all()
    assert gaps.max() - gaps.min() <= 4095
    assert places[0] == 0 and places[-1] > len(whole) - 3 * 4 * 4095
    other = evaluation_text(held_out, pieces=48, tokens=2048)
    assert other.sha256 != text.sha256


def test_too_little_text_is_an_error() -> None:
    with pytest.raises(LengthError, match="have text for"):
        evaluation_text(training_text().held_out[:1], pieces=1000, tokens=4096)


def test_every_protocol_has_whole_sets_and_lengths_by_eighths() -> None:
    for protocol in (*PROTOCOLS.values(), *QUICK.values()):
        assert protocol.pieces % SETS == protocol.samples % SETS == 0
        assert protocol.lengths[0] == protocol.shortest
        assert protocol.lengths[-1] == protocol.tokens
        assert set(protocol.probe_lengths) < set(protocol.lengths)
        assert protocol.attention_tokens <= protocol.tokens
    lengths = PROTOCOLS["lab"].lengths
    assert [128 * 2**k in lengths for k in range(6)] == [True] * 6
    assert len(lengths) == 57


@pytest.mark.parametrize("pieces", [48, 54, 96])
def test_attention_is_of_as_many_pieces_of_each_set_from_all_over_the_text(pieces: int) -> None:
    chosen = replace(PROTOCOLS["lab"], pieces=pieces).attention_indices
    assert np.bincount(set_numbers(pieces)[list(chosen)]).tolist() == [2, 2, 2]
    assert chosen[0] == 0 and chosen[-1] >= 0.8 * pieces
    assert len({after - before for before, after in pairwise(chosen)}) == 1


def test_a_protocol_has_pieces_for_attention() -> None:
    with pytest.raises(AssertionError, match="too few pieces"):
        replace(PROTOCOLS["lab"], pieces=18)


# --- what is asked


def test_every_checkpoint_is_asked_as_it_was_trained() -> None:
    grid = GRIDS["lab"]
    asked = list(measurements(grid))
    assert len({(m.kind, m.recipe.name, m.method) for m in asked}) == len(asked)
    assert all(
        m.method == "as trained"
        for m in measurements(grid, methods=False)
        if m.kind == Kind.RETRIEVAL
    )
    for recipe in grid.recipes:
        assert {"ntk", "log", "ntk per_sequence"} < {m.method for m in asked if m.recipe == recipe}
        own = [m for m in asked if m.recipe == recipe and m.method == "as trained"]
        assert {m.kind for m in own} >= {Kind.CURVE, Kind.WINDOW, Kind.RETRIEVAL}
        assert all(m.rope == recipe.rope for m in own)


def test_wrong_means_the_training_length_and_is_asked_where_it_differs() -> None:
    asked = {(m.recipe.name, m.method): m.rope for m in measurements(GRIDS["lab"])}
    right, wrong = asked["base-1e5", "ntk+log"], asked["base-1e5", "ntk+log (wrong)"]
    assert right.reference_length == "extra"
    assert wrong == replace(right, reference_length="train")
    assert (right.dynamic_ntk, right.log_scale, right.rope_theta) == ("per_query", True, 1e5)
    for name in ("base-20", "base-1e4", "pretrained"):
        assert (name, "ntk") in asked
        assert (name, "ntk (wrong)") not in asked
    assert asked["base-1e4-drop", "log"] == RopeSpec(
        rope_theta=1e4, train_length=128, tune_length=128, beyond_critical="drop", log_scale=True
    )
    assert asked["base-1e6", "clip"].beyond_critical == "clip"
    assert not {("base-20", "clip"), ("base-3e6-512", "clip")} & set(asked)


# --- the measurements


@pytest.mark.parametrize("name", ["base-20", "base-1e5"])
def test_a_curve_is_what_transformers_says(
    measurer: Measurer, text: EvaluationText, name: str
) -> None:
    run = measurer.measure(_measurement(Kind.CURVE, name))
    arrays = measurer.store.arrays(run.key)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED / name)
    ids = torch.stack(text.pieces)
    with torch.no_grad():
        logits = model(input_ids=ids[:, :-1]).logits
    nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    hits = logits.argmax(-1) == ids[:, 1:]
    lengths = run.request["lengths"]
    assert arrays["nll"].shape == (3, len(lengths)) == (3, 25)
    for k, length in enumerate(lengths):
        np.testing.assert_allclose(arrays["nll"][:, k], nll[:, : length - 1].sum(1), rtol=1e-4)
        assert (arrays["hits"][:, k] == hits[:, : length - 1].sum(1).numpy()).all()
    assert run.request["text"]["sha256"] == text.sha256
    assert run.results["critical_dimension"] == 22


def test_windows_and_curves_are_of_the_same_tokens(measurer: Measurer) -> None:
    curve, window = (
        measurer.measure(_measurement(kind, "base-1e5")) for kind in (Kind.CURVE, Kind.WINDOW)
    )
    assert curve.request["lengths"] == window.request["lengths"]
    assert curve.request["text"] == window.request["text"]
    one, other = (measurer.store.arrays(run.key)["nll"] for run in (curve, window))
    np.testing.assert_allclose(one[:, :17], other[:, :17], rtol=1e-4)  # up to 128 tokens
    assert one.shape == other.shape
    assert not np.allclose(one[:, -1], other[:, -1], rtol=1e-3)


def test_a_method_is_applied_and_each_length_of_per_sequence_is_a_pass(
    measurer: Measurer, text: EvaluationText
) -> None:
    measurement = _measurement(Kind.CURVE, "base-1e4", "ntk per_sequence")
    arrays = measurer.store.arrays(measurer.measure(measurement).key)
    plain = measurer.measure(_measurement(Kind.CURVE, "base-1e4"))
    model = load_model(str(SHIPPED / "base-1e4"))
    with patched(model, measurement.rope):
        for k in (16, 20, 24):  # 128, 181 and 256 tokens: the last two in the same octave
            length = plain.request["lengths"][k]
            alone = score_tokens(model, text.pieces[1][:length]).nll.sum()
            assert arrays["nll"][1, k] == pytest.approx(alone, rel=1e-5)
    before = measurer.store.arrays(plain.key)["nll"]
    np.testing.assert_allclose(arrays["nll"][:, :17], before[:, :17], rtol=1e-5)
    assert (arrays["nll"][:, -1] < before[:, -1] - 5).all()  # nats a document: NTK helps here


def test_needles_are_marked_as_the_scorer_marks_them(measurer: Measurer) -> None:
    run = measurer.measure(_measurement(Kind.RETRIEVAL, "base-1e5"))
    arrays = measurer.store.arrays(run.key)
    lengths, depths = run.request["lengths"], run.request["depths"]
    assert arrays["right"].shape == (4, len(lengths), len(depths))
    plan = ProbePlan(
        form=LAB,
        text=held_out_text(),
        lengths=tuple(lengths),
        depths=tuple(depths),
        samples=4,
        seed=0,
    )
    tokenizer = build_tokenizer()
    model = load_model(str(SHIPPED / "base-1e5"))
    with patched(model, _measurement(Kind.RETRIEVAL, "base-1e5").rope):
        for probe in plan.probes(lambda text: tokenizer(text)["input_ids"]):
            scores = score_tokens(model, torch.tensor(probe.tokens))
            place = probe.sample, lengths.index(probe.length), depths.index(probe.depth)
            assert probe.value_tokens == 2
            assert arrays["right"][place] == scores.hit[-2:].all()
            assert arrays["nll"][place] == pytest.approx(scores.nll[-2:].sum(), abs=2e-4)
    within = arrays["right"][:, [length <= 128 for length in lengths]]
    assert within.mean() > 0.7  # it was trained on such lines


def test_attention_is_pooled_over_layers_and_heads(
    measurer: Measurer, text: EvaluationText
) -> None:
    measurement = _measurement(Kind.ATTENTION, "base-1e5", "ntk")
    run = measurer.measure(measurement)
    arrays = measurer.store.arrays(run.key)
    edges = run.request["bin_edges"]
    model = load_model(str(SHIPPED / "base-1e5"))
    with patched(model, measurement.rope):
        profile = attention_by_distance(
            model, text.pieces[0][:128], first_pair_beyond=11, bin_edges=bin_edges(127, 48)
        )
    assert edges == list(bin_edges(127, 48))
    assert arrays["sums"].shape == (2, 2, len(edges) - 1)
    np.testing.assert_allclose(arrays["sums"][0] / arrays["counts"], profile.mean(), rtol=1e-6)


def test_what_is_in_the_store_is_not_measured_again(
    measurer: Measurer, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurement = _measurement(Kind.CURVE, "base-20")
    first = measurer.measure(measurement)
    monkeypatch.setattr("studies.scaling_laws.measuring.measurer.load_model", None)
    measurer._models.clear()
    assert measurer.measure(measurement) == first


# --- the command


def test_the_command_measures_what_is_there_and_says_what_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in QUICK:
        monkeypatch.setitem(QUICK, name, SMALL)
    words = ["lab", "measure", "--store", str(tmp_path / "store"), "--quick"]
    some = [*words, "--checkpoints", str(SHIPPED)]
    assert main([*some, "--only", "base-20", "base-1e6"]) == 0
    assert f"11 measurements are in {tmp_path / 'store'}" in capsys.readouterr().out
    runs = list(Store(tmp_path / "store").runs())
    assert {run.request["checkpoint"] for run in runs} == {"base-20", "base-1e6"}
    assert {run.kind for run in runs} == set(Kind)
    assert all(run.status == "done" and math.isfinite(run.provenance["duration_s"]) for run in runs)
    strange = tmp_path / "some"
    shutil.copytree(SHIPPED / "base-20", strange / "base-20")
    shutil.copytree(SHIPPED / "base-20", strange / "base-20-mine")
    assert main([*words, "--checkpoints", str(strange)]) == 0  # all of it is in the store
    said = capsys.readouterr().err
    assert "not of the grid lab, not measured: base-20-mine" in said
    assert "not there, not measured: pretrained, base-10," in said
    assert main([*some, "--dry-run"]) == 0
    listed = capsys.readouterr().out
    assert "base-1e6         clip" in listed
    assert "base-81-512      as trained" in listed
    assert "base-10 " not in listed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--preset lap", "Did you mean 'lab'"),
        ("--only base-20x", "Did you mean 'base-20'"),
        ("--checkpoints nowhere", "nowhere holds no checkpoint of the grid lab"),
        ("--checkpoints nowhere --only base-20", "nowhere/base-20 is no checkpoint of the lab"),
    ],
)
def test_bad_input_measures_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    store = tmp_path / "store"
    assert main(["lab", "measure", "--store", str(store), *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert not store.exists()
