"""NoLiMa and HELMET's JSON KV through lm-eval, with a model that reads up to a length."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from rope_eval.errors import DataError, LengthError, SpecError, UnsupportedModelError
from rope_eval.results.metrics import measurement_of

ROOT = Path(__file__).parents[3]
ENTRY = {
    "id": "0001",
    "needle": "In spring {CHAR} mended a roof beside {1}.",
    "questions": {"onehop": "Which character has been to {2}?"},
    "character_set": ["Nell", "Ruth", "Tom"],
    "tests": {
        "T1": {"input_args": ["the salt museum", "Lund"]},
        "T2": {"input_args": ["the tide mill", "Brest"]},
    },
}
PLACES = {"Lund": "the salt museum", "Brest": "the tide mill"}


class Words:
    """A fast tokenizer whose tokens are words, each with what is around it."""

    is_fast = True

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"offset_mapping": [match.span() for match in re.finditer(r"\S+\s?|\s", text)]}


class Reader(LM):
    """Finds what is asked for in a prompt of at most so many words."""

    max_length = 3000
    tokenizer: Any = Words()

    def __init__(self, reads: int):
        super().__init__()
        self.reads = reads
        self.asked: list[str] = []

    def tok_encode(self, text: str) -> list[int]:
        return list(range(1 + len(self.tokenizer(text)["offset_mapping"])))

    def apply_chat_template(self, messages: Any, add_generation_prompt: bool = True) -> str:
        (message,) = messages
        return f"<user>{message['content']}<model>"

    @property
    def tokenizer_name(self) -> str:
        return "words"

    def chat_template(self, _: Any = False) -> str:
        return "<user>{}<model>"

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [self.answer(*request.args) for request in requests]

    def answer(self, prompt: str, generation: dict[str, Any]) -> str:
        assert generation["do_sample"] is False
        self.asked.append(prompt)
        if len(self.tok_encode(prompt)) > self.reads:
            return "I do not know"
        if "JSON data" in prompt:
            key = prompt.rsplit("Key: ", 1)[1].split("\n", maxsplit=1)[0]
            found = re.search(f'"{key}": "([^"]+)"', prompt)
        else:
            (town,) = re.findall("has been to ([A-Z][a-z]+)", prompt)
            found = re.search(rf"(\w+) mended a roof beside {PLACES[town]}", prompt)
        assert found is not None
        return f" It is {found[1]}."

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise AssertionError("nothing but generations is asked for")

    loglikelihood_rolling = loglikelihood  # type: ignore[assignment]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "needlesets").mkdir()
    (tmp_path / "needlesets/needle_set.json").write_text(json.dumps([ENTRY]))
    (tmp_path / "haystack/rand_shuffle").mkdir(parents=True)
    for n in (1, 2):
        text = "".join(f"b{n}w{i}{chr(10) if i % 9 == 8 else ' '}" for i in range(2000))
        (tmp_path / f"haystack/rand_shuffle/rand_book_{n}.txt").write_text(text)
    return tmp_path


def evaluate(lm: LM, task: str, *, chat: bool = False, **metadata: Any) -> dict[str, Any]:
    manager = TaskManager(
        include_path=str(ROOT / "tasks"), include_defaults=False, metadata=metadata
    )
    found: dict[str, Any] = simple_evaluate(
        lm, tasks=[task], task_manager=manager, bootstrap_iters=0, apply_chat_template=chat
    )
    return found


def test_nolima_is_scored_by_length_and_depth(folder: Path) -> None:
    given = {"lengths": [100, 500], "depths": [0, 0.5, 1], "books": 2, "data_dir": str(folder)}
    reader = Reader(300)
    found = evaluate(reader, "nolima", **given)
    scores = found["results"]["nolima"]
    assert scores["accuracy@100,none"] == 1 and scores["accuracy@500,none"] == 0
    assert [scores[f"accuracy_depth_{d}@100,none"] for d in ("0", "0.5", "1")] == [1, 1, 1]
    assert len(found["samples"]["nolima"]) == 4  # two tests, each in two books
    assert len(reader.asked) == 4 * 2 * 3
    record = found["configs"]["nolima"]["metadata"]
    assert len(record["data_sha256"]) == 64 and record["lengths"] == [100, 500]


def test_json_kv_fills_its_length(folder: Path) -> None:
    given = {"max_seq_lengths": [400, 1500], "depths": [0, 1], "samples": 3}
    reader = Reader(400)
    scores = evaluate(reader, "helmet_json_kv", **given)["results"]["helmet_json_kv"]
    assert scores["accuracy@400,none"] == 1 and scores["accuracy@1500,none"] == 0
    lengths = {len(reader.tok_encode(prompt)) + 100 for prompt in reader.asked}
    assert all(any(n - 3 <= one <= n for n in (400, 1500)) for one in lengths)
    assert measurement_of("helmet_json_kv") == "helmet"


def test_a_chat_template_goes_around_the_whole_prompt(folder: Path) -> None:
    reader = Reader(300)
    given = {"lengths": 100, "depths": 0.5, "books": 1, "data_dir": str(folder)}
    evaluate(reader, "nolima", chat=True, **given)
    assert all(prompt.startswith("<user>b1w") for prompt in reader.asked)
    assert all(prompt.endswith("Answer:<model>") for prompt in reader.asked)


@pytest.mark.parametrize(
    ("metadata", "kind", "message"),
    [
        ({"lengths": [2900]}, LengthError, "no 2900 around a needle"),
        ({"lengths": []}, SpecError, r"lengths must be a number or a list .* got \[\]"),
        ({"lengths": [100, 100]}, SpecError, "list of different ones"),
        ({"lengths": ["a"]}, SpecError, "list of different ones"),
        ({"depths": [1.5]}, SpecError, "depths must be parts of a text, 0 to 1"),
        ({"books": 0}, SpecError, "books must be a whole number of 1 or more"),
        ({"needle_set": "mine"}, DataError, r"needlesets/mine\.json: cannot be read"),
        ({"needel_set": "mine"}, SpecError, "Did you mean 'needle_set'"),
        ({"max_gen_toks": 2950}, LengthError, "the model's max_length is 3000"),
    ],
)
def test_a_mistake_is_named(
    folder: Path, metadata: dict[str, Any], kind: type[Exception], message: str
) -> None:
    given = {"lengths": [100], "depths": [0.5], "books": 1, "data_dir": str(folder)}
    with pytest.raises(kind, match=message):
        evaluate(Reader(10), "nolima", **(given | metadata))


class Remote(Reader):
    tokenizer = None


def test_a_model_without_its_tokenizer_is_refused(folder: Path) -> None:
    given = {"lengths": [100], "depths": [0.5], "books": 1, "data_dir": str(folder)}
    with pytest.raises(UnsupportedModelError, match="Remote has no fast tokenizer here"):
        evaluate(Remote(10), "nolima", **given)
