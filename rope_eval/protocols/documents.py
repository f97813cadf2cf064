"""Rows of the data sets as questions: the fields of a prompt, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from rope_eval.errors import DataError
from rope_eval.protocols.datasets import Row

Doc = dict[str, Any]
"""The fields that a prompt names, and ``gold``: a label of the choices, or what a rule marks."""

ENTAILMENT = ("entailment", "not_entailment")
LETTERS = "ABCD"


def questions(entry: str, rows: list[Row]) -> list[Doc]:
    """Return the questions that a data set's rows hold, in their order.

    Args:
        entry: the name of a task's entry in prompts.yaml.
        rows: its data set, as `datasets.read` returns it.

    Raises:
        DataError: for a row that holds something else than its columns promise.
    """
    make = _MAKERS[entry]
    docs: list[Doc] = []
    for number, row in enumerate(rows, start=1):
        try:
            docs += make(row)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the data of {entry}, row {number}: not as expected: "
                f"{type(error).__name__}: {error}"
            ) from error
    if not docs:
        raise DataError(f"the data of {entry}: no question in {len(rows)} rows")
    return docs


def mmlu_shot(row: Row) -> Doc:
    """Return an example of MMLU with its answer as ``target``."""
    fields = _mmlu(row)[0]
    return fields | {"target": fields["gold"]}


def _lettered(texts: list[str]) -> Doc:
    return dict(zip(LETTERS, texts, strict=True))


def _lambada(row: Row) -> list[Doc]:
    prompt, word = row["text"].strip().rsplit(" ", 1)
    return [{"prompt": prompt, "gold": word}]


def _labelled(*columns: str, labels: tuple[str, ...] = ("0", "1")) -> Callable[[Row], list[Doc]]:
    def make(row: Row) -> list[Doc]:
        return [{column: row[column] for column in columns} | {"gold": _label(row, labels)}]

    return make


def _label(row: Row, labels: tuple[str, ...]) -> str:
    number = int(row["label"])
    if number < 0:
        raise ValueError(f"label {number}: a row without its answer")
    return labels[number]


def _multirc(row: Row) -> list[Doc]:
    fields = {"text": row["paragraph"], "question": row["question"], "answer": row["answer"]}
    return [fields | {"gold": _label(row, ("0", "1"))}]


def _record(row: Row) -> list[Doc]:
    return [
        {
            "text": row["passage"].replace("@highlight", ""),
            "question": row["query"].replace("@placeholder", "____"),
            "gold": list(row["answers"]),
        }
    ]


def _wsc(row: Row) -> list[Doc]:
    if " " in row["span2_text"]:
        raise ValueError(f"a pronoun of more than one word: {row['span2_text']!r}")
    words = row["text"].split(" ")
    words[row["span2_index"]] = row["span1_text"]
    fields = {"text": row["text"], "new_text": " ".join(words)}
    return [fields | {"gold": _label(row, ("0", "1"))}]


def _hellaswag(row: Row) -> list[Doc]:
    gold = _label(row, ("0", "1", "2", "3"))
    return [{"ctx": row["ctx"], **_lettered(row["endings"]), "gold": gold}]


def _winogrande(row: Row) -> list[Doc]:
    sentence, gold = row["sentence"], str(row["answer"])
    if gold not in ("1", "2"):
        raise ValueError(f"answer {gold!r}: want 1 or 2")
    options = {f"opt{i}": sentence.replace("_", row[f"option{i}"]) for i in (1, 2)}
    return [options | {"gold": gold}]


def _openbookqa(row: Row) -> list[Doc]:
    fields = {"question_stem": row["question_stem"], **_lettered(row["choices"]["text"])}
    return [fields | {"gold": row["answerKey"]}]


def _answers(row: Row) -> list[Doc]:
    return [{"question": row["question"], "gold": list(row["answer"])}]


def _truthfulqa(row: Row) -> list[Doc]:
    gold = LETTERS[int(row["label"])]
    return [{"question": row["question"], **_lettered(row["choices"]), "gold": gold}]


def _arc(row: Row) -> list[Doc]:
    texts = row["choices"]["text"]
    if len(texts) != 4:
        return []
    fields = {f"text{letter}": text for letter, text in _lettered(texts).items()}
    # As in October 2023: a key that is a number ("1" to "4") equals no letter, and is never met.
    return [{"question": row["question"], **fields, "gold": row["answerKey"]}]


def _mmlu(row: Row) -> list[Doc]:
    gold = LETTERS[int(row["answer"])]
    return [{"input": row["question"], **_lettered(row["choices"]), "gold": gold}]


def _leval(row: Row) -> Iterator[Doc]:
    for question, answer in zip(row["instructions"], row["outputs"], strict=True):
        yield {"context": row["input"], "question": question, "gold": answer}


def _quality(row: Row) -> Iterator[Doc]:
    for doc in _leval(row):
        yield doc | {"gold": doc["gold"][1]}


_MAKERS: Mapping[str, Callable[[Row], Any]] = MappingProxyType(
    {
        "lambada": _lambada,
        "boolq": _labelled("passage", "question"),
        "cb": _labelled("premise", "hypothesis", labels=("entailment", "contradiction", "neutral")),
        "copa": _labelled("premise", "question", "choice1", "choice2"),
        "multirc": _multirc,
        "rte": _labelled("premise", "hypothesis", labels=ENTAILMENT),
        "record": _record,
        "wic": _labelled("word", "sentence1", "sentence2"),
        "wsc": _wsc,
        "axb": _labelled("sentence1", "sentence2", labels=ENTAILMENT),
        "axg": _labelled("premise", "hypothesis", labels=ENTAILMENT),
        "hellaswag": _hellaswag,
        "piqa": _labelled("goal", "sol1", "sol2"),
        "winogrande": _winogrande,
        "obqa": _openbookqa,
        "nq": _answers,
        "triviaqa": _answers,
        "truthfulqa": _truthfulqa,
        "arc_e": _arc,
        "arc_c": _arc,
        "mmlu": _mmlu,
        "gsm": _leval,
        "toefl": _leval,
        "topicret": _leval,
        "quality": _quality,
        "coursera": _leval,
    }
)
