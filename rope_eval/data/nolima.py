"""NoLiMa (arXiv 2502.05167): needles without a word of their questions, and where they stand.

The needles and books are the authors', under the Adobe Research License (noncommercial research);
they are read from the hub or from a folder, and none is shipped. How they are put together follows
Section 3 of the paper and its published runs.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rope_eval.data.readers import read_text
from rope_eval.errors import DataError, LengthError

REPOSITORY = "amodaresi/NoLiMa"
CHARACTER = "{CHAR}"
OWN_TEMPLATE = (
    "{haystack}\n\nAnswer from the text above, in as few words as you can.\n"
    "Question: {question}\nAnswer:"
)
"""The prompt of a needle that comes without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needle:
    """A needle, the question that it answers, and the prompt around both.

    Attributes:
        name: the needle's, the test's and the question's.
        text: the needle; `CHARACTER` in it stands for a name.
        question: what is asked.
        characters: the names that may be put in, one of which is the answer.
        golds: the answers of a needle without a name.
        template: the prompt, with ``{haystack}`` and ``{question}``.
    """

    name: str
    text: str
    question: str
    characters: tuple[str, ...]
    golds: tuple[str, ...]
    template: str

    def __post_init__(self) -> None:
        named = CHARACTER in self.text
        if not (self.characters if named else self.golds):
            what = "character_set" if named else "gold_answers"
            raise DataError(f"{self.name}: has no {what}, so nothing answers its question")
        if not all(part in self.template for part in ("{haystack}", "{question}")):
            raise DataError(f"{self.name}: a task_template needs {{haystack}} and {{question}}")
        try:
            self.template.format(haystack="", question="")
        except (LookupError, ValueError) as error:
            raise DataError(
                f"{self.name}: a task_template takes {{haystack}} and {{question}} alone, and "
                f"other braces doubled: {type(error).__name__}: {error}"
            ) from error

    def drawn(self, seed: object) -> tuple[str, str, tuple[str, ...]]:
        """Return the needle and the question with a name put in, and the answers to accept."""
        if CHARACTER not in self.text:
            return self.text, self.question, self.golds
        name = random.Random(f"{seed}:{self.name}").choice(self.characters)
        put = (text.replace(CHARACTER, name) for text in (self.text, self.question))
        return next(put), next(put), (name,)


def needles_of(sets: Sequence[Mapping[str, Any]]) -> Iterator[Needle]:
    """Yield the needles of a needle set: one for each of its questions and tests.

    Raises:
        DataError: for an entry of another form.
    """
    for number, entry in enumerate(sets, start=1):
        try:
            for kind, question in entry["questions"].items():
                for test, given in entry["tests"].items():
                    yield Needle(
                        name=f"{entry['id']}_{test}_{kind}",
                        text=_filled(entry["needle"], given["input_args"]),
                        question=_filled(question, given["input_args"]),
                        characters=tuple(entry.get("character_set") or ()),
                        golds=tuple(given.get("gold_answers") or ()),
                        template=entry.get("task_template") or OWN_TEMPLATE,
                    )
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"needle {number} of the set: not as expected: {type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Haystack:
    """A book, cut into tokens.

    Attributes:
        text: the book.
        spans: of each token, where it begins and ends in the text.
    """

    text: str = field(repr=False)
    spans: Sequence[tuple[int, int]] = field(repr=False)

    def around(self, needle: str, *, length: int, depth: float) -> str:
        """Return `length` tokens of the book with a needle at a depth, on a line of its own.

        It stands where a line of the book ends, at or next after the depth; what is before it in
        the book decides where the `length` tokens begin.

        Args:
            needle: what is put in; it is not counted.
            length: tokens of the book.
            depth: the part of them before the needle, 0 to 1.

        Raises:
            LengthError: where the book is too short.
        """
        ends = [0, *(i for i, (a, b) in enumerate(self.spans) if "\n" in self.text[a:b])]
        at = bisect.bisect_left(ends, depth * (length + 1))
        start = max(ends[at] - round(length * depth), 0) if at < len(ends) else len(self.spans)
        if start + length > len(self.spans):
            raise LengthError(
                f"a book of {len(self.spans)} tokens has no {length} around a needle at depth "
                f"{depth}: ask for shorter lengths"
            )
        place = self.spans[ends[at]][1]
        before = self.text[self.spans[start][0] : place].rpartition("\n")[0]
        after = self.text[place : self.spans[start + length - 1][1]]
        return f"{before} {needle}\n{after}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NolimaData:
    """The needles and the books of a run.

    Attributes:
        needles: in the order of the set.
        books: their texts, by their names.
        sha256: of all files together.
    """

    needles: tuple[Needle, ...]
    books: Mapping[str, str] = field(repr=False)
    sha256: str


def read_nolima(needle_set: str, books: int, data_dir: str | None = None) -> NolimaData:
    """Read a needle set and the first books.

    Args:
        needle_set: such as ``needle_set``, a file of ``needlesets/``.
        books: how many.
        data_dir: a folder laid out as the repository, to read instead of the hub.

    Raises:
        DataError: where a file is missing or of another form, or the hub is out of reach.
    """
    names = [f"haystack/rand_shuffle/rand_book_{n}.txt" for n in range(1, books + 1)]
    path = _file(f"needlesets/{needle_set}.json", data_dir)
    texts = [read_text(path), *(read_text(_file(name, data_dir)) for name in names)]
    try:
        sets = json.loads(texts[0])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(sets, list) or not sets:
        raise DataError(f"{path}: want a list of needles, got {type(sets).__name__}")
    return NolimaData(
        needles=tuple(needles_of(sets)),
        books=dict(zip(names, texts[1:], strict=True)),
        sha256=hashlib.sha256("\0".join(texts).encode()).hexdigest(),
    )


def _file(name: str, data_dir: str | None) -> Path:
    if data_dir is not None:
        return Path(data_dir) / name
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(REPOSITORY, name, repo_type="dataset"))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise DataError(
            f"{name} of {REPOSITORY} cannot be read from the Hugging Face hub: "
            f"{' '.join(str(error).split())}. Where the hub is out of reach, put it at this path "
            "in a folder and give that as --metadata data_dir=DIR"
        ) from error


def _filled(text: str, arguments: Sequence[str]) -> str:
    for number, argument in enumerate(arguments, start=1):
        text = text.replace(f"{{{number}}}", argument)
    return text
