"""Documents to score: the builtin book, Books3, PG-19, Proof-pile, GovReport, and files.

Everything streams: one document is in memory at a time, never a whole collection, and a fault in
a file is met when the reading gets there. Nothing is written beside the user's data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rope_eval.data.readers import (
    JSONL_SUFFIXES,
    TABLE_SUFFIX,
    TEXT_SUFFIXES,
    read_hub,
    read_rows,
    read_table,
    read_text,
)
from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.lengths import check_count

BUILTIN_NAME = "python-documentation"
BOOKS3 = "Books3"
PG19_REPOSITORY = "emozilla/pg19"
PG19_SPLITS = ("test", "validation", "train")
_PIECE = 1 << 20  # characters
_ROWS = (*JSONL_SUFFIXES, TABLE_SUFFIX)
_SAVED = ("state.json", "dataset_dict.json")  # by `datasets`
PROOF_PILE = "proof-pile"
GOV_REPORT = "govreport"
TEST_SETS = {
    PROOF_PILE: "emozilla/proofpile-test-tokenized",
    GOV_REPORT: "emozilla/govreport-test-tokenized",
}
"""Test splits in parquet with the texts, by their words: what YaRN's eval.sh reads."""
SOURCE_WORDS = (
    "builtin",
    "builtin-chapters",
    "pg19",
    *(f"pg19:{split}" for split in PG19_SPLITS),
    *TEST_SETS,
)
_TEXT_OF = (("report", "summary"), ("input", "output"))
"""Columns that hold a text where another is there too: GovReport's, and its of SCROLLS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text to score.

    Attributes:
        name: what to call it in tables. Names may repeat: the identity is the digest.
        text: the whole text; never empty.
    """

    name: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text's UTF-8 bytes, in hex: the same text is the same document."""
        digest = hashlib.sha256()
        for start in range(0, len(self.text), _PIECE):
            digest.update(self.text[start : start + _PIECE].encode())
        return digest.hexdigest()


def read_books(
    source: str | Path, *, limit: int | None = None, whole_pile: bool = False
) -> Iterator[Document]:
    r"""Read documents one by one.

    The words below win over a file or folder of that name; a ``Path``, or ``./pg19``, is always
    the path.

    - ``builtin``: the documentation that every Python interpreter carries, as one document. Its
      text differs between Python versions, and so does its digest.
    - ``builtin-chapters``: the same text, a document for each topic.
    - ``pg19``, ``pg19:validation``, ``pg19:train``: a split of PG-19 (arXiv 1911.05507) from the
      Hugging Face hub, ``test`` by default. The original ``deepmind/pg19`` is a loading script,
      which datasets 4 and later refuse; this reads ``emozilla/pg19``, the same splits in parquet
      with the same columns: ``short_book_title``, ``publication_date``, ``url``, ``text`` (100
      books to test, 50 to validate, 28602 to train).
    - ``proof-pile`` and ``govreport``: the test splits of Proof-pile (arXiv 2206.14858) and of
      GovReport (arXiv 2104.02112) from the hub, in the copies that YaRN's ``eval.sh`` reads.
    - a folder: every ``.txt`` below it, in the order of the relative paths; other files are no
      books, hidden ones and those of hidden folders (``._a.txt``, ``.ipynb_checkpoints``) neither,
      and links to folders are not followed. PG-19 as distributed is such a folder.
      Where it has no ``.txt``, every JSONL and parquet file below it in that order.
    - a folder of ``Dataset.save_to_disk``, or a ``.parquet`` file: a row a document, as of JSONL.
    - a ``.txt`` file, with ``.gz``, ``.xz`` or ``.zst`` after it or not.
    - ``.jsonl``, packed in the same ways or not, one object with a ``text`` a line (or GovReport's
      ``report`` beside ``summary``, SCROLLS' ``input`` beside ``output``); blank lines hold no row.
      Rows of the Pile (arXiv 2101.00027), which say ``meta.pile_set_name``, are kept
      only if that is ``Books3``: the Pile's ``val.jsonl.zst`` so read is what arXiv 2310.05209
      measures perplexity on.

    Text is UTF-8, a byte order mark is dropped; the line ends of ``.txt`` files become ``\n``, as
    they are on the hub.

    Args:
        source: one of the words, or a path.
        limit: stop after this many documents; what comes after is not read, nor checked.
        whole_pile: keep the rows of every part of the Pile, as for training.

    Raises:
        SpecError: for a limit under 1, or a source that is neither.
        DataError: at once where there is nothing to read; while iterating for a file, row or
            frame that is empty, broken, truncated or not UTF-8.
    """
    if not isinstance(source, str | Path):
        raise SpecError(f"books are a word or a path, got {source!r}: write a path as ./{source}")
    limit = check_count("a limit of documents", limit)
    return islice(_documents(source, whole_pile), limit)


def _documents(source: str | Path, whole_pile: bool) -> Iterator[Document]:
    if isinstance(source, str):
        word, _, split = source.partition(":")
        if source == "builtin":
            return iter([_builtin()])
        if source == "builtin-chapters":
            return _builtin_chapters()
        if word == "pg19":
            return _pg19(split or PG19_SPLITS[0])
        if source in TEST_SETS:
            return _test_set(source)
    path = Path(source)
    try:
        exists, is_folder = source != "" and path.exists(), path.is_dir()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not exists:
        words = ", ".join(SOURCE_WORDS)
        raise DataError(
            f"no books at {str(source)!r}: no such file or folder."
            f"{did_you_mean(str(source), SOURCE_WORDS)}"
            f" Give a .txt, JSONL or parquet file, a folder of them, or one of {words}"
        )
    if is_folder:
        return _folder(path, whole_pile)
    if path.name.lower().endswith(TEXT_SUFFIXES):
        return iter([_text_file(path, _stem(path))])
    if path.name.lower().endswith(_ROWS):
        return _rows(path, whole_pile)
    raise DataError(
        f"{path}: not a kind of book this reads. Give .txt, .jsonl (.gz, .xz or .zst after them or "
        "not), .parquet, or a folder of them"
    )


def _stem(path: Path) -> str:
    """Return a file's name without .txt or .jsonl and what follows."""
    name = path.name
    return next(
        (name[: -len(end)] for end in (*TEXT_SUFFIXES, *_ROWS) if name.lower().endswith(end)),
        path.stem,
    )


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return dict(sorted(topics.items()))


def _builtin() -> Document:
    return Document(name=BUILTIN_NAME, text="\n\n".join(_topics().values()))


def _builtin_chapters() -> Iterator[Document]:
    for name, text in _topics().items():
        yield Document(name=name, text=text)


def _folder(folder: Path, whole_pile: bool) -> Iterator[Document]:
    if any((folder / name).is_file() for name in _SAVED):
        return _rows(folder, whole_pile)

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(parent, name).relative_to(folder)
            for name in names
            if name.lower().endswith((*TEXT_SUFFIXES, *_ROWS)) and not name.startswith(".")
        ]
    files.sort(key=Path.as_posix)
    texts = [file for file in files if file.name.lower().endswith(TEXT_SUFFIXES)]
    if not files:
        raise DataError(f"{folder}: no .txt file in this folder, nor a JSONL or parquet file")
    if not texts:
        return (one for file in files for one in _rows(folder / file, whole_pile))
    return (_text_file(folder / file, (file.parent / _stem(file)).as_posix()) for file in texts)


def _text_file(path: Path, name: str) -> Document:
    text = read_text(path)
    return _document(name, text.replace("\r\n", "\n").replace("\r", "\n"), str(path))


def _document(name: str, text: str, where: str) -> Document:
    if not text.strip():
        raise DataError(f"{where}: an empty document, nothing to score. Remove it")
    return Document(name=name, text=text)


def _rows(path: Path, whole_pile: bool) -> Iterator[Document]:
    is_table = path.is_dir() or path.name.lower().endswith(TABLE_SUFFIX)
    read, unit = (read_table, "row") if is_table else (read_rows, "line")
    rows = kept = 0
    for number, row in read(path):
        rows += 1
        meta = row.get("meta")
        part = meta.get("pile_set_name", BOOKS3) if isinstance(meta, dict) else BOOKS3
        if part != BOOKS3 and not whole_pile:
            continue
        kept += 1
        name = f"{_stem(path)}-{number}"
        yield _row_document(row, f"{path}, {unit} {number}", fallback_name=name)
    if not rows:
        raise DataError(f"{path}: an empty file, no row in it")
    if not kept:
        raise DataError(
            f"{path}: {rows} rows of the Pile and none of {BOOKS3}. "
            f"Give a file that holds {BOOKS3}, or rows without meta.pile_set_name"
        )


def _row_document(row: dict[str, Any], where: str, *, fallback_name: str) -> Document:
    column = next((c for c, beside in _TEXT_OF if {c, beside} <= row.keys()), "text")
    text = row["text"] if "text" in row else row.get(column)
    if not isinstance(text, str):
        raise DataError(
            f"{where}: want a 'text' that is a string, got {type(text).__name__} "
            f"(the row has {', '.join(sorted(row)) or 'no keys'})"
        )
    meta = row.get("meta")
    names = (
        row.get("title"),
        row.get("short_book_title"),
        meta.get("title") if isinstance(meta, dict) else None,
        row.get("id"),
    )
    name = next((str(name) for name in names if name not in (None, "")), fallback_name)
    for what, value in (("text", text), ("title", name)):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: the {what} holds a lone surrogate, not a character"
            ) from error
    return _document(name, text, where)


def _test_set(word: str) -> Iterator[Document]:
    repository = TEST_SETS[word]
    rows = read_hub(
        repository,
        split="test",
        streaming=True,
        instead=f"fetch {word} elsewhere and give its parquet or JSONL file",
    )
    return (
        _row_document(row, f"{repository}, row {n}", fallback_name=f"{word}-{n}")
        for n, row in enumerate(rows, start=1)
    )


def _pg19(split: str) -> Iterator[Document]:
    if split not in PG19_SPLITS:
        raise DataError(
            f"PG-19 has no split {split!r}.{did_you_mean(split, PG19_SPLITS)}"
            f" Give one of {', '.join(PG19_SPLITS)}"
        )
    rows = read_hub(
        PG19_REPOSITORY,
        split=split,
        streaming=True,
        instead="fetch PG-19 elsewhere and give its folder of .txt files",
    )
    return (
        _row_document(row, f"{PG19_REPOSITORY} {split}, row {n}", fallback_name=f"pg19-{split}-{n}")
        for n, row in enumerate(rows, start=1)
    )
