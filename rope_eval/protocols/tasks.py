"""A task of a protocol: which questions it asks, of what data, and what is recorded of it.

Both hosts ask here, so that a task has the same questions in the same order under either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.protocols import datasets
from rope_eval.protocols.datasets import PROMPTS, Source
from rope_eval.protocols.documents import Doc, mmlu_shot, questions

OWN_PROTOCOLS = ("paper", "leval")
MMLU: tuple[str, ...] = tuple(PROMPTS["mmlu_subjects"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """What a task asks.

    Attributes:
        docs: the questions.
        sha256: the digest of the rows that they come from.
    """

    docs: list[Doc]
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A column of Tables 3 to 5, or a part of one, by a protocol.

    Attributes:
        protocol: one of `OWN_PROTOCOLS`.
        entry: the protocol's, in prompts.yaml.
        subject: of MMLU; None for every other entry.

    Raises:
        SpecError: for what prompts.yaml does not have.
    """

    protocol: str
    entry: str
    subject: str | None = None

    def __post_init__(self) -> None:
        _known("protocol", self.protocol, OWN_PROTOCOLS)
        _known(f"entry of protocol {self.protocol}", self.entry, PROMPTS[self.protocol])
        if self.entry == "mmlu":
            _known("subject of MMLU", str(self.subject), MMLU)
        elif self.subject is not None:
            raise SpecError(f"{self.entry} has no subjects, got {self.subject!r}: leave it out")

    @property
    def name(self) -> str:
        """Return the task's name, the same under both hosts."""
        parts = ("rope", self.protocol, self.entry, self.subject)
        return "_".join(part for part in parts if part)

    @property
    def strings(self) -> Mapping[str, Any]:
        """Return what the protocol fixes of it."""
        strings: Mapping[str, Any] = PROMPTS[self.protocol][self.entry]
        return strings

    @property
    def source(self) -> Source:
        """Return where its questions are."""
        return datasets.SOURCES[self._data("test")]

    def questions(self, data_dir: str | Path | None = None) -> Questions:
        """Return its questions.

        Args:
            data_dir: a folder to read instead of the hub.

        Raises:
            DataError: where they cannot be read, or are not as expected.
        """
        rows = datasets.read(self.source.name, data_dir)
        return Questions(
            docs=questions(self.entry, rows), sha256=datasets.digest(self.source.name, rows)
        )

    def shots(self, data_dir: str | Path | None = None) -> list[Doc]:
        """Return the examples before each question, as many as the protocol has.

        Raises:
            DataError: where there are fewer, or they cannot be read.
        """
        count = self.strings.get("shots", 0)
        if not count:
            return []
        rows = datasets.read(self._data("dev"), data_dir)
        if len(rows) < count:
            raise DataError(f"{self._data('dev')}: {len(rows)} rows, want the {count} examples")
        return [mmlu_shot(row) for row in rows[:count]]

    def missing(self, data_dir: str | Path | None = None) -> str | None:
        """Say which of its data is surely not there, without reading any; None where none is."""
        if data_dir is None:
            return None if self.source.repository else f"the hub does not have {self.source}"
        file = self.source.file_in(data_dir)
        return None if file.is_file() else f"there is no {file}"

    def record(self) -> dict[str, Any]:
        """Return what is recorded of it whether or not it runs."""
        return {
            "protocol": self.protocol,
            "column": self.strings["column"],
            "config": self.strings.get("config"),
        }

    def record_of_data(self, data_dir: str | Path | None) -> dict[str, str]:
        """Return what is recorded of where its questions come from."""
        return {"data": str(self.source), "data_from": "hub" if data_dir is None else "folder"}

    def _data(self, split: str) -> str:
        name: str = self.strings["data"]
        return f"{name}/{self.subject}_{split}" if self.subject else name


def tasks_of(protocol: str, entry: str) -> Iterator[Task]:
    """Yield the tasks of an entry of prompts.yaml: MMLU's subjects, or itself."""
    for subject in MMLU if entry == "mmlu" else (None,):
        yield Task(protocol=protocol, entry=entry, subject=subject)


def _groups() -> dict[tuple[str, str], tuple[str, ...]]:
    paper = PROMPTS["paper"]
    glue = tuple(entry for entry in paper if paper[entry]["column"] == "SuperGLUE")
    long = tuple(entry for entry in paper if paper[entry].get("long"))
    short = [entry for entry in paper if entry not in ("mmlu", *glue, *long)]
    short.insert(1, "super_glue")  # the tables' order
    return {
        ("paper", "all"): ("short", "mmlu", "leval"),
        ("paper", "short"): tuple(short),
        ("paper", "super_glue"): glue,
        ("paper", "leval"): long,
        ("leval", "all"): tuple(PROMPTS["leval"]),
    }


GROUPS: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(_groups())
"""The groups by protocol and name: each holds entries, and other groups."""


def group_name(protocol: str, group: str) -> str:
    """Return a group's name, the same under both hosts.

    >>> group_name("paper", "short"), group_name("paper", "all")
    ('rope_paper_short', 'rope_paper')
    """
    return f"rope_{protocol}" if group == "all" else f"rope_{protocol}_{group}"


def entries_of(protocol: str, name: str) -> tuple[str, ...]:
    """Return the entries of a group and of the groups in it, or the entry of this name alone."""
    if (protocol, name) not in GROUPS:
        return (name,)
    return tuple(
        entry for member in GROUPS[protocol, name] for entry in entries_of(protocol, member)
    )


def at_hand(
    protocol: str, name: str, data_dir: str | Path | None
) -> Iterator[tuple[Task, str | None]]:
    """Yield the tasks of an entry or a group, and of a group's why they are left out, or None.

    What is asked for by its own name is never left out: that it has no data is an error then.

    Args:
        protocol: of prompts.yaml.
        name: of `GROUPS`, or an entry.
        data_dir: a folder to read instead of the hub.
    """
    of_group = (protocol, name) in GROUPS
    for entry in entries_of(protocol, name):
        for task in tasks_of(protocol, entry):
            yield task, task.missing(data_dir) if of_group else None


def _known(what: str, name: str, names: Mapping[str, Any] | tuple[str, ...]) -> None:
    if name not in names:
        raise SpecError(
            f"there is no {what} {name!r}.{did_you_mean(name, names)} Choose one of "
            f"{', '.join(names)}"
        )
