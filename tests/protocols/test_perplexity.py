"""Perplexity protocols, against what other people's scripts print for the same model and texts.

The numbers of `YARN` and `THEIRS` were printed by those scripts on lab/base-20 in float32, over the
first 600 tokens of the two texts below: YaRN's eval/perplexity.py (jquesnelle/yarn, commit
995db5b), LongLoRA's eval.py (dvlab-research/LongLoRA, commit d4eb344; its base is 2.71828, not e)
and the loop of Hugging Face's perplexity guide (huggingface/transformers, commit 052b1dc,
docs/source/en/perplexity.md). The last two take one text at a time.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rope_eval import runner
from rope_eval.cli import main
from rope_eval.errors import ScoreError, SpecError
from rope_eval.paths import asset
from rope_eval.protocols.perplexity import PerplexityProtocol, Window
from rope_eval.report.series import figure_data
from rope_eval.report.stored import stored_table
from rope_eval.results import frame
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.documents import Loading

TEXTS = (
    "def f(x):\n    return x\n" * 60,
    "".join(f"def g{i}(y, z={i % 7}):\n    return y * {i * i}\n" for i in range(60)),
)
PAPERS = {"truncation": 4096, "alpha": 2.0, "beta": -2.0}
YARN = {(128, 32): 7.708887577056885, (200, 64): 7.879754066467285}
THEIRS = {
    ("guide", 128, 32): (5.917651653289795, 10.330368995666504),
    ("guide", 200, 64): (5.900111675262451, 10.54216194152832),
    ("blocks", 128, None): (5.6358866691589355, 10.805514335632324),
    ("longlora", 128, 32): (5.677828382143242, 10.588754614329366),
    ("longlora", 200, 64): (5.786723549871429, 10.656652147225845),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protocols")
    (folder / "books").mkdir()
    for name, text in zip("ab", TEXTS, strict=True):
        (folder / "books" / f"{name}.txt").write_text(text)
    return folder


def answer(root: Path, *lengths: int, books: str = "books", **protocol: Any) -> runner.Answer:
    if "tokens" not in protocol and protocol.get("name") in ("sliding", "blocks", "longlora"):
        protocol["tokens"] = 600
    asked = runner.CumulativeRequest(
        model=str(asset("model_configs") / "lab" / "base-20"),
        rope=RopeSpec(),
        books=str(root / books),
        lengths=lengths,
        loading=Loading(device="cpu", proof=False),
        protocol=PerplexityProtocol(**protocol),
    )
    return runner.answer(asked, Store(root / "runs"))


def each(found: runner.Answer, at: int = 0) -> list[float]:
    by_document = (sums[at] for sums in found.run.results["by_document"])
    return [math.exp(sums["nll"] / sums["tokens"]) for sums in by_document]


@pytest.mark.parametrize(("length", "stride"), YARN)
def test_windows_are_yarns(root: Path, length: int, stride: int) -> None:
    found = answer(root, length, name="sliding", stride=stride, mean="windows")
    assert runner.curve(found.run)["perplexity"] == pytest.approx([YARN[length, stride]], rel=1e-6)
    assert runner.curve(found.run)["unit"] == "windows"


@pytest.mark.parametrize(("name", "length", "stride"), THEIRS)
def test_documents_are_as_in_other_peoples_scripts(
    root: Path, name: str, length: int, stride: int | None
) -> None:
    fields = {"name": "sliding", "mean": "guide"} if name == "guide" else {"name": name}
    found = each(answer(root, length, **fields, **({"stride": stride} if stride else {})))
    e = 2.71828 if name == "longlora" else math.e
    theirs = [math.exp(math.log(value, e)) for value in THEIRS[name, length, stride]]
    assert found == pytest.approx(theirs, rel=1e-6)


def test_means_of_one_scoring_differ(root: Path) -> None:
    answer(root, 128, name="sliding", stride=32, mean="guide")
    found = answer(root, 128, name="sliding", stride=32)
    assert found.scored == 0  # the windows are there
    assert runner.curve(found.run)["perplexity"] == pytest.approx([7.8214160778])
    assert runner.curve(found.run)["tokens"] == 2 * 599


def test_the_last_tokens_are_read_from_a_cumulative_pass(root: Path) -> None:
    whole = answer(root, 128, 256)
    found = answer(root, 128, 256, name="last", last=40)
    assert found.scored == 0 and found.run.key != whole.run.key
    store = Store(root / "runs")
    for key, sums in zip(
        whole.run.results["documents"], found.run.results["by_document"], strict=True
    ):
        nll = store.documents.arrays(key)["nll_256"]
        assert sums[0]["nll"] == pytest.approx(float(nll[87:127].sum()), rel=1e-6)
        assert sums[1]["nll"] == pytest.approx(float(nll[215:255].sum()), rel=1e-6)
        assert sums[0]["tokens"] == 40


@pytest.mark.parametrize(
    ("alpha", "beta", "keys", "theirs"),
    [(0.5, -2, 2, 2.945082902908325), (0.25, -4, 13, 5.2770982)],
)
def test_key_tokens_are_those_of_the_authors_package(
    root: Path, alpha: float, beta: float, keys: int, theirs: float
) -> None:
    # PKU-ML/LongPPL, commit 1decd2a: find_key_token(text, model, tokenizer, 64, 32, None, alpha,
    # beta), and the model's own losses of the tokens that it finds in the second text's first 400
    numbers = {"truncation": 64, "stride": 32, "alpha": alpha, "beta": beta}
    found = answer(root, 400, books="books/b.txt", name="longppl", **numbers)
    facts = runner.curve(found.run)
    assert (facts["tokens"], facts["perplexity"][0]) == (keys, pytest.approx(theirs, rel=1e-5))


def test_longppl_has_its_authors_defaults_and_needs_key_tokens(root: Path) -> None:
    protocol = PerplexityProtocol(name="longppl")
    assert protocol.to_dict() == {"name": "longppl", "stride": 1024, **PAPERS}
    assert "truncation 4096, window 1024, alpha 2, beta -2" in protocol.label
    assert protocol.texts((6000,)) == (6000, 5120, 4976)
    with pytest.raises(SpecError, match="longer lengths than 4096"):
        protocol.longest((4096,))
    with pytest.raises(SpecError, match="alpha must be a number"):
        PerplexityProtocol(name="longppl", alpha="2")  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="no token is a key token"):
        answer(root, 400, books="books/b.txt", name="longppl", truncation=64, stride=32, alpha=90)


def test_protocols_are_never_mixed(root: Path) -> None:
    answer(root, 128, 256)
    answer(root, 128, 256, name="last", last=40)
    answer(root, 128, 256, name="blocks")
    store = Store(root / "runs")
    lines = frame(store)
    said = dict(zip(lines["protocol"], lines["task"], strict=True))
    assert {"cumulative", "last 40 tokens", "blocks over 600 tokens"} <= set(said)
    assert len(set(said.values())) == len(said)
    data = figure_data("curves", store)
    assert data.y.label == "perplexity"
    assert data.frame.groupby("panel")["protocol"].nunique().max() == 1
    table = stored_table(store, "perplexity")
    assert any("last 40 tokens" in str(cell) for row in table.rows for cell in row)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "slidin"}, "did you mean.*sliding"),
        ({"name": "sliding"}, "needs tokens"),
        ({"name": "last"}, "needs last"),
        ({"name": "blocks", "tokens": 9, "stride": 3}, "takes no stride"),
        ({"name": "sliding", "tokens": 9, "mean": "window"}, "no mean 'window'.*windows"),
        ({"name": "sliding", "tokens": 0}, "1 or more"),
        ({"last": 3}, "cumulative takes no last"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError, match=f"(?is){why}"):
        PerplexityProtocol(**fields)


@pytest.mark.parametrize(
    ("fields", "lengths", "why"),
    [
        ({"name": "last", "last": 64}, (64, 128), "lengths of 65 or more"),
        ({"name": "sliding", "tokens": 100, "stride": 64}, (64,), "leaves tokens out"),
        ({"name": "blocks", "tokens": 100}, (64, 128), "tokens=128 or more"),
        ({"name": "longlora", "tokens": 160, "stride": 32}, (128,), "tokens=161 or more"),
    ],
)
def test_lengths_that_a_protocol_cannot_do(
    fields: dict[str, Any], lengths: tuple[int, ...], why: str
) -> None:
    with pytest.raises(SpecError, match=why):
        PerplexityProtocol(**fields).longest(lengths)


def test_windows_cover_each_token_once() -> None:
    sliding = PerplexityProtocol(name="sliding", stride=3, tokens=20)
    seen = [t for w in sliding.windows(20, 8, bos=True) for t in range(w.end - w.scored, w.end)]
    assert seen == list(range(1, 20))
    yarn = PerplexityProtocol(name="sliding", stride=3, tokens=20, mean="windows")
    first, second, *_ = yarn.windows(20, 8, bos=True)
    assert first == Window(begin=1, end=8, scored=7, new=7, bos=True)
    assert second == Window(begin=4, end=11, scored=3, new=3, bos=True)
    without = next(yarn.windows(20, 8, bos=False))
    assert without == Window(begin=0, end=8, scored=7, new=8)
    longlora = PerplexityProtocol(name="longlora", stride=4, tokens=20)
    assert [w.begin for w in longlora.windows(20, 8, bos=True)] == [0, 4]
    blocks = PerplexityProtocol(name="blocks", tokens=17)
    assert [(w.begin, w.end) for w in blocks.windows(17, 8, bos=True)] == [(0, 8), (8, 16)]
    assert blocks.texts((8,)) == (8, 8)


def test_lm_eval_tasks_of_protocols_give_the_same(root: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from rope_eval.hosts.lm_eval.model import ScalingRopeLM
    from rope_eval.hosts.lm_eval.task_files import task_folder

    lm = ScalingRopeLM(pretrained=str(asset("model_configs") / "lab" / "base-20"), device="cpu")
    for fields in (
        {"name": "sliding", "stride": 64, "mean": "windows"},
        {"name": "longlora", "stride": 64},
        {"name": "blocks"},
        {"name": "last", "last": 40},
    ):
        numbers = {name: value for name, value in fields.items() if name != "name"}
        windowed = fields["name"] != "last"
        given = {"books": str(root / "books"), "lengths": [128, 200], "stride": None, **numbers}
        manager = TaskManager(
            include_path=str(task_folder()),
            include_defaults=False,
            metadata=given | ({"tokens": 600} if windowed else {}),
        )
        task = f"perplexity_{fields['name']}"
        found = simple_evaluate(lm, tasks=[task], task_manager=manager, bootstrap_iters=0)
        theirs = found["results"][task]
        ours = runner.curve(answer(root, 128, 200, **fields).run)["perplexity"]
        assert [theirs[f"perplexity@{n},none"] for n in (128, 200)] == pytest.approx(ours, rel=1e-6)


def test_the_command_line_and_a_plan_ask_for_the_same(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    books, results = str(root / "books"), str(tmp_path / "runs")
    given = ["--books", books, "--lengths", "128", "--results", results, "--device", "cpu"]
    words = ["ppl", "--config", "lab/base-20", *given, "--protocol", "sliding", "--stride", "64"]
    assert main([*words, "--tokens", "600", "--mean", "windows", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["protocol"] == "sliding 64 over 600 tokens, mean of windows"
    assert facts["unit"] == "windows"
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"""models: [lab/base-20]
settings: [{{}}]
loading: {{device: cpu}}
measurements:
  - perplexity: {{books: {books}, lengths: [128], protocol: sliding, stride: 64, tokens: 600,
                 mean: windows}}
"""
    )
    assert main(["run", str(plan), "--results", results]) == 0
    assert "all from the store" in capsys.readouterr().out
    assert main([*words, "--tokens", "100"]) == 2
    assert "need tokens=128 or more" in capsys.readouterr().err
    plan.write_text(plan.read_text().replace("stride: 64", "stride: 500"))
    assert main(["run", str(plan), "--results", results]) == 2
    assert "leaves tokens out" in capsys.readouterr().err
