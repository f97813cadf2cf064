"""`runner.measure` and `rope-eval ppl`: right numbers, kept, and mistakes that cost nothing."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import models
from rope_eval import runner
from rope_eval.cli import main
from rope_eval.errors import (
    DataError,
    LengthError,
    ScoreError,
    StoreError,
    UnsupportedModelError,
)
from rope_eval.paths import asset
from rope_eval.results.store import Store
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.documents import Loading
from studies.scaling_laws.recipes.model import build_tokenizer

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
    for name in ("chunk_size", "dtype", "device", "proof"):
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


def test_the_proof_is_kept_and_changes_no_score(books: Path, store: Store) -> None:
    run = runner.measure(request(books), store)
    proof = run.provenance["proof"]
    assert 0 < proof["neutral"] < 1e-4
    assert list(proof["moves"]) == ["log_scale"]
    assert proof["moves"]["log_scale"] > 0.01
    assert proof["tokens"] == 12
    without = runner.measure(request(books, proof=False), store, force=True)
    assert without.provenance["proof"] == "off"
    assert without.results == run.results
    assert without.key == run.key


def test_a_setting_that_is_not_applied_is_refused_before_the_work(
    books: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rotary, "scales_queries", False)
    with pytest.raises(UnsupportedModelError, match="log_scale=True moves no score"):
        runner.measure(request(books), store)
    assert not list(store.root.glob("*"))


def test_token_scores_are_kept(books: Path, store: Store) -> None:
    run = runner.measure(request(books), store)
    kept = [store.documents.arrays(key) for key in run.results["documents"]]
    assert [set(arrays) for arrays in kept] == [{"nll_200", "hit_200"}] * 2
    for arrays, (short, long) in zip(kept, run.results["by_document"], strict=True):
        assert long["nll"] == arrays["nll_200"].sum(dtype=np.float64)
        assert short["nll"] == arrays["nll_200"][:63].sum(dtype=np.float64)
        assert long["hits"] == arrays["hit_200"].sum()
    assert run.results["totals"][0]["nll"] == sum(r[0]["nll"] for r in run.results["by_document"])
    assert run.provenance["duration_s"] > 0
    ran = {"dtype": "float32", "device": "cpu", "layers": "3 of 3", "scaling": "default"}
    assert run.provenance["ran"] == [ran | {"commit": None}]
    assert runner.curve(run)["dtype"] == run.request["dtype"] == "float32"


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
    assert runner.answer(request(books), store) == runner.Answer(run=first, scored=0)
    for harmless in ({"chunk_size": 32}, {"dtype": "float32"}, {"device": None}):
        assert runner.measure(request(books, **harmless), store) == first
    for changed in ({"rope": RopeSpec()}, {"lengths": (64, 201)}, {"dtype": "bfloat16"}):
        with pytest.raises(AssertionError, match="scored again"):
            runner.measure(request(books, **changed), store)
    with pytest.raises(AssertionError, match="scored again"):
        runner.measure(request(books), store, force=True)
    (books / "a.txt").write_text("x = 1\n" * 100)
    with pytest.raises(AssertionError, match="scored again"):
        runner.measure(request(books), store)


def test_fewer_documents_and_lengths_are_summed_from_what_is_stored(
    books: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = (
        {"documents": 1},
        {"lengths": (150, 200)},
        {"lengths": (199,)},
        {"documents": 2, "lengths": (120,)},
    )
    anew = [
        runner.measure(request(books, **changes), Store(tmp_path / f"anew{i}"))
        for i, changes in enumerate(fewer)
    ]
    runner.measure(request(books), store)
    monkeypatch.setattr(runner, "document_scorer", _must_not_run)
    for changes, expected in zip(fewer, anew, strict=True):
        answer = runner.answer(request(books, **changes), store)
        assert answer.scored == 0
        assert answer.run.key == expected.key
        assert answer.run.results["documents"] == expected.results["documents"]
        for got, want in zip(answer.run.results["totals"], expected.results["totals"], strict=True):
            assert got == want | {"nll": pytest.approx(want["nll"], rel=1e-6)}
        assert answer.run.results["extrapolation_bound"] == pytest.approx(128)
        assert answer.run.provenance["ran"] == expected.provenance["ran"]


def test_another_collection_shares_its_documents(
    books: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = runner.measure(request(books), store)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(books / "b.txt", other / "renamed.txt")
    (other / "z.txt").write_text("z" * 300)
    answer = runner.answer(request(other, model=_renamed(tmp_path)), store)
    assert answer.scored == 1
    assert answer.run.results["by_document"][0] == first.results["by_document"][1]
    longer = runner.answer(request(other, lengths=(64, 250)), store)  # takes the shorter's place
    assert longer.scored == 2
    monkeypatch.setattr(runner, "document_scorer", _must_not_run)
    runner.measure(request(other, lengths=(64, 190)), store)


def _renamed(folder: Path) -> str:
    return str(shutil.copytree(LAB / "base-20", folder / "what a folder is called says nothing"))


def test_lengths_that_are_a_pass_of_their_own_are_kept_apart(
    books: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rope = RopeSpec(dynamic_ntk="per_sequence", reference_length=64)
    first = runner.measure(request(books, rope=rope), store)
    arrays = store.documents.arrays(first.results["documents"][0])
    assert set(arrays) == {"nll_64", "hit_64", "nll_200", "hit_200"}
    assert abs(arrays["nll_64"] - arrays["nll_200"][:63]).max() > 1e-3
    runner.measure(request(books, rope=rope, lengths=(150,)), store)
    monkeypatch.setattr(runner, "document_scorer", _must_not_run)
    again = runner.measure(request(books, rope=rope, lengths=(64,), documents=2), store)
    assert again.results["totals"] == first.results["totals"][:1]
    runner.measure(request(books, rope=rope, lengths=(64, 150, 200)), store)
    with pytest.raises(AssertionError, match="scored again"):
        runner.measure(request(books, rope=rope, lengths=(65,), documents=2), store)


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


def _broken(folder: Path, damage: Callable[[torch.nn.Module], None]) -> str:
    model = AutoModelForCausalLM.from_pretrained(shutil.copytree(LAB / "base-20", folder / "nan"))
    damage(model)
    model.save_pretrained(folder / "nan")
    return str(folder / "nan")


def _everywhere(model: torch.nn.Module) -> None:
    model.model.layers[1].mlp.down_proj.weight.data[3, 3] = float("nan")


def _at_signs(model: torch.nn.Module) -> None:
    model.model.embed_tokens.weight.data[ord("@")] = float("nan")


def test_a_run_of_failed_documents_is_stored_as_failed_and_tried_again(
    books: Path, store: Store, tmp_path: Path
) -> None:
    broken = _broken(tmp_path, _everywhere)
    for _ in range(2):
        with pytest.raises(ScoreError, match=r"a: the score of token \d+ is nan"):
            runner.measure(request(books, model=broken), store)
        (run,) = store.runs()
        assert run.status == "failed"
        assert run.error is not None
        assert "nan" in run.error
        assert run.results == {}


def test_a_failed_document_leaves_the_others(
    books: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = _broken(tmp_path, _at_signs)
    whole = runner.measure(request(books, model=broken), store)
    (books / "aa.txt").write_text("x" * 100 + "@" + "x" * 200)
    answer = runner.answer(request(books, model=broken), store)
    assert (answer.scored, answer.run.status) == (1, "done")
    assert answer.run.results["totals"] == whole.results["totals"]
    assert answer.run.results["by_document"] == whole.results["by_document"]
    (failed,) = answer.run.results["failed"]
    assert failed["name"] == "aa"
    assert failed["error"].startswith("aa: the score of token 1")  # 101 or what follows
    assert runner.answer(request(books, model=broken), store).scored == 1  # it alone, once more

    words = ["ppl", "--model", broken, "--books", str(books), "--lengths", "64,200"]
    words += [
        "--rope",
        "log_scale=true,pretrain_theta=10000",
        "--results",
        str(store.root),
        "--device",
        "cpu",
    ]
    assert main(words) == 1
    text = capsys.readouterr().out
    assert f"failed {failed['error']}\n" in text
    assert "2 documents, 398 scored tokens" in text
    assert f"{runner.curve(whole)['perplexity'][1]:.2f}" in text
    assert main([*words, "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["failed"] == [{"name": "aa", "error": failed["error"]}]
    assert facts["documents"] == 2


def test_force_heals_what_is_damaged(books: Path, store: Store) -> None:
    first = runner.measure(request(books), store)

    def damage(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-1])

    for path in (store.place(first.key), *store.documents.root.iterdir()):
        damage(path)
    with pytest.raises(StoreError, match=r"a damaged run.*--force"):
        runner.measure(request(books), store)
    store.place(first.key).unlink()
    with pytest.raises(StoreError, match=r"documents/.* a damaged run.*--force"):
        runner.measure(request(books), store)
    damage(store.documents.place(first.results["documents"][0]))
    assert runner.measure(request(books), store, force=True).results == first.results
    assert {e.state for e in (*store.entries(), *store.documents.entries())} == {"ok"}
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
    assert facts["from_store"] is False
    assert facts["rope"] == {"log_scale": True, "pretrain_theta": 10000}
    assert facts["laws"]["pretrain_theta"] == {"value": 10000, "source": "given"}
    said = "the config's max_position_embeddings"
    assert facts["laws"]["train_length"] == {"value": 128, "source": said}
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.endswith(".zip, from the store\n")
    assert "log_scale=True" in text
    assert "329 tokens" in text
    assert f"train_length 128: {said}" in text
    assert f"{facts['perplexity'][1]:.2f}" in text


def test_a_hit_loads_no_torch(books: Path, store: Store) -> None:
    runner.measure(request(books), store)
    words = ["ppl", "--model", str(LAB / "base-20"), "--books", str(books), "--rope"]
    words += ["log_scale=true,pretrain_theta=10000", "--results", str(store.root), "--lengths"]
    script = (
        "import sys; from rope_eval.cli import main; assert main(sys.argv[1:]) == 0; "
        "print(sorted({'torch', 'transformers', 'pandas', 'datasets'} & set(sys.modules)))"
    )
    for lengths in ("64,200", "64,150"):
        python = [sys.executable, "-c", script, *words, lengths]
        done = subprocess.run(python, capture_output=True, text=True, check=True)
        assert done.stdout.endswith("from the store\n[]\n")


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


def _of_another_family(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "cohere"}))


def _with_a_history(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    dynamic = {"rope_type": "dynamic", "rope_theta": 20.0, "factor": 2.0}
    (model / "config.json").write_text(json.dumps(config | {"rope_parameters": dynamic}))


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
        (_of_another_family, "layernorm.weight, which the model has no place for"),
        (_with_a_history, "rope_type=dynamic, whose frequencies depend"),
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
        ({"--device": "meta"}, "the device 'meta' holds no weights"),
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


def test_a_setting_that_the_lengths_never_reach(
    books: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ppl", "--model", str(LAB / "base-1e5"), "--books", str(books), "--device", "cpu"]
    words += ["--rope", "log_scale=true,pretrain_theta=10000,reference_length=100.5"]
    words += ["--results", str(store.root)]
    line = "log_scale changes nothing in 101 tokens, the longest text: it begins at 102"
    assert main([*words, "--lengths", "64,101", "--strict"]) == 2
    assert line in capsys.readouterr().err
    assert list(store.runs()) == []
    assert main([*words, "--lengths", "64,101", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.endswith(f"note: {line}\n")
    assert json.loads(said.out)["effective_from"] == {"log_scale": 102}
    assert main([*words, "--lengths", "64,101", "--strict"]) == 2  # from the store too
    assert "begins" in capsys.readouterr().err
    assert main([*words, "--lengths", "64,102", "--strict"]) == 0
    assert "begins" not in capsys.readouterr().err


def test_it_is_said_which_layers_take_a_setting_and_what_of_the_config_is_kept(
    books: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = build_tokenizer()
    for name, made, line in (
        ("windows", models.mixed(), "layers 1 of 2 take the setting"),
        ("llama3", models.tiny_scaled("llama3"), "config its llama3 scaling is kept"),
    ):
        model = models.build(
            type(made.config).from_dict(made.config.to_dict() | {"vocab_size": 257})
        )
        folder = tmp_path / name
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        words = ["ppl", "--model", str(folder), "--books", str(books), "--lengths", "64"]
        words += ["--results", str(store.root), "--device", "cpu", "--proof", "off"]
        assert main([*words, "--rope", "rope_theta=50000"]) == 0
        assert line in capsys.readouterr().out
        assert main(words) == 0
        assert line not in capsys.readouterr().out
