"""Attention and continuations in a plan: the commands' own numbers and texts, kept by document."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.loading import load_model, load_tokenizer
from rope_eval.cli import main
from rope_eval.errors import RopeEvalError
from rope_eval.paths import asset
from rope_eval.plans import survey
from rope_eval.plans.claims import Claims
from rope_eval.plans.measurements import generation
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.results.store import Run, Store
from rope_eval.scoring import attention_facts
from rope_eval.scoring.attention_profile import PARTS
from rope_eval.scoring.books import long_enough
from rope_eval.scoring.continuation import continuation

MODEL = asset("model_configs") / "lab" / "pretrained"
PLAN = f"""\
loading: {{device: cpu}}
models: [{MODEL}]
settings: [{{}}, {{linear_factor: 2}}]
measurements:
"""
ATTENTION = "  - attention: {books: builtin-chapters, length: 64, docs: 2, bins: 6}\n"
GENERATION = "  - generation: {books: builtin-chapters, length: 300, tokens: 9, docs: 2}\n"
BOOKS = ("--model", str(MODEL), "--books", "builtin-chapters", "--device", "cpu", "--json")


def plan(tmp_path: Path, text: str) -> Plan:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN + text)
    return Plan.read(file)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def of(store: Store, rope: str) -> Run:
    """Return the run of a setting."""
    (run,) = [run for run in store.runs() if run.request["rope"] == RopeSpec.parse(rope).to_dict()]
    return run


def test_attention_is_the_commands_own(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan(tmp_path, ATTENTION)
    standing = next(survey.survey(made, store))
    assert (standing.units, standing.tokens) == (2, 128)
    done = work(made, store)
    assert (done.units, done.cells, done.loads) == (4, 2, 1)
    for rope in ("", "linear_factor=2"):
        words = ("--length", "64", "--documents", "2", "--bins", "6", "--rope", rope)
        assert main(["attention", *BOOKS, *words]) == 0
        facts = json.loads(capsys.readouterr().out)
        del facts["proof"]
        run = of(store, rope)
        assert (run.kind, run.results) == ("attention", facts)
        assert run.provenance["ran"][0]["dtype"] == "float32"
        arrays = store.arrays(run.key)
        assert arrays["sums"].shape == arrays["squares"].shape == (2, 2, len(facts["bins"]))
        means = arrays["sums"].sum(0) / (2 * arrays["counts"])
        mean_squares = arrays["squares"].sum(0) / (2 * arrays["counts"])
        for i, one in enumerate(facts["bins"]):
            assert one["count"] == 2 * arrays["counts"][i]
            assert (one["from"], one["to"] + 1) == tuple(arrays["bin_edges"][i : i + 2])
            assert [one[part]["mean"] for part in PARTS] == pytest.approx(means[:, i])
            std = np.sqrt(mean_squares[:, i] - means[:, i] ** 2)
            assert [one[part]["std"] for part in PARTS] == pytest.approx(std, abs=1e-6)
    assert work(made, store).units == 0
    other = plan(tmp_path, ATTENTION.replace("docs: 2", "docs: 1"))
    assert work(other, store).units == 0  # its document is one of the two
    assert [one.state for one in survey.survey(other, store)] == ["done"] * 2


def test_a_continuation_is_what_the_model_writes(tmp_path: Path, store: Store) -> None:
    made = plan(tmp_path, GENERATION)
    standing = next(survey.survey(made, store))
    assert (standing.units, standing.tokens) == (2, 2 * 309)
    assert work(made, store).units == 4
    tokenizer = load_tokenizer(str(MODEL))
    documents = long_enough("builtin-chapters", 309, tokenizer, 2)
    model = load_model(str(MODEL), device="cpu")
    written = {}
    for rope in ("", "linear_factor=2"):
        run = of(store, rope)
        assert run.kind == "continuation"
        samples = run.results["samples"]
        assert [sample["document"] for sample in samples] == [one.name for one, _ in documents]
        for sample, (_, ids) in zip(samples, documents, strict=True):
            with patched(model, RopeSpec.parse(rope)):
                text = tokenizer.decode(continuation(model, ids[:300], 9), skip_special_tokens=True)
            whole = tokenizer.decode(ids, skip_special_tokens=True)
            assert sample["text"] == text
            assert sample["context_tokens"] == 300
            assert sample["prompt"] and whole.endswith(sample["prompt"] + sample["reference"])
            assert sample.keys() == {"document", "context_tokens", "prompt", "reference", "text"}
        written[rope] = [sample["text"] for sample in samples]
    assert written[""] != written["linear_factor=2"]
    again = plan(tmp_path, GENERATION.replace("tokens: 9", "tokens: 8"))
    assert work(again, store).units == 4  # another text


def test_a_long_prompt_is_kept_by_its_end(tmp_path: Path, store: Store) -> None:
    made = plan(tmp_path, GENERATION.replace("300", "900").replace("docs: 2", "docs: 1"))
    work(made, store)
    (sample,) = of(store, "").results["samples"]
    assert len(sample["prompt"]) == generation.PROMPT_CHARACTERS


def test_one_document_that_fails_leaves_the_other(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tmp_path, ATTENTION)
    real = attention_facts.profile_of
    calls: list[int] = []

    def first_fails(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("no room")
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("rope_eval.plans.measurements.attention.profile_of", first_fails)
    done = work(made, store)
    assert (done.units, done.cells) == (2, 1)
    assert [why.partition(": ")[2] for why in done.failed.values()] == ["MemoryError: no room"]
    found = [(one.state, one.stored) for one in survey.survey(made, store)]
    assert found == [("failed", 1), ("done", 2)]
    assert work(made, store).units == 0
    assert work(made, store, retry=True).units == 1
    assert len(calls) == 5


def test_a_document_that_another_process_is_at_is_left(tmp_path: Path, store: Store) -> None:
    made = plan(tmp_path, ATTENTION)
    second = made.cells[0].measurement.prospect(made.cells[0], store).units[1]

    def look(seconds: float) -> None:
        found = [(one.state, one.stored, one.at_work) for one in survey.survey(made, store)]
        assert found == [("partly done", 1, 1), ("done", 2, 0)]
        raise KeyboardInterrupt

    with Claims(store.root).claim(second) as ours:
        assert ours
        with pytest.raises(KeyboardInterrupt):
            work(made, store, wait=look)
    done = work(made, store)
    assert (done.units, done.cells) == (1, 2)


def test_what_changes_nothing_is_said_and_refused_strictly(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "  - perplexity: {books: builtin-chapters, lengths: [64], docs: 1}\n"
    late = (ATTENTION + GENERATION + text).replace("docs: 2", "docs: 1")
    made = plan(tmp_path, late)
    made.file.write_text(
        made.file.read_text().replace(
            "linear_factor: 2", "dynamic_ntk: per_query, reference_length: 500"
        )
    )
    assert main(["run", str(made.file), "--results", str(store.root)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert [line.partition("dynamic_ntk=per_query,reference_length=500, ")[2] for line in said] == [
        "attention in builtin-chapters at 64 (and 1 more): dynamic_ntk changes nothing in 64 "
        "tokens, the longest text: it begins at 502",
        "9 tokens after 300 of builtin-chapters: dynamic_ntk changes nothing in 309 tokens, the "
        "longest text: it begins at 502",
    ]
    made.file.write_text(made.file.read_text() + "strict: true\n")
    done = work(Plan.read(made.file), store)
    assert (done.cells, len(done.failed)) == (3, 3)
    assert all("it begins at 502" in why for why in done.failed.values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  - attention: {books: x}\n", "length is missing"),
        ("  - attention: {length: 64, bins: 20000}\n", "10,000 or fewer"),
        ("  - attention: {length: 64, spacing: lin}\n", "expected one of log, linear"),
        ("  - generation: {length: 64, token: 3}\n", "Did you mean 'tokens'?"),
        ("  - generation: {tokens: 64}\n", "length is missing"),
        ("  - generation: {length: 64, tokens: 0}\n", "whole number of 1 or more"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RopeEvalError) as caught:
        plan(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/plan.yaml:5: ")
    assert says in str(caught.value)
