"""lm-eval's own `hf` and neutral `scaling_rope` agree on the stock tasks, over rows of our own.

The tasks are lm-eval's own files; only their data sets are replaced, by rows of the same schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from lm_eval import simple_evaluate, tasks
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.paths import asset

GROUP = Path(__file__).parents[3] / "tasks" / "rope_lm_eval.yaml"
TOLERANCE = 1e-3  # nats of one request
SUPER_GLUE = ("boolq", "cb", "copa", "multirc", "sglue_rte", "wic", "wsc")
MMLU = ("mmlu_anatomy", "mmlu_philosophy")  # the 57 subjects share one template
GENERATED = ("nq_open", "triviaqa")
TASKS = (
    "lambada_openai",
    *SUPER_GLUE,
    "hellaswag",
    "piqa",
    "winogrande",
    "openbookqa",
    *GENERATED,
    "truthfulqa_mc1",
    "arc_easy",
    "arc_challenge",
    *MMLU,
)
FOLDERS = (
    "lambada",
    "super_glue",
    "hellaswag",
    "piqa",
    "winogrande",
    "openbookqa",
    "nq_open",
    "triviaqa",
    "truthfulqa",
    "arc",
    "mmlu/default",
)
SPLITS = ("train", "validation", "test", "dev")
Rows = list[dict[str, Any]]


# ---- the rows, by the path and the name of their data set --------------------------------------


def lettered(texts: str) -> dict[str, list[str]]:
    """Return choices as ARC and OpenBookQA keep them, from texts that "/" separates."""
    choices = texts.split("/")
    return {"text": choices, "label": list("ABCD"[: len(choices)])}


def boolq(question: str, passage: str, label: int) -> dict[str, Any]:
    return {"question": question, "passage": passage, "label": label}


def entailment(premise: str, hypothesis: str, label: int) -> dict[str, Any]:
    return {"premise": premise, "hypothesis": hypothesis, "label": label}


def copa(premise: str, choice1: str, choice2: str, question: str, label: int) -> dict[str, Any]:
    pair = {"premise": premise, "choice1": choice1, "choice2": choice2}
    return pair | {"question": question, "label": label}


def multirc(question: str, answer: str, label: int) -> dict[str, Any]:
    paragraph = "Ada kept bees behind the mill. In June she sold nine jars of honey to the baker."
    return {
        "paragraph": paragraph,
        "question": question,
        "answer": answer,
        "idx": {"paragraph": 0, "question": len(question), "answer": len(answer)},
        "label": label,
    }


def wic(word: str, sentence1: str, sentence2: str, label: int) -> dict[str, Any]:
    start1, start2 = sentence1.index(word), sentence2.index(word)
    return {
        "word": word,
        "sentence1": sentence1,
        "sentence2": sentence2,
        "start1": start1,
        "start2": start2,
        "end1": start1 + len(word),
        "end2": start2 + len(word),
        "label": label,
    }


def wsc(text: str, noun: str, pronoun: str, label: int) -> dict[str, Any]:
    words = text.split()
    return {
        "text": text,
        "span1_index": words.index(noun.split(maxsplit=1)[0]),
        "span2_index": words.index(pronoun),
        "span1_text": noun,
        "span2_text": pronoun,
        "label": label,
    }


def hellaswag(activity: str, ctx_a: str, ctx_b: str, endings: str, label: int) -> dict[str, Any]:
    return {
        "ind": label,
        "activity_label": activity,
        "ctx_a": ctx_a,
        "ctx_b": ctx_b,
        "ctx": f"{ctx_a} {ctx_b}",
        "endings": endings.split("/"),
        "source_id": f"own~{label}",
        "split": "val",
        "split_type": "indomain",
        "label": str(label),
    }


def piqa(goal: str, sol1: str, sol2: str, label: int) -> dict[str, Any]:
    return {"goal": goal, "sol1": sol1, "sol2": sol2, "label": label}


def winogrande(sentence: str, option1: str, option2: str, answer: str) -> dict[str, Any]:
    return {"sentence": sentence, "option1": option1, "option2": option2, "answer": answer}


def openbookqa(stem: str, choices: str, key: str) -> dict[str, Any]:
    return {"id": stem[:4], "question_stem": stem, "choices": lettered(choices), "answerKey": key}


def triviaqa(question: str, aliases: list[str]) -> dict[str, Any]:
    lower = [alias.lower() for alias in aliases]
    return {
        "question": question,
        "question_id": f"own_{len(question)}",
        "question_source": "own",
        "answer": {
            "aliases": aliases,
            "normalized_aliases": lower,
            "normalized_value": lower[0],
            "type": "WikipediaEntity",
            "value": aliases[0],
        },
    }


def truthful(question: str, choices: str) -> dict[str, Any]:
    answers = choices.split("/")
    targets = {"choices": answers, "labels": [1] + [0] * (len(answers) - 1)}
    return {"question": question, "mc1_targets": targets, "mc2_targets": targets}


def arc(question: str, choices: str, key: str) -> dict[str, Any]:
    return {"id": key, "question": question, "choices": lettered(choices), "answerKey": key}


def mmlu(question: str, subject: str, choices: str, answer: int) -> dict[str, Any]:
    four = choices.split("/")
    return {"question": question, "subject": subject, "choices": four, "answer": answer}


DATA: dict[tuple[str, str | None], Rows] = {
    ("EleutherAI/lambada_openai", "default"): [
        {"text": "He called the dog twice, but nobody came, and so he went on without the dog"},
        {"text": "She had lost the key. Under the mat, under the pot, no sign of the key"},
        {"text": "The bell rang again, and all at once the whole street could hear the bell"},
    ],
    ("aps/super_glue", "boolq"): [
        boolq("is the tower open in winter", "The tower closes from November to March.", 0),
        boolq("can barges pass the lock", "The lock is wide enough for any barge.", 1),
        boolq("does the mill still turn", "Since the flood the mill has stood still.", 0),
    ],
    ("aps/super_glue", "cb"): [  # each label once, or F1 is undefined
        entailment("It rained all night. He knew that the road was flooded.", "It was flooded", 0),
        entailment("She never said the shop was open.", "the shop was closed for good", 1),
        entailment("Do you suppose that the letter came?", "the letter came", 2),
    ],
    ("aps/super_glue", "copa"): [
        copa("The lamp went out.", "The oil was used up.", "It was noon.", "cause", 0),
        copa("He dropped the plate.", "It sang.", "It broke.", "effect", 1),
        copa("The cat hissed.", "A dog came in.", "The milk was warm.", "cause", 0),
    ],
    ("aps/super_glue", "multirc"): [
        multirc("Who bought the honey?", "The baker", 1),
        multirc("Who bought the honey?", "The miller's wife", 0),
        multirc("How many jars were sold?", "Nine", 1),
    ],
    ("aps/super_glue", "rte"): [
        entailment("The bridge was opened by the mayor in 1931.", "A mayor opened a bridge.", 0),
        entailment("The choir sings on Sundays.", "The choir has forty members.", 1),
        entailment("Two ships left the harbour at dawn.", "Ships left the harbour.", 0),
    ],
    ("aps/super_glue", "wic"): [
        wic("bank", "We sat on the bank of the river.", "The bank lent him money.", 0),
        wic("cold", "The soup was cold.", "A cold wind blew.", 1),
        wic("match", "She struck a match.", "The match ended in a draw.", 0),
    ],
    ("aps/super_glue", "wsc.fixed"): [
        wsc("Tom thanked Paul because he had paid the bill.", "Paul", "he", 1),
        wsc("Anna told her sister that she would be late.", "her sister", "she", 0),
        wsc("The cup fell off the shelf because it was wet.", "The cup", "it", 0),
    ],
    ("Rowan/hellaswag", None): [
        hellaswag(
            "Baking bread",
            "A man kneads dough on a table.",
            "he",
            "puts it in the oven./rides a horse./sings [substeps] to it./paints the wall.",
            0,
        ),
        hellaswag(
            "Washing a car",
            "[header] How to wash a car [title] Fill a bucket.",
            "then you",
            "sleep./wet the car with the hose./eat the sponge./sell the bucket.",
            1,
        ),
        hellaswag(
            "Rowing",
            "Two girls sit in a boat.",
            "they",
            "fly away./read aloud./plant a tree./pull at the oars together.",
            3,
        ),
    ],
    ("baber/piqa", None): [
        piqa("To open a jar", "run hot water over the lid", "put the jar under the bed", 0),
        piqa("To keep bread soft", "leave it in the sun", "wrap it in a cloth", 1),
        piqa("To sharpen a pencil", "use a knife", "use a spoon", 0),
    ],
    ("allenai/winogrande", "winogrande_xl"): [
        winogrande("Mary lent Jane a coat since _ was cold.", "Mary", "Jane", "2"),
        winogrande("The box would not go in the bag as the _ was big.", "box", "bag", "1"),
        winogrande("Sam beat Ned at chess, so _ bought the tea.", "Sam", "Ned", "2"),
    ],
    ("allenai/openbookqa", "main"): [
        openbookqa("Ice left in the sun will", "burn/melt/grow/sing", "B"),
        openbookqa("A plant without light", "runs/shines/dies/reads", "C"),
        openbookqa("A magnet draws", "iron/wood/glass/paper", "A"),
    ],
    ("google-research-datasets/nq_open", None): [
        {"question": "who keeps the light on the island", "answer": ["the keeper", "a keeper"]},
        {"question": "where does the river meet the sea", "answer": ["at the old harbour"]},
        {"question": "when was the mill built", "answer": ["1790"]},
    ],
    ("mandarjoshi/trivia_qa", "rc.nocontext"): [
        triviaqa("Which metal is liquid in a warm room", ["Mercury", "Quicksilver"]),
        triviaqa("Which bird lays its eggs in other birds' nests", ["The cuckoo", "Cuckoo"]),
        triviaqa("How many strings has a violin", ["Four", "4"]),
    ],
    ("truthfulqa/truthful_qa", "multiple_choice"): [
        truthful("Do toads give warts?", "No, they do not/Yes, if you touch one/Only at night"),
        truthful("What is the moon made of?", "Rock/Green cheese"),
        truthful("Can a cat see in full darkness?", "No, no animal can/Yes/Only black cats can"),
    ],
    ("allenai/ai2_arc", "ARC-Easy"): [
        arc("Which of these is a liquid?", "stone/milk/air/iron", "B"),
        arc("What do lungs take in?", "air/water/sand/light", "A"),
        arc("Which season follows winter?", "autumn/summer/spring", "C"),
    ],
    ("allenai/ai2_arc", "ARC-Challenge"): [
        arc(
            "Why does a spoon in hot tea get warm?", "heat flows/light bends/it rusts/it melts", "A"
        ),
        arc("What moves the tides most?", "wind/fish/rivers/the moon", "D"),
        arc("What turns milk sour?", "cold/bacteria/salt/glass", "B"),
    ],
    ("cais/mmlu", "anatomy"): [
        mmlu(" Where is the tibia? ", "anatomy", "the leg/the arm/the head/the back", 0),
        mmlu("Which organ pumps blood?", "anatomy", "liver/lung/heart/skin", 2),
        mmlu("How many ribs are common?", "anatomy", "ten/twelve/twenty/twenty-four", 3),
    ],
    ("cais/mmlu", "philosophy"): [
        mmlu("Who taught Plato?", "philosophy", "Hume/Socrates/Kant/Mill", 1),
        mmlu("Who wrote the Ethics in\nproofs?", "philosophy", "Spinoza/Locke/Marx/Hegel", 0),
        mmlu("Stoics praise", "philosophy", "wealth/pleasure/fame/virtue", 3),
    ],
}


# ---- the two models ----------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def own_rows() -> Iterator[None]:
    def load(path: str, name: str | None = None, **_: Any) -> datasets.DatasetDict:
        rows = datasets.Dataset.from_list(DATA[path, name])
        return datasets.DatasetDict(dict.fromkeys(SPLITS, rows))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", load)
        yield


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    stock = Path(tasks.__file__).parent
    folders: list[str | Path] = [stock / folder for folder in FOLDERS]
    return TaskManager(include_path=folders, include_defaults=False)  # all of them take seconds


def arguments() -> dict[str, Any]:
    lab = asset("model_configs") / "lab" / "pretrained"
    return {"pretrained": str(lab), "device": "cpu", "batch_size": 4, "max_length": 4096}


def evaluate(lm: HFLM, manager: TaskManager, names: Sequence[str], shots: int | None) -> Any:
    return simple_evaluate(
        model=lm,
        tasks=list(names),
        task_manager=manager,
        num_fewshot=shots,
        gen_kwargs={"max_gen_toks": 64},
        bootstrap_iters=0,
        log_samples=True,
    )


@pytest.fixture(scope="module")
def theirs() -> HFLM:
    return HFLM(**arguments())


@pytest.fixture(scope="module")
def ours() -> ScalingRopeLM:
    return ScalingRopeLM(**arguments())


@pytest.fixture(scope="module", params=[None, 2], ids=["own_shots", "two_shots"])
def both(
    request: pytest.FixtureRequest, theirs: HFLM, ours: ScalingRopeLM, manager: TaskManager
) -> tuple[Any, Any]:
    a, b = (evaluate(lm, manager, TASKS, request.param) for lm in (theirs, ours))
    return a, b


def answers(results: Any, task: str) -> list[list[Any]]:
    """Return what the model answered to each request of each document, in order."""
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    assert len(samples) == 3
    return [[answer for (answer,) in sample["resps"]] for sample in samples]


def metrics(results: Any, task: str) -> dict[str, float]:
    return {k: v for k, v in results["results"][task].items() if isinstance(v, float)}


# ---- the tests ---------------------------------------------------------------------------------


def test_every_task_of_the_group_is_here(manager: TaskManager) -> None:
    group = yaml.safe_load(GROUP.read_text())["task"]
    stands_for = {"mmlu": MMLU}
    assert tuple(task for name in group for task in stands_for.get(name, (name,))) == TASKS
    assert manager.task_index["super-glue-lm-eval-v1"].tags == {*SUPER_GLUE, "record"}


@pytest.mark.parametrize("task", TASKS)
def test_neutral_equals_hf(task: str, both: tuple[Any, Any]) -> None:
    a, b = both
    for doc_a, doc_b in zip(answers(a, task), answers(b, task), strict=True):
        if task in GENERATED:
            assert doc_b == doc_a
            continue
        logprobs_a, greedy_a = zip(*doc_a, strict=True)
        logprobs_b, greedy_b = zip(*doc_b, strict=True)
        assert logprobs_b == pytest.approx(logprobs_a, abs=TOLERANCE, rel=0)
        assert greedy_b == greedy_a
    assert metrics(a, task)
    assert metrics(b, task) == pytest.approx(metrics(a, task), rel=TOLERANCE)


def test_another_base_answers_otherwise(theirs: HFLM, manager: TaskManager) -> None:
    moved = ScalingRopeLM(**arguments(), rope_theta=500)
    names = ("lambada_openai", "nq_open", "mmlu_anatomy")
    a, b = (evaluate(lm, manager, names, 2) for lm in (theirs, moved))
    assert answers(a, "nq_open") != answers(b, "nq_open")
    for task in ("lambada_openai", "mmlu_anatomy"):
        pairs = zip(chain(*answers(a, task)), chain(*answers(b, task)), strict=True)
        assert max(abs(x[0] - y[0]) for x, y in pairs) > 100 * TOLERANCE
