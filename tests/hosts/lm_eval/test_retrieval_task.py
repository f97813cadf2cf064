"""Retrieval probes: what they hold, and what lm-eval makes of them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from rope_eval import score_tokens
from rope_eval.backends.hf.loading import load_model
from rope_eval.cli import main
from rope_eval.data.books import read_books
from rope_eval.data.probes import PASSKEY, Form, Probe, ProbePlan
from rope_eval.errors import LengthError, RopeEvalError, SpecError, UnsupportedModelError
from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask
from studies.scaling_laws.probe import LAB, held_out_text
from studies.scaling_laws.recipes.model import build_tokenizer

ROOT = Path(__file__).parents[3]
MODEL = str(ROOT / "model_configs" / "lab" / "base-1e4")
LENGTHS = (301, 512)
DEPTHS = (0.0, 0.3, 1.0)
LONGEST_LINE = 200  # characters from a depth to the nearest place for facts, at most
FORMS = {"passkey": PASSKEY, "lab": LAB}


@cache
def book() -> str:
    (document,) = read_books("builtin")
    return document.text


@cache
def byte_pairs() -> Tokenizer:
    """Train a tokenizer whose tokens are of several characters, so that cuts join and split."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=2000, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([book()[:200_000]], trainer)
    return tokenizer


byte_tokenizer = cache(build_tokenizer)
ENCODERS: dict[str, Callable[[str], list[int]]] = {
    "bytes": lambda text: byte_tokenizer()(text)["input_ids"],
    "byte pairs": lambda text: byte_pairs().encode(text).ids,
}


def plan(form: Form, **changes: Any) -> ProbePlan:
    fields: dict[str, Any] = {
        "lengths": LENGTHS,
        "depths": DEPTHS,
        "samples": 3,
        "seed": 0,
        "facts": 3,
    }
    return ProbePlan(form=form, text=book(), **(fields | changes))


def parts(probe: Probe, some: ProbePlan) -> tuple[str, str, str]:
    """Return the filler before the facts, the facts, and the filler after them."""
    facts, _ = some.facts_of(probe.sample)
    planted = "".join(some.form.fact.format(key=k, value=v) for k, v in facts)
    question = some.form.question.format(key=probe.key)
    assert probe.context.endswith(question)
    before, after = probe.context.removesuffix(question).split(planted)
    return before, planted, after


# ---- what a probe holds -------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", ENCODERS)
@pytest.mark.parametrize("name", FORMS)
def test_a_probe_is_what_was_asked_for(name: str, tokens: str) -> None:
    encode, form = ENCODERS[tokens], FORMS[name]
    some = plan(form)
    probes = list(some.probes(encode))
    wanted = [(s, n, d) for s in range(3) for n in LENGTHS for d in DEPTHS]
    assert [(p.sample, p.length, p.depth) for p in probes] == wanted
    for probe in probes:
        ids = encode(probe.context + probe.answer)
        assert len(ids) == probe.length
        assert probe.tokens == tuple(ids)
        assert encode(probe.context) == ids[: -probe.value_tokens]
        assert probe.value in probe.answer
        before, planted, after = parts(probe, some)
        assert form.fact.format(key=probe.key, value=probe.value) in planted
        assert (probe.value if form is PASSKEY else f"@{probe.key}") not in before + after
        assert before + after in book()  # the filler is not touched
        off = len(before) - probe.depth * len(before + after)
        assert abs(off) <= LONGEST_LINE
        assert not before or before[-1] in "\n "
        assert (before + after)[-1] in "\n "


def test_depth_moves_the_facts_and_nothing_else() -> None:
    some = plan(LAB, depths=(0.0, 0.5, 1.0), lengths=(512,))
    first, middle, last = (
        parts(some.probe(ENCODERS["bytes"], sample=1, length=512, depth=depth), some)
        for depth in some.depths
    )
    assert first[0] == last[2] == ""
    assert first[0] + first[2] == middle[0] + middle[2] == last[0] + last[2]
    assert first[1] == middle[1] == last[1]


def test_lengths_share_their_facts_and_their_text() -> None:
    some = plan(PASSKEY)
    short, long = (
        some.probe(ENCODERS["byte pairs"], sample=2, length=length, depth=1.0) for length in LENGTHS
    )
    assert (short.key, short.value) == (long.key, long.value)
    assert long.context.endswith(short.context)


def test_all_comes_from_the_seed() -> None:
    encode = ENCODERS["bytes"]
    probes = list(plan(LAB).probes(encode))
    assert probes == list(plan(LAB).probes(encode))
    others = list(plan(LAB, seed=1).probes(encode))
    assert all(a.context != b.context for a, b in zip(probes, others, strict=True))
    assert len({probe.context for probe in probes}) == len(probes)
    more = plan(LAB, samples=5)
    assert list(more.probes(encode))[: len(probes)] == probes


@pytest.mark.parametrize("name", FORMS)
def test_values_cannot_be_guessed(name: str) -> None:
    form = FORMS[name]
    some = plan(form, samples=400)
    drawn = [some.facts_of(sample) for sample in range(400)]
    for facts, asked in drawn:
        assert len({key for key, _ in facts}) == 3
        assert asked in facts
    letters = Counter(letter for _, (_, value) in drawn for letter in value)
    count = 400 * form.value_length / len(form.value_letters)
    assert set(letters) == set(form.value_letters)
    assert all(abs(n - count) < 5 * math.sqrt(count) for n in letters.values())
    asked_first = sum(asked == facts[0] for facts, asked in drawn)
    assert abs(asked_first - 400 / 3) < 5 * math.sqrt(400 * 2 / 9)


def test_the_lab_is_asked_in_its_own_words_on_text_it_has_not_seen() -> None:
    from studies.scaling_laws.recipes import retrieval_text
    from studies.scaling_laws.recipes.text import training_text

    assert LAB.fact.format(key="K", value="va") == retrieval_text.fact("K", "va")
    assert LAB.question.format(key="K") == retrieval_text.question("K")
    trained = training_text().tokens.to(torch.uint8).numpy().tobytes()
    line = held_out_text()[5000:5300].encode()
    assert line not in trained
    assert b"import os\n" in trained


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": ()}, r"lengths must be whole numbers, 1 or more, got \[\]"),
        ({"lengths": (0,)}, "got 0"),
        ({"lengths": ("1k", 4)}, r"got \['1k', 4\]"),
        ({"lengths": (64, 64)}, "lengths must not repeat"),
        ({"depths": (0.5, 1.5)}, "numbers, from 0 to 1"),
        ({"depths": (math.nan,)}, "got nan"),
        ({"samples": 0}, "samples must be whole numbers, from 1 to 100000, got 0"),
        ({"samples": True}, "got True"),
        ({"seed": -1}, "seed must be"),
        ({"facts": len(LAB.key_letters) + 1}, r"there are \d+ keys, too few"),
    ],
)
def test_a_plan_that_makes_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan(LAB, **changes)


def test_lengths_that_cannot_be_met() -> None:
    encode = ENCODERS["bytes"]
    facts = len(LAB.fact.format(key="K", value="v" * LAB.value_length))
    least = 1 + 3 * facts + len(LAB.question.format(key="K")) + LAB.value_length
    with pytest.raises(LengthError, match=rf"has no room for filler.*take {least}"):
        plan(LAB, lengths=(least,)).probe(encode, sample=0, length=least, depth=0.5)
    assert plan(LAB, lengths=(least + 1,)).probe(encode, sample=0, length=least + 1, depth=0.5)
    small = replace(plan(LAB), text="a line\n" * 9)
    with pytest.raises(LengthError, match=r"the filler's 63 characters.*give more text"):
        small.probe(encode, sample=0, length=301, depth=0.5)


def test_a_character_of_several_tokens_is_stepped_over() -> None:
    text = ("é" * 150 + "\n") + ("é" * 150 + "x\n")
    some = replace(plan(LAB, facts=1, lengths=(160, 161)), text=text)
    for probe in some.probes(ENCODERS["bytes"]):
        assert len(probe.tokens) == probe.length


# ---- lm-eval ------------------------------------------------------------------------------------


class Reader(LM):
    """Looks the pass key up in its context; every other answer it gives is wrong."""

    max_length = 2000
    tokenizer: Any = object()

    def __init__(self, right_every: int):
        super().__init__()
        self.right_every = right_every

    def tok_encode(self, text: str) -> list[int]:
        return byte_pairs().encode(text).ids

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        answers = []
        for i, request in enumerate(requests):
            context, generation = request.args
            assert generation["do_sample"] is False
            key = context.rsplit("The pass key of ", 1)[1].removesuffix(" is")
            value = context.split(f"The pass key of {key} is ", 1)[1][: PASSKEY.value_length]
            wrong = value[::-1] + "0"
            answers.append(f" {wrong if i % self.right_every else value}. So")
        return answers

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        return [(-float(len(self.tok_encode(request.args[1]))), True) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise AssertionError("a probe asks for no rolling log-likelihoods")


def evaluate(lm: LM, task: str, **metadata: Any) -> dict[str, Any]:
    manager = TaskManager(
        include_path=str(ROOT / "tasks"), include_defaults=False, metadata=metadata
    )
    found: dict[str, Any] = simple_evaluate(
        lm, tasks=[task], task_manager=manager, bootstrap_iters=0
    )
    return found


@pytest.mark.parametrize(("right_every", "accuracy"), [(1, 1.0), (2, 0.5)])
def test_a_model_that_reads_is_right(right_every: int, accuracy: float) -> None:
    found = evaluate(
        Reader(right_every), "retrieval", lengths=[301, 512], depths=[0.2, 0.9], samples=3, facts=2
    )
    scores = found["results"]["retrieval"]
    for length in (301, 512):
        assert scores[f"accuracy@{length},none"] == accuracy
        assert scores[f"greedy@{length},none"] == 1.0
        assert scores[f"nll@{length},none"] == 1.0
        by_depth = [scores[f"accuracy_depth_{depth}@{length},none"] for depth in (0.2, 0.9)]
        assert sum(by_depth) / 2 == accuracy
    metadata = found["configs"]["retrieval"]["metadata"]
    assert (metadata["lengths"], metadata["facts"]) == ([301, 512], 2)
    assert len(metadata["filler_sha256"]) == 64


class Remote(Reader):
    tokenizer = None


@pytest.mark.parametrize(
    ("lm", "metadata", "error", "message"),
    [
        (Reader(1), {"lengths": [4096]}, LengthError, "max_length=4096"),
        (Reader(1), {"lengths": "4k"}, SpecError, "lengths must be whole numbers"),
        (Reader(1), {"filler": "nowhere"}, RopeEvalError, "no books at 'nowhere'"),
        (Remote(1), {}, UnsupportedModelError, "has no tokenizer here"),
    ],
)
def test_mistakes(
    lm: LM, metadata: dict[str, Any], error: type[RopeEvalError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        evaluate(lm, "retrieval", **metadata)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    "wrapped", [{"apply_chat_template": True}, {"system_instruction": "Be brief."}]
)
def test_prompts_are_not_wrapped(wrapped: dict[str, Any]) -> None:
    given = {"lengths": 301, "depths": 0.5, "samples": 1, "probe_seed": 0, "facts": 1}
    config = {"task": "t", "description": "", "metadata": given | {"filler": "builtin"}}
    task = RetrievalTask(config)
    (doc,) = task.test_docs()
    assert task.fewshot_context(doc) == PASSKEY.question.format(key=doc["key"])
    with pytest.raises(SpecError, match="leave out apply_chat_template"):
        task.fewshot_context(doc, **wrapped)


def test_the_command_gives_what_scoring_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--model=hf",
        f"--model_args=pretrained={MODEL},max_length=200",
        "--tasks=lab_retrieval",
        f"--include_path={ROOT / 'studies' / 'scaling_laws' / 'tasks'}",
        "--metadata=lengths=[96,200],depths=[0,0.6],samples=6,facts=2,probe_seed=5",
        "--device=cpu",
        f"--output_path={tmp_path}",
        "--log_samples",
    ]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lm_eval")), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("results_*.json")
    scores = json.loads(file.read_text())["results"]["lab_retrieval"]

    model, encode = load_model(MODEL, device="cpu"), ENCODERS["bytes"]
    some = ProbePlan(
        form=LAB,
        text=held_out_text(),
        lengths=(96, 200),
        depths=(0, 0.6),
        samples=6,
        seed=5,
        facts=2,
    )
    nll: dict[int, list[float]] = {96: [], 200: []}
    hits: dict[int, list[bool]] = {96: [], 200: []}
    first: dict[int, list[bool]] = {96: [], 200: []}
    for probe in some.probes(encode):
        answer = slice(-probe.value_tokens, None)
        measured = score_tokens(model, torch.tensor(probe.tokens))
        nll[probe.length] += measured.nll[answer].tolist()
        hits[probe.length].append(bool(measured.hit[answer].all()))
        if probe.depth == 0:
            first[probe.length].append(hits[probe.length][-1])
    for length in (96, 200):
        assert scores[f"nll@{length},none"] == pytest.approx(
            sum(nll[length]) / len(nll[length]), rel=1e-4
        )
        accuracy = sum(hits[length]) / len(hits[length])
        assert scores[f"greedy@{length},none"] == pytest.approx(accuracy)
        assert scores[f"accuracy@{length},none"] == pytest.approx(accuracy)
        of_first = sum(first[length]) / len(first[length])
        assert scores[f"accuracy_depth_0@{length},none"] == pytest.approx(of_first)
        assert scores[f"accuracy_depth_0.6@{length},none"] == pytest.approx(2 * accuracy - of_first)

    assert main(["import", str(tmp_path), "--results", str(tmp_path / "runs")]) == 0
    assert "1 with samples" in capsys.readouterr().out
