"""The data sets of Tables 3 to 5: rows from the hub, or from a folder of JSONL files.

A folder holds ``<name>.jsonl`` for each `Source`, one row a line with the columns that the hub's
data set has; see docs/protocols.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from rope_eval.data.readers import read_hub, read_rows
from rope_eval.errors import DataError
from rope_eval.paths import is_directory
from rope_eval.protocols.dpr import read_questions

Row = Mapping[str, Any]
PROMPTS = yaml.load(
    Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8"),
    Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
)
"""The strings and limits that the protocols fix; see the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where the rows of one data set are.

    Attributes:
        name: its file in a folder, without ``.jsonl``; may hold a ``/``.
        columns: what each row must have.
        repository: the data set on the hub; None where the hub has no such split.
        config: the hub's name of the part, or None.
        split: the hub's name of the split.
        files: where the hub has a loading script, which datasets 4 and later refuse: the files to
            read instead.
        elsewhere: where to get a split that the hub does not have.
        dpr: what DPR calls the file that OpenCompass reads; a folder may hold it instead.
    """

    name: str
    columns: tuple[str, ...]
    repository: str | None = None
    config: str | None = None
    split: str = "validation"
    files: str | None = None
    elsewhere: str = ""
    dpr: str | None = None

    def file_in(self, folder: str | Path) -> Path:
        """Return its file in a folder: its own where that is there, else DPR's, else its own."""
        own = Path(folder) / f"{self.name}.jsonl"
        others = [Path(folder) / self.dpr] if self.dpr else []
        return next((file for file in (own, *others) if file.is_file()), own)

    def __str__(self) -> str:
        """Say which data set this is, for messages and records."""
        parts = (self.repository, self.config, self.split)
        return " ".join(part for part in parts if part) if self.repository else self.elsewhere


def _super_glue(name: str, *columns: str, split: str = "validation") -> Source:
    return Source(
        name=f"super_glue/{name}",
        columns=(*columns, "label"),
        repository="aps/super_glue",
        config=name,
        split=split,
    )


def _leval(name: str) -> Source:
    return Source(
        name=f"leval/{name}",
        columns=("input", "instructions", "outputs"),
        repository="L4NLP/LEval",
        config=name,
        split="test",
        files=f"hf://datasets/L4NLP/LEval/**/{name}.jsonl",
    )


def _mmlu(subject: str, split: str) -> Source:
    return Source(
        name=f"mmlu/{subject}_{split}",
        columns=("question", "choices", "answer"),
        repository="cais/mmlu",
        config=subject,
        split=split,
    )


def _arc(name: str, config: str) -> Source:
    return Source(
        name=name,
        columns=("question", "choices", "answerKey"),
        repository="allenai/ai2_arc",
        config=config,
    )


_ALL = (
    Source(
        name="lambada",
        columns=("text",),
        repository="EleutherAI/lambada_openai",
        config="default",
        split="test",
    ),
    _super_glue("boolq", "question", "passage"),
    _super_glue("cb", "premise", "hypothesis"),
    _super_glue("copa", "premise", "choice1", "choice2", "question"),
    _super_glue("multirc", "paragraph", "question", "answer"),
    _super_glue("rte", "premise", "hypothesis"),
    Source(
        name="super_glue/record",
        columns=("passage", "query", "answers"),
        repository="aps/super_glue",
        config="record",
    ),
    _super_glue("wic", "word", "sentence1", "sentence2"),
    _super_glue("wsc", "text", "span1_text", "span2_text", "span2_index"),
    _super_glue("axb", "sentence1", "sentence2", split="test"),
    _super_glue("axg", "premise", "hypothesis", split="test"),
    Source(name="hellaswag", columns=("ctx", "endings", "label"), repository="Rowan/hellaswag"),
    Source(name="piqa", columns=("goal", "sol1", "sol2", "label"), repository="baber/piqa"),
    Source(
        name="winogrande",
        columns=("sentence", "option1", "option2", "answer"),
        repository="allenai/winogrande",
        config="winogrande_xs",
    ),
    Source(
        name="openbookqa",
        columns=("question_stem", "choices", "answerKey"),
        repository="allenai/openbookqa",
        config="main",
        split="test",
    ),
    Source(
        name="nq_open",
        columns=("question", "answer"),
        repository="google-research-datasets/nq_open",
        dpr="nq-test.qa.csv",
    ),
    Source(
        name="triviaqa",
        columns=("question", "answer"),
        elsewhere="the 8837 questions of DPR's trivia-dev.qa.csv, which the hub does not have",
        dpr="trivia-dev.qa.csv",
    ),
    Source(
        name="truthfulqa",
        columns=("question", "choices", "label"),
        repository="EleutherAI/truthful_qa_mc",
        config="multiple_choice",
        files="hf://datasets/EleutherAI/truthful_qa_mc@refs%2Fconvert%2Fparquet/**/*.parquet",
    ),
    _arc("arc_easy", "ARC-Easy"),
    _arc("arc_challenge", "ARC-Challenge"),
    *(_mmlu(subject, split) for subject in PROMPTS["mmlu_subjects"] for split in ("dev", "test")),
    *map(_leval, ("gsm100", "tpo", "topic_retrieval_longchat", "quality", "coursera")),
)
SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in _ALL})
"""Every data set that the tasks read, by its name."""


def read(name: str, data_dir: str | Path | None = None) -> list[Row]:
    """Return the rows of a data set.

    Args:
        name: one of `SOURCES`.
        data_dir: a folder to read instead of the hub.

    Raises:
        DataError: where they cannot be read, there are none, or they lack a column.
    """
    source = SOURCES[name]
    if data_dir is None:
        rows, where = _hub(source), str(source)
    else:
        path = source.file_in(data_dir)
        rows, where = _rows(source, path), str(path)
    if not rows:
        raise DataError(f"{where}: no row in it")
    for number, row in enumerate(rows, start=1):
        if missing := [column for column in source.columns if column not in row]:
            raise DataError(
                f"{where}, row {number}: has no {', '.join(missing)} (it has "
                f"{', '.join(row) or 'nothing'}); want the columns {', '.join(source.columns)}"
            )
        try:
            json.dumps(row, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            where = f"{where}, row {number}"
            raise DataError(f"{where}: holds a lone surrogate, not a character") from error
    return rows


def check_folder(data_dir: str | Path) -> None:
    """Raise `DataError` for a folder that holds none of the data sets, or is none."""
    folder = Path(data_dir)
    if not is_directory(str(folder)) or not any(
        source.file_in(folder).is_file() for source in SOURCES.values()
    ):
        raise DataError(
            f"data_dir={data_dir}: holds none of the data sets, such as lambada.jsonl or "
            "leval/tpo.jsonl"
        )


def digest(name: str, rows: Sequence[Row]) -> str:
    """Return the SHA-256 of a data set's rows, in hex, by the columns that its `Source` names."""
    sha = hashlib.sha256()
    for row in rows:
        part = {column: row[column] for column in SOURCES[name].columns}
        sha.update(json.dumps(part, sort_keys=True, ensure_ascii=False).encode())
    return sha.hexdigest()


def _rows(source: Source, path: Path) -> list[Row]:
    if path.name == source.dpr:
        return list(read_questions(path))
    if not path.exists():
        raise DataError(
            f"no file {path}: put {source} there, one JSON object a line with the columns "
            f"{', '.join(source.columns)}"
        )
    return [row for _, row in read_rows(path)]


def _hub(source: Source) -> list[Row]:
    if source.repository is None:
        raise DataError(
            f"{source.name}: put {source.elsewhere}, in a folder, as {source.dpr} or as "
            f"{source.name}.jsonl, and give that folder as --metadata data_dir=DIR"
        )
    return list(
        read_hub(
            source.repository,
            source.config,
            split=source.split,
            files=source.files,
            instead=f"put it at {source.name}.jsonl in a folder and give that as --metadata "
            "data_dir=DIR",
        )
    )
