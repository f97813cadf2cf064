"""`runner.measure` and `rope-eval ppl`: right numbers, kept, and mistakes that cost nothing."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_eval import runner
from rope_eval.cli import main
from rope_eval.errors import DataError, LengthError, ScoreError, StoreError
from rope_eval.paths import asset
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.documents import Loading

LAB = asset("model_configs") / "lab"
LENGTHS = (64, 200)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    for name, words in (("a", 60), ("b", 45), ("short", 5)):
        (folder / f"{name}.txt").write_text("def f(x):\n    return x\n" * words)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def request(books: Path, **changes: object) -> runner.CumulativeRequest:
    loading = {"device": "cpu"}
    for name in ("chunk_size", "dtype"):
        if name in changes:
            loading[name] = changes.pop(name)
    fields = {
        "model": str(LAB / "base-20"),
        "rope": RopeSpec(log_scale=True, pretrain_theta=10000),
        "books": str(books),
        "lengths": LENGTHS,
        "loading": Loading(**loading),
    }
    return runner.CumulativeRequest(**(fields | changes))


def test_neutral_perplexity_is_that_of_a_plain_forward(books: Path, store: Store) -> None:
    run = runner.measure(request(books, rope=RopeSpec()), store)
    model = AutoModelForCausalLM.from_pretrained(LAB / "base-20").eval()
    sums = {n: [0.0, 0, 0] for n in LENGTHS}
    for name in ("a", "b"):
        ids = torch.tensor([[256, *(books / f"{name}.txt").read_bytes()]])
        with torch.no_grad():
            log_p = model(ids[:, : max(LENGTHS)]).logits.double().log_softmax(-1)[0]
        for n in LENGTHS:
            targets = ids[0, 1:n, None]
            sums[n][0] -= float(log_p[: n - 1].gather(-1, targets).sum())
            sums[n][1] += int((log_p[: n - 1].argmax(-1, keepdim=True) == targets).sum())
            sums[n][2] += n - 1
    facts = runner.curve(run)
    assert facts["documents"] == 2
    assert facts["tokens"] == 2 * 199
    for i, n in enumerate(LENGTHS):
        nll, hits, tokens = sums[n]
        assert facts["perplexity"][i] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
        assert facts["accuracy"][i] == hits / tokens


def test_token_scores_are_kept(books: Path, store: Store) -> None:
    run = runner.measure(request(books), store)
    arrays = store.arrays(run.key)
    assert set(arrays) == {"nll_0_200", "hit_0_200", "nll_1_200", "hit_1_200"}
    total = sum(arrays[f"nll_{i}_200"].sum(dtype=np.float64) for i in (0, 1))
    assert run.results["totals"][1]["nll"] == pytest.approx(total, rel=1e-9)
    assert run.results["totals"][0]["nll"] == pytest.approx(
        sum(row[0]["nll"] for row in run.results["by_document"])
    )
    assert run.provenance["duration_s"] > 0


def test_per_sequence_measures_each_length_at_that_length(books: Path, store: Store) -> None:
    rope = RopeSpec(dynamic_ntk="per_sequence", reference_length=64)
    both = runner.curve(runner.measure(request(books, rope=rope), store))
    for i, n in enumerate(LENGTHS):
        alone = runner.curve(runner.measure(request(books, rope=rope, lengths=(n,)), store))
        assert both["perplexity"][i] == pytest.approx(alone["perplexity"][0], rel=1e-6)
    per_query = RopeSpec(dynamic_ntk="per_query", reference_length=64)
    one_pass = runner.curve(runner.measure(request(books, rope=per_query), store))
    assert abs(one_pass["perplexity"][1] - both["perplexity"][1]) > 1e-3


def test_the_same_question_is_read(
    books: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = runner.measure(request(books), store)
    monkeypatch.setattr(runner, "document_scorer", _must_not_run)
    assert runner.measure(request(books), store) == first
    assert runner.measure(request(books, chunk_size=32), store) == first
    for changed in ({"rope": RopeSpec()}, {"lengths": (64,)}, {"documents": 1}):
        with pytest.raises(AssertionError, match="scored again"):
            runner.measure(request(books, **changed), store)
    with pytest.raises(AssertionError, match="scored again"):
        runner.measure(request(books), store, force=True)
    (books / "a.txt").write_text("x = 1\n" * 100)
    with pytest.raises(AssertionError, match="scored again"):
        runner.measure(request(books), store)


def _must_not_run(*_: object, **__: object) -> None:
    raise AssertionError("scored again")


def test_order_of_documents_and_chunks_change_nothing(
    books: Path, store: Store, tmp_path: Path
) -> None:
    first = runner.curve(runner.measure(request(books), store))
    (books / "a.txt").rename(books / "z.txt")
    for changes in ({}, {"chunk_size": 17}):
        other = Store(tmp_path / f"other{len(changes)}")
        again = runner.curve(runner.measure(request(books, **changes), other))
        assert again["perplexity"] == pytest.approx(first["perplexity"], rel=1e-5)


def test_a_failed_run_is_stored_as_failed_and_tried_again(
    books: Path, store: Store, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(LAB / "base-20", broken)
    model = AutoModelForCausalLM.from_pretrained(broken)
    model.model.layers[1].mlp.down_proj.weight.data[3, 3] = float("nan")
    model.save_pretrained(broken)
    for _ in range(2):
        with pytest.raises(ScoreError, match=r"a: the score of token \d+ is nan"):
            runner.measure(request(books, model=str(broken)), store)
        (run,) = store.runs()
        assert run.status == "failed"
        assert run.error is not None
        assert "nan" in run.error
        assert run.results == {}


def test_force_heals_a_damaged_run(books: Path, store: Store) -> None:
    first = runner.measure(request(books), store)
    path = store.place(first.key)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"a damaged run.*--force"):
        runner.measure(request(books), store)
    assert runner.measure(request(books), store, force=True).results == first.results
    assert runner.measure(request(books), store).results == first.results


def test_a_store_that_cannot_be_written_costs_no_work(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(runner, "document_scorer", _must_not_run)
    with pytest.raises(StoreError, match=r"cannot write to .*Not a directory"):
        runner.measure(request(books), Store(tmp_path / "file" / "runs"))


def test_what_cannot_be_kept_is_shown(
    books: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("cannot write: No space left on device")

    monkeypatch.setattr(Store, "put", full)
    words = ["ppl", "--model", str(LAB / "base-20"), "--books", str(books), "--lengths", "64"]
    assert main([*words, "--results", str(tmp_path / "runs"), "--device", "cpu"]) == 1
    out, err = capsys.readouterr()
    assert "perplexity" in out
    assert out.endswith("run    not kept\n")
    assert "was measured and is not kept: cannot write: No space left" in err


def test_too_short_documents(books: Path, store: Store) -> None:
    with pytest.raises(LengthError, match=r"1 document of at least 100000 tokens is needed.*1381"):
        runner.measure(request(books, lengths=(64, 100000)), store)
    with pytest.raises(LengthError, match=r"3 documents of at least 200 tokens are needed.*has 2"):
        runner.measure(request(books, documents=3), store)
    assert not store.root.exists()


def test_the_command_prints_facts(
    books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ppl", "--model", str(LAB / "base-1e5"), "--books", str(books), "--lengths", "64,200"]
    words += ["--results", str(tmp_path / "runs"), "--rope", "log_scale=true,pretrain_theta=10000"]
    words += ["--device", "cpu"]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["lengths"] == [64, 200]
    assert len(facts["perplexity"]) == len(facts["accuracy"]) == 2
    assert facts["documents"] == 2
    assert facts["tokens"] == 398
    assert facts["extrapolation_bound"] == pytest.approx(329, abs=0.5)
    assert facts["rope"] == {"log_scale": True, "pretrain_theta": 10000}
    assert facts["laws"]["pretrain_theta"] == {"value": 10000, "source": "given"}
    said = "the config's max_position_embeddings"
    assert facts["laws"]["train_length"] == {"value": 128, "source": said}
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "log_scale=True" in text
    assert "329 tokens" in text
    assert f"train_length 128: {said}" in text
    assert f"{facts['perplexity'][1]:.2f}" in text


def test_a_row_of_the_catalogue(books: Path, store: Store) -> None:
    words = ["ppl", "--books", str(books), "--lengths", "64", "--results", str(store.root)]
    assert main([*words, "--config", "lab/base-20"]) == 0
    (run,) = store.runs()
    assert run.request["rope"] == {
        "rope_theta": 20,
        "pretrain_theta": 10000,
        "train_length": 128,
        "tune_length": 128,
    }
    assert run.provenance["row"] == "lab/base-20"


def _without_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def _broken_weights(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"not safetensors")


def _cut_weights(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _interleaved(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "cohere"}))


def _sliding(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    (model / "config.json").write_text(json.dumps(config | {"sliding_window": 64}))


def _without_length(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    del config["max_position_embeddings"]
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_weights, "no weights"),
        (_broken_weights, "broken or cut off"),
        (_cut_weights, "broken or cut off"),
        (_interleaved, "interleaved"),
        (_sliding, "sliding window of 64"),
        (_without_length, "train_length"),
    ],
)
def test_models_that_cannot_be_scored(
    damage: Callable[[Path], None],
    message: str,
    books: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tmp_path / "model"
    shutil.copytree(LAB / "base-20", model)
    damage(model)
    words = ["ppl", "--model", str(model), "--books", str(books), "--lengths", "64"]
    words += ["--results", str(tmp_path / "runs"), "--rope", "xpos=true"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("rope-eval: error: ")
    assert message in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--rope": "rope_theta=1"}, "greater than 1, got 1"),
        ({"--rope": "rope_theta=nan"}, "finite"),
        ({"--rope": "rope_theta=big"}, "must be a number"),
        ({"--rope": "log_scael=true"}, "Did you mean 'log_scale'"),
        ({"--rope": "log_scale"}, "name=value"),
        ({"--rope": "yarn_factor=2,linear_factor=2"}, "cannot be combined"),
        ({"--rope": "dynamic_ntk=per_query,ntk_formula=continuous"}, "per_sequence alone"),
        ({"--lengths": "200,64"}, "increase"),
        ({"--lengths": "0"}, "0"),
        ({"--lengths": "4q"}, "4q"),
        ({"--lengths": "1m"}, "of at least 1048576 tokens"),
        ({"--books": "buildin"}, "no books at 'buildin'"),
        ({"--model": "./nowhere"}, "no model directory"),
        ({"--docs": "0"}, "--docs must be 1 or more"),
        ({"--chunk-size": "0"}, "--chunk-size must be 1 or more"),
        ({"--device": "tpu9"}, "the device 'tpu9' cannot be used here"),
    ],
)
def test_bad_input(
    changes: dict[str, str],
    message: str,
    books: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {
        "--model": str(LAB / "base-20"),
        "--books": str(books),
        "--lengths": "64",
        "--results": str(tmp_path / "runs"),
    } | changes
    assert main(["ppl", *(word for option in options.items() for word in option)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_no_model_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ppl", "--lengths", "64"]) == 2
    assert "--model DIR" in capsys.readouterr().err


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(DataError):
        runner.measure(
            runner.CumulativeRequest(
                model="/no/such/model", rope=RopeSpec(), books="builtin", lengths=(64,)
            ),
            Store(Path("/no/such/store")),
        )
