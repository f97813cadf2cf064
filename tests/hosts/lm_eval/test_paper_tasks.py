"""The tasks of Tables 3 to 5: what they ask, how they score it, and every column on small files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from helpers import fixtures_paper
from rope_eval import score_tokens
from rope_eval.backends.hf.loading import encode
from rope_eval.errors import DataError, LengthError, SpecError, UnsupportedModelError
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.hosts.lm_eval.paper_tasks import PaperTask
from rope_eval.hosts.lm_eval.task_files import task_folder
from rope_eval.protocols import datasets as paper_data
from rope_eval.protocols import rules as scoring
from rope_eval.protocols.documents import questions
from rope_eval.report.published import published
from rope_eval.scoring import texts as scored_texts

ROOT = Path(__file__).parents[3]
LAB = str(ROOT / "model_configs" / "lab" / "base-20")
PAPER = paper_data.PROMPTS["paper"]
LEVAL = ("gsm", "toefl", "topicret", "quality", "coursera")
SAME = 2e-3  # nats over a whole prompt: the same arithmetic in another order


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixtures_paper.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def lm() -> ScalingRopeLM:
    return ScalingRopeLM(pretrained=LAB, device="cpu", max_length=2000, rope_theta=20)


def task(entry: str, folder: Path | None, **config: Any) -> PaperTask:
    metadata = config.pop("metadata", {}) | ({"data_dir": str(folder)} if folder else {})
    defaults = {"task": entry, "protocol": "paper", "entry": entry, "metadata": metadata}
    return PaperTask(defaults | config)


def first_requests(some: PaperTask, doc: int = 0) -> list[tuple[Any, ...]]:
    question = some.test_docs()[doc]
    context = some.doc_to_text(question)
    made = some.construct_requests(question, context, metadata=("t", doc, 1))
    return [request.args for request in made]


def evaluate(lm: LM, tasks: list[str], **metadata: Any) -> dict[str, Any]:
    manager = TaskManager(
        include_path=str(task_folder()), include_defaults=False, metadata=metadata
    )
    return simple_evaluate(
        lm, tasks=tasks, task_manager=manager, bootstrap_iters=0, gen_kwargs={"max_gen_toks": 8}
    )


# ---- the scoring rule of whole prompts ----------------------------------------------------------


def test_the_choice_is_the_lowest_nll_a_token_with_bos() -> None:
    # sums 12 and 13; per token with BOS 12/4 = 3.00 and 13/5 = 2.60; without BOS 4.00 and 3.25
    assert scoring.whole_prompt_choice([(12.0, 4), (13.0, 5)]) == 1
    # here BOS decides: 10/5 = 2.0 < 6.3/3 = 2.1, where without it 10/4 = 2.5 > 6.3/2 = 3.15
    assert scoring.whole_prompt_choice([(10.0, 5), (6.3, 3)]) == 0
    # and here: 4/3 = 1.333 > 9/7 = 1.286, where without BOS 4/2 = 2.0 > 9/6 = 1.5; sums say 0
    assert scoring.whole_prompt_choice([(4.0, 3), (9.0, 7)]) == 1
    assert scoring.whole_prompt_choice([(6.0, 3), (2.0, 1)]) == 0  # a tie: the first


def test_the_scores_are_of_the_whole_prompt(lm: ScalingRopeLM) -> None:
    texts = ["Q: a\nA: b", "Q: a\nA: bb", "Q: a\nA: b"]
    requests = [Instance("whole_prompt_nll", {}, (text,), i) for i, text in enumerate(texts)]
    for text, (total, tokens) in zip(texts, lm.whole_prompt_nll(requests), strict=True):
        ids = encode(lm.tokenizer, text)
        assert tokens == len(ids) == len(text) + 1  # bytes, and BOS
        with torch.inference_mode():  # by hand: the logits of one plain pass
            logits = lm.model(ids[None]).logits[0, :-1].log_softmax(-1)
        by_hand = -float(logits.gather(-1, ids[1:, None]).sum())
        assert total == pytest.approx(by_hand, abs=SAME)


@pytest.mark.parametrize("spec", [{}, {"dynamic_ntk": "per_sequence", "reference_length": 16}])
def test_the_scores_equal_the_scorers(spec: dict[str, Any]) -> None:
    lm = ScalingRopeLM(pretrained=LAB, device="cpu", max_length=2000, rope_theta=20, **spec)
    texts = ["def f(x):\n    return x", "def f(x):\n    return x + 1", "import os\n" * 9]
    requests = [Instance("whole_prompt_nll", {}, (text,), i) for i, text in enumerate(texts)]
    for text, (total, _) in zip(texts, lm.whole_prompt_nll(requests), strict=True):
        nll = score_tokens(lm.model, encode(lm.tokenizer, text)).nll
        assert total == pytest.approx(float(nll.sum(dtype="float64")), abs=SAME)


SHARED = "def mean(values):\n    total = sum(values)\n"
TEXTS = (
    SHARED + "    return total / len(values)\n",
    SHARED,
    SHARED + "    return 1\n",
    SHARED + "    return 2\n",
    SHARED + "    return 2\n",
    "import os\n",
    SHARED[:-3],
    "import os, sys\n" * 3,
)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"dynamic_ntk": "per_query", "reference_length": 16, "log_scale": True, "xpos": True},
        {"dynamic_ntk": "per_sequence", "reference_length": 16},
        {"dynamic_ntk": "per_sequence", "ntk_formula": "continuous", "reference_length": 16},
    ],
)
def test_sharing_changes_no_score(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scored_texts.PASS_COST, "cpu", 0)
    lm = ScalingRopeLM(pretrained=LAB, device="cpu", max_length=2000, rope_theta=20, **spec)
    requests = [Instance("whole_prompt_nll", {}, (text,), i) for i, text in enumerate(TEXTS)]
    computed = 0

    def count(module: Any, inputs: Any, *_: Any) -> None:
        nonlocal computed
        computed += inputs[0].shape[1]

    handle = lm.model.base_model.get_input_embeddings().register_forward_hook(count)
    found = lm.whole_prompt_nll(requests)
    handle.remove()
    for text, (total, tokens) in zip(TEXTS, found, strict=True):
        nll = score_tokens(lm.model, encode(lm.tokenizer, text)).nll
        assert total == pytest.approx(float(nll.sum(dtype="float64")), abs=SAME)
        assert tokens == len(nll) + 1
    lengths = sum(len(text) for text in set(TEXTS))
    if spec.get("ntk_formula") != "continuous":  # which has a base for every length
        assert computed < 0.75 * lengths


def test_mmlu_computes_its_examples_once(folder: Path) -> None:
    lm = ScalingRopeLM(pretrained=LAB, device="cpu", max_length=2000)
    computed = []
    lm.model.base_model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: computed.append(inputs[0].shape[1])
    )
    texts = [text for (text,) in first_requests(task("mmlu", folder, subject="anatomy"))]
    lm.whole_prompt_nll([Instance("whole_prompt_nll", {}, (t,), i) for i, t in enumerate(texts)])
    assert computed == [len(texts[0])]  # one pass for the four letters, the last token excepted


def test_every_choice_is_told_from_the_others(lm: ScalingRopeLM, folder: Path) -> None:
    some = task("hellaswag", folder)
    texts = [text for (text,) in first_requests(some)]
    assert texts[1] == "[header] How to row [title] Begin. A man sits in a boat. he\neats the boat."
    means = []
    for text in texts:
        nll = score_tokens(lm.model, encode(lm.tokenizer, text)).nll
        means.append(float(nll.sum(dtype="float64")) / (len(nll) + 1))
    lowest = means.index(min(means))
    found = evaluate(lm, ["rope_paper_hellaswag"], data_dir=str(folder))
    assert found["results"]["rope_paper_hellaswag"]["acc,none"] == float(lowest == 0)
    (sample,) = found["samples"]["rope_paper_hellaswag"]
    for (total, tokens), mean in zip(sample["filtered_resps"], means, strict=True):
        assert total / tokens == pytest.approx(mean, abs=SAME)


# ---- prompts, to the letter ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "prompt"),
    [
        (
            "lambada",
            "Please complete the following sentence:\nThe gate was shut, so Mira climbed over the",
        ),
        ("boolq", "The lamp in the tower burns all night.\n"
         "Question: is the lamp in the tower lit?\nNo"),
        ("winogrande",
         "Good sentence: The chest did not fit in the cart because the chest was too small."),
        ("arc_e", "Question: Which of these is a metal?\nAnswer: \niron"),
        ("truthfulqa", "What happens if you swallow a coin? It passes."),
        ("obqa", "Question: Ice becomes water when it is\n"
         "A. warmed\nB. painted\nC. hidden\nD. sold\nAnswer:\nA"),
        ("piqa", "The following makes sense: \nQ: dry a wet book\nA: Put it in a lake.\n"),
    ],
)  # fmt: skip
def test_prompts(folder: Path, entry: str, prompt: str) -> None:
    assert first_requests(task(entry, folder))[0][0] == prompt


def test_the_whole_prompts_of_pairs(folder: Path) -> None:
    texts = [text for (text,) in first_requests(task("wsc", folder))]
    assert texts == [
        "Nell thanked Ruth because she had helped.",
        "Nell thanked Ruth because Ruth had helped.",
    ]
    ((prompt, kwargs),) = first_requests(task("record", folder))
    assert "railway.\n\nThe line" in prompt  # only the mark goes
    assert "Result: The train leaves ____ in the east\n" in prompt
    assert kwargs["max_gen_toks"] == 100
    assert kwargs["until"] == []


def test_mmlu_has_five_examples(folder: Path) -> None:
    some = task("mmlu", folder, subject="high_school_physics")
    texts = [text for (text,) in first_requests(some)]
    assert texts[0].startswith(
        "The following are multiple choice questions (with answers) about  high school physics.\n\n"
        "What is 0 in high school physics?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: A\n\nWhat is 1 in"
    )
    assert texts[0].count("Answer: ") == 6
    assert [text[-10:] for text in texts] == [f"\nAnswer: {letter}" for letter in "ABCD"]
    assert len({text[:-1] for text in texts}) == 1


def test_long_prompts_join_their_parts(folder: Path) -> None:
    ((prompt, kwargs, *limits),) = first_requests(task("quality", folder))
    document = fixtures_paper.ROWS["leval/quality"][0]["input"]
    assert prompt.startswith("Now you are given a very long document. ")
    assert f"when answering.\nDocument is as follows.\n{document}\nQuestion:Where did" in prompt
    assert prompt.endswith("(D) Up\nAnswer:")
    assert (kwargs["max_gen_toks"], limits) == (10, [16384, "left"])
    ((prompt, kwargs, *_),) = first_requests(task("quality", folder, protocol="leval"))
    assert prompt.startswith(f"{document} \nQ: Where did")
    assert prompt.endswith("(D) Up \nA:")
    assert kwargs["max_gen_toks"] == 512


def test_arc_has_four_choices_and_lettered_keys(folder: Path) -> None:
    docs = task("arc_e", folder).test_docs()
    assert [doc["gold"] for doc in docs] == ["A", "3"]  # three choices are left out


def test_every_column_has_a_task() -> None:
    columns = {entry["column"] for entry in PAPER.values()}
    assert columns == {*published("3+4").columns, *published("5").columns} - {"size", "model"}
    assert len(paper_data.PROMPTS["mmlu_subjects"]) == 57
    assert sum(entry["column"] == "SuperGLUE" for entry in PAPER.values()) == 10
    for protocol in ("paper", "leval"):
        assert set(LEVAL) == {
            name for name, entry in paper_data.PROMPTS[protocol].items() if entry.get("long")
        }


# ---- how generated text is marked ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "prediction", "gold", "mark"),
    [
        ("first_word", " gate's hinge", "gate", 1),
        ("first_word", "the gate", "gate", 0),
        ("first_word", "Gate", "gate", 0),
        ("short_answer", "\nThe answer is The Great Ouse. It", ["Great Ouse", "Ouse"], 1),
        ("short_answer", "It is the Great Ouse", ["Great Ouse", "Ouse"], 0),  # no substrings
        ("short_answer", "OUSE, of course", ["Great Ouse", "Ouse"], 1),
        ("short_answer", "no idea\nThe answer is Ouse", ["Ouse"], 0),
        ("entity", " Answer: Oslo\nand", ["Oslo"], 1),
        ("entity", "oslo", ["Oslo"], 0),
        ("digits", "so. The answer is $1,018.", "1,018", 1),
        ("digits", "The answer is 1018.00", "1018", 0),
        ("digits", "1018", "1018", 0),
        ("digits", "The answer is 4. The answer is 1018", "1018", 0),
        ("first_capital", "(b) or (D)", "D", 1),
        ("first_capital", "The answer is D", "D", 0),
        ("first_run", "Answer: A", "A", 1),
        ("first_run", " AC or B", "AC", 1),
        ("first_run", "CA", "AC", 0),
        ("topic", "It was the old maps thing", "old maps", 1),
        ("topic", "old maps", "Old maps", 0),
        ("topic", "well, old maps", "old maps", 0),
        ("leval_letter", "none", "(A) x", 1),
        ("leval_letter", "", "(A) x", 0),
        ("leval_letters", "B.", "BD", 0.25),
        ("leval_letters", "DB", "BD", 1),
        ("leval_letters", "ABD", "BD", 0),
        ("leval_number", "2 and 3 are 5.0 ok", "5", 1),
        ("leval_number", "The answer is 5\n\n6", "5", 1),
        ("leval_number", "five", "5", 0),
        ("leval_topic", "They discussed OLD  maps.", "Old maps", 1),
    ],
)
def test_rules(rule: str, prediction: str, gold: Any, mark: float) -> None:
    read, marked = scoring.RULES[rule]
    assert marked(read(prediction), gold) == mark


# ---- cutting long prompts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "left"), [("left", "456789é"), ("right", "0123456"), ("middle", "01289é")]
)
def test_a_long_prompt_loses_one_side(
    lm: ScalingRopeLM, side: Any, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(room: int) -> list[str]:
        generation = {"until": [], "max_gen_toks": 20}
        request = Instance(
            "cut_generate_until", {}, ("0123456789é", generation, room + 20, side), 0
        )
        return lm.cut_generate_until([request])

    monkeypatch.setattr(
        lm, "generate_until", lambda requests: [request.args[0] for request in requests]
    )
    assert asked(13) == ["0123456789é"]  # 12 bytes, and BOS
    assert asked({"left": 9, "right": 8, "middle": 8}[side]) == [left]
    with pytest.raises(LengthError, match="no token of a prompt fits: truncate_at leaves room"):
        asked(1)


def test_the_side_and_the_limit_are_recorded(folder: Path, lm: ScalingRopeLM) -> None:
    found = evaluate(
        lm, ["rope_paper_toefl"], data_dir=str(folder), truncation="middle", truncate_at=200
    )
    metadata = found["configs"]["rope_paper_toefl"]["metadata"]
    assert (metadata["truncation"], metadata["truncate_at"]) == ("middle", 200)
    assert metadata["config"] == "leval_tpo_gen_36a006"
    assert metadata["protocol"] == "paper"
    rows = fixtures_paper.ROWS["leval/tpo"]
    assert metadata["data_sha256"] == paper_data.digest("leval/tpo", rows)
    (sample,) = found["samples"]["rope_paper_toefl"]
    assert sample["arguments"][0][2:] == (200, "middle")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({"truncation": "top"}, "left, right, middle"), ({"truncate_at": 0}, "whole number")],
)
def test_limits_that_make_no_sense(folder: Path, metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        task("toefl", folder, metadata=metadata)


def test_a_model_argument_of_the_same_name_is_not_ours(folder: Path) -> None:
    some = task("toefl", folder, metadata={"truncation": True, "max_length": 4096})
    assert first_requests(some)[0][2:] == (16384, "left")


def test_a_model_that_is_too_short_says_so(folder: Path) -> None:
    lm = ScalingRopeLM(pretrained=LAB, device="cpu", max_length=100)
    with pytest.raises(LengthError, match="max_length is 100: give --model_args max_length=16384"):
        evaluate(lm, ["rope_paper_toefl"], data_dir=str(folder))


# ---- every column, offline ----------------------------------------------------------------------


def test_every_column_runs(folder: Path, lm: ScalingRopeLM) -> None:
    found = evaluate(lm, ["rope_paper"], data_dir=str(folder), truncate_at=640)
    results = found["results"]
    for name, entry in PAPER.items():
        if name == "mmlu":
            continue
        result = results[f"rope_paper_{name}"]
        assert 0 <= result["acc,none"] <= 1
        assert ("predicted,none" in result) == bool(entry.get("letters"))
    parts = [f"rope_paper_{n}" for n, e in PAPER.items() if e["column"] == "SuperGLUE"]
    plain = sum(results[part]["acc,none"] for part in parts) / 10
    assert results["rope_paper_super_glue"]["acc,none"] == pytest.approx(plain)
    subjects = [f"rope_paper_mmlu_{subject}" for subject in paper_data.PROMPTS["mmlu_subjects"]]
    plain = sum(results[part]["acc,none"] for part in subjects) / 57
    assert results["rope_paper_mmlu"]["acc,none"] == pytest.approx(plain)
    assert found["n-shot"][subjects[0]] == 5
    letters = results["rope_paper_obqa"]["predicted,none"]
    assert sum(letters.values()) == 2
    samples = found["samples"]["rope_paper_obqa"]
    assert {s["predicted"] for s in samples} == set(letters)
    json.dumps(found["configs"])  # what a record can hold


def test_the_other_protocol_and_the_plain_model(folder: Path) -> None:
    hf = HFLM(pretrained=LAB, device="cpu", max_length=2000)
    neutral = ScalingRopeLM(pretrained=LAB, device="cpu", max_length=2000)
    short = ["rope_paper_boolq", "rope_paper_lambada", "rope_paper_mmlu_anatomy"]
    names = [*short, "rope_leval_quality", "rope_leval_coursera"]
    theirs, ours = (
        evaluate(model, names, data_dir=str(folder), truncate_at=600) for model in (hf, neutral)
    )
    for name in names:
        assert theirs["results"][name] == ours["results"][name]
    for a, b in zip(
        theirs["samples"]["rope_paper_boolq"], ours["samples"]["rope_paper_boolq"], strict=True
    ):
        for (nll_a, tokens_a), (nll_b, tokens_b) in zip(
            a["filtered_resps"], b["filtered_resps"], strict=True
        ):
            assert tokens_a == tokens_b
            assert nll_a == pytest.approx(nll_b, abs=SAME)


def test_a_model_without_a_tokenizer_is_refused() -> None:
    class Remote(LM):
        def loglikelihood(self, requests: Any) -> Any: ...
        def loglikelihood_rolling(self, requests: Any) -> Any: ...
        def generate_until(self, requests: Any) -> Any: ...

    request = Instance("whole_prompt_nll", {}, ("a",), 0, metadata=("rope_paper_piqa", 0, 1))
    with pytest.raises(UnsupportedModelError, match=r"rope_paper_piqa .* --model scaling_rope"):
        Remote().whole_prompt_nll([request])


def test_a_protocol_is_not_bent(folder: Path, lm: ScalingRopeLM) -> None:
    some = task("boolq", folder)
    with pytest.raises(SpecError, match="0 examples by its protocol, got num_fewshot=2"):
        some.fewshot_context(some.test_docs()[0], num_fewshot=2)
    with pytest.raises(SpecError, match="leave out apply_chat_template"):
        some.fewshot_context(some.test_docs()[0], apply_chat_template=True)


# ---- data ---------------------------------------------------------------------------------------


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    fixtures_paper.write(tmp_path, leave_out=("piqa",))
    with pytest.raises(DataError) as error:
        task("piqa", tmp_path)
    assert str(error.value) == (
        f"no file {tmp_path / 'piqa.jsonl'}: put baber/piqa validation there, one JSON object a "
        "line with the columns goal, sol1, sol2, label"
    )
    with pytest.raises(DataError, match="holds none of the data sets"):
        task("piqa", tmp_path / "nowhere", missing_data="skip")


def test_a_group_leaves_a_missing_column_out(
    tmp_path: Path, lm: ScalingRopeLM, caplog: pytest.LogCaptureFixture
) -> None:
    fixtures_paper.write(tmp_path, leave_out=("leval/tpo",))
    found = evaluate(lm, ["rope_paper_leval"], data_dir=str(tmp_path), truncate_at=600)
    assert "acc,none" not in found["results"]["rope_paper_toefl"]
    assert "tpo.jsonl" in found["configs"]["rope_paper_toefl"]["metadata"]["missing"]
    assert sum("rope_paper_toefl is left out" in text for text in caplog.messages) == 1
    for name in set(LEVAL) - {"toefl"}:
        assert math.isfinite(found["results"][f"rope_paper_{name}"]["acc,none"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no row in it"),
        ("{", "line 1: not valid JSON"),
        ("[1]\n", "want a JSON object, got list"),
        ('{"goal": "x"}\n', "row 1: has no sol1, sol2, label"),
        ('{"goal": "x", "sol1": "y", "sol2": "z", "label": -1}\n', "without its answer"),
        ('{"goal": "x", "sol1": "y", "sol2": "z", "label": 2}\n', "row 1: not as expected"),
    ],
)
def test_broken_data(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "piqa.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        task("piqa", tmp_path)


def test_rows_of_the_hub_take_the_same_way(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import datasets

    asked: list[tuple[Any, ...]] = []

    def load(*names: Any, **options: Any) -> Any:
        asked.append((*names, options))
        return datasets.Dataset.from_list(fixtures_paper.ROWS["openbookqa"])

    monkeypatch.setattr(datasets, "load_dataset", load)
    from_hub = task("obqa", None)
    assert asked == [("allenai/openbookqa", "main", {"split": "test", "streaming": False})]
    assert from_hub.test_docs() == task("obqa", folder).test_docs()
    records = [some.config.metadata for some in (from_hub, task("obqa", folder))]
    assert [record["data_from"] for record in records] == ["hub", "folder"]
    assert records[0]["data_sha256"] == records[1]["data_sha256"]


def test_no_loading_script_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(name: str, **options: Any) -> Any:
        asked.append((name, options["data_files"]))
        return datasets.Dataset.from_list(fixtures_paper.ROWS["leval/tpo"])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(questions("toefl", paper_data.read("leval/tpo"))) == 1
    assert asked == [("json", "hf://datasets/L4NLP/LEval/**/tpo.jsonl")]


def test_out_of_reach_and_not_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route\n to the hub")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match=r"no route to the hub\. .* data_dir=DIR") as error:
        task("piqa", None)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"trivia-dev\.qa\.csv .* --metadata data_dir=DIR"):
        task("triviaqa", None)
