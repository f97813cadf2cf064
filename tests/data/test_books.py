"""Documents: every source against text written here, every fault met by name."""

import gzip
import hashlib
import json
import lzma
import os
import random
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import datasets
import pytest
import zstandard

from rope_eval.data import books, readers
from rope_eval.data.books import Document, read_books
from rope_eval.errors import DataError, SpecError

SKIPPABLE_FRAME = struct.pack("<II", 0x184D2A50, 5) + b"extra"


Row = dict[str, Any]


def rows_of(*texts: str) -> list[Row]:
    return [{"text": text} for text in texts]


def jsonl(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def named(documents: Iterable[Document]) -> list[tuple[str, str]]:
    return [(document.name, document.text) for document in documents]


def pile_row(text: str, pile_set_name: str) -> Row:
    return {"text": text, "meta": {"pile_set_name": pile_set_name}}


def test_digest_is_sha256_of_the_utf8_bytes() -> None:
    document = Document(name="x", text="naïve ✓")
    assert document.digest == hashlib.sha256("naïve ✓".encode()).hexdigest()
    long = Document(name="x", text="✓" + "a🎉" * 1_000_000)
    assert long.digest == hashlib.sha256(long.text.encode()).hexdigest()


def test_builtin_is_one_document_of_all_topics_in_order() -> None:
    [document] = read_books("builtin")
    assert document.name == "python-documentation"
    assert document.text == "\n\n".join(topics[name] for name in sorted(topics))
    assert len(document.text) > 400_000


def test_builtin_chapters_are_the_same_text() -> None:
    chapters = list(read_books("builtin-chapters"))
    assert [chapter.name for chapter in chapters] == sorted(topics)
    [whole] = read_books("builtin")
    assert "\n\n".join(chapter.text for chapter in chapters) == whole.text


def test_folder_is_recursive_in_path_order_and_leaves_other_files_out(tmp_path: Path) -> None:
    for name, text in {"b.txt": "bee", "a/z.TXT": "zed", "a.txt": "ay", "a/c.txt": "sea"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "metadata.csv").write_text("no book")
    assert named(read_books(tmp_path)) == [
        ("a", "ay"),
        ("a/c", "sea"),
        ("a/z", "zed"),
        ("b", "bee"),
    ]
    assert named(read_books(str(tmp_path), limit=2)) == [("a", "ay"), ("a/c", "sea")]


def test_text_file_drops_the_mark_and_the_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n\xc3\xa9")
    assert named(read_books(path)) == [("book", "one\ntwo\nthree\né")]


@pytest.mark.parametrize("source", [5, None, True, ["a.txt"], {"books": 1}])
def test_a_source_that_is_no_text(source: Any) -> None:
    with pytest.raises(SpecError, match="books are a word or a path, got"):
        read_books(source)


@pytest.mark.parametrize("limit", [0, -1, "abc", 1.5, True])
def test_a_limit_that_reads_nothing_is_refused(limit: Any) -> None:
    with pytest.raises(SpecError, match="1 or more"):
        read_books("builtin", limit=limit)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "books.jsonl": bytes,
    "books.jsonl.gz": gzip.compress,
    "books.jsonl.zst": zstandard.compress,
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_jsonl_plain_and_compressed_give_the_same_documents(tmp_path: Path, name: str) -> None:
    rows: list[Row] = [
        {"text": "one\u2028line\n", "title": "T"},
        {"text": "two", "short_book_title": "S", "id": 5},
        {"text": "three", "meta": {"title": "M"}},
        {"text": "four", "id": 0},
        {"text": "five", "title": "", "meta": "none"},
    ]
    path = tmp_path / name
    path.write_bytes(COMPRESSORS[name](b"\xef\xbb\xbf" + jsonl(rows[:4]) + b"\n" + jsonl(rows[4:])))
    assert named(read_books(path)) == [
        ("T", "one\u2028line\n"),
        ("S", "two"),
        ("M", "three"),
        ("0", "four"),
        ("books-6", "five"),
    ]
    assert [document.text for document in read_books(path, limit=1)] == ["one\u2028line\n"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_last_line_without_its_end_and_lines_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["x" * n for n in range(1, 60)]
    path = tmp_path / "books.jsonl.zst"
    path.write_bytes(zstandard.compress(jsonl(rows_of(*texts))[:-1]))
    for chunk_bytes in (1, 7, 1 << 14):
        monkeypatch.setattr(readers, "_ZSTD_CHUNK_BYTES", chunk_bytes)
        assert [document.text for document in read_books(path)] == texts


def test_a_collection_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl.zst"
    generator = random.Random(0)
    texts = [generator.randbytes(50_000).hex() for _ in range(100)]
    path.write_bytes(zstandard.compress(jsonl(rows_of(*texts))))
    tracemalloc.start()
    try:
        assert sum(len(document.text) for document in read_books(path)) == 100 * 100_000
        assert tracemalloc.get_traced_memory()[1] < 10 * 100_000
    finally:
        tracemalloc.stop()


def test_pile_rows_other_than_books3_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "val.jsonl.zst"
    rows = [
        pile_row("web", "Pile-CC"),
        pile_row("book", "Books3"),
        pile_row("", "Github"),
        pile_row("other book", "Books3"),
    ]
    path.write_bytes(zstandard.compress(jsonl(rows)))
    assert named(read_books(path)) == [("val-2", "book"), ("val-4", "other book")]


def test_a_pile_file_without_books3_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "val.jsonl"
    path.write_bytes(jsonl([pile_row("web", "Pile-CC"), pile_row("code", "Github")]))
    with pytest.raises(DataError, match=r"2 rows of the Pile and none of Books3"):
        list(read_books(path))
    assert named(read_books(path, whole_pile=True)) == [("val-1", "web"), ("val-2", "code")]


def frames(*, split: int, **options: Any) -> tuple[list[str], list[bytes]]:
    """Many rows as several zstd frames: their texts, the frames."""
    texts = [hashlib.sha256(str(n).encode()).hexdigest() * 4 for n in range(40)]
    data = jsonl(rows_of(*texts))
    cuts = [len(data) * n // split for n in range(split + 1)]
    compressor = zstandard.ZstdCompressor(**options)
    return texts, [compressor.compress(data[a:b]) for a, b in pairwise(cuts)]


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 1 << 14])
def test_every_zstd_frame_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(readers, "_ZSTD_CHUNK_BYTES", chunk_bytes)
    texts, parts = frames(split=3)
    path = tmp_path / "many.jsonl.zst"
    path.write_bytes(SKIPPABLE_FRAME + parts[0] + parts[1] + SKIPPABLE_FRAME + parts[2])
    assert [document.text for document in read_books(path)] == texts


@pytest.mark.parametrize("options", [{}, {"write_checksum": True}, {"write_content_size": False}])
@pytest.mark.parametrize("split", [1, 2])
def test_a_truncated_zstd_file_is_met_wherever_it_is_cut(
    tmp_path: Path, options: dict[str, bool], split: int
) -> None:
    _, parts = frames(split=split, **options)
    data = b"".join(parts)
    path = tmp_path / "cut.jsonl.zst"
    last_frame = len(data) - len(parts[-1])
    near = [1, 3, 4, 5, 6, 9, 100, len(parts[-1]) // 2, *range(len(parts[-1]) - 12, len(parts[-1]))]
    for cut in (last_frame + n for n in near):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut\.jsonl\.zst: truncated"):
            list(read_books(path))
    path.write_bytes(data)
    assert len(list(read_books(path))) == 40


def test_a_truncated_gz_file_is_met_wherever_it_is_cut(tmp_path: Path) -> None:
    first, second = gzip.compress(jsonl(rows_of("one"))), gzip.compress(jsonl(rows_of("two")))
    path = tmp_path / "cut.jsonl.gz"
    for cut in range(1, len(second)):
        path.write_bytes(first + second[:cut])
        with pytest.raises(DataError, match=r"cut\.jsonl\.gz: (truncated|broken)"):
            list(read_books(path))
    path.write_bytes(first + second)
    assert [document.text for document in read_books(path)] == ["one", "two"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_broken_compressed_data(tmp_path: Path, suffix: str) -> None:
    name = f"books.jsonl{suffix}"
    whole = COMPRESSORS[name](jsonl(rows_of(*map(str, range(100)))))
    path = tmp_path / name
    for data in (b"this was never compressed", whole + b"and more", whole[:30] + b"\xff" * 40):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"books\.jsonl{suffix}: (broken {suffix}|truncated)"):
            list(read_books(path))


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_undecodable_bytes_are_named_with_their_offset(tmp_path: Path, prefix: bytes) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(prefix + b"caf\xe9 noir")
    with pytest.raises(
        DataError, match=rf"book\.txt: not UTF-8.* 0xe9 at byte offset {len(prefix) + 3}\."
    ):
        list(read_books(path))
    lines = tmp_path / "books.jsonl"
    start = prefix + jsonl(rows_of("é", "two"))
    lines.write_bytes(start + b'{"text": "\xff"}\n')
    with pytest.raises(DataError, match=rf"0xff at byte offset {len(start) + 10}\."):
        list(read_books(lines))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "cut sho', "not valid JSON"),
        (b'["text"]', "want a JSON object, got list"),
        (b'{"txt": "x", "id": 1}', r"got NoneType \(the row has id, txt\)"),
        (b'{"text": 5}', "got int"),
        (b'{"text": " \\n"}', "an empty document"),
        (b'{"text": "\\ud800"}', "lone surrogate"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "books.jsonl"
    path.write_bytes(jsonl(rows_of("one", "two")) + b"\n" + line + b"\n")
    documents = read_books(path)
    assert [next(documents).text, next(documents).text] == ["one", "two"]
    with pytest.raises(DataError, match=rf"books\.jsonl, line 4: .*{message}"):
        next(documents)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(COMPRESSORS[name](data))
    with pytest.raises(DataError, match="an empty file"):
        list(read_books(path))


def test_empty_text_and_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.txt file in this folder"):
        read_books(tmp_path)
    (tmp_path / "full.txt").write_text("text")
    (tmp_path / "hollow.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"hollow\.txt: an empty document"):
        list(read_books(tmp_path))


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "open.txt").write_text("text")
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"locked: cannot be read: Permission denied"):
        read_books(tmp_path)


def test_what_is_not_there_is_refused_with_the_nearest_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"no such file or folder\. Did you mean 'builtin'\?"):
        read_books("bulitin")
    with pytest.raises(DataError, match="no books at ''"):
        read_books("")
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        read_books("x" * 5000)
    with pytest.raises(DataError, match=r"gone\.txt: cannot be read"):
        (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
        list(read_books(tmp_path))
    (tmp_path / "book.pdf").write_text("x")
    with pytest.raises(DataError, match="not a kind of book"):
        read_books(tmp_path / "book.pdf")
    monkeypatch.chdir(tmp_path)
    Path("pg19").mkdir()
    Path("pg19/one.txt").write_text("here")
    assert named(read_books("./pg19")) == named(read_books(Path("pg19"))) == [("one", "here")]


def pg19_parquet(folder: Path, split: str, rows: list[Row]) -> None:
    datasets.Dataset.from_list(rows).to_parquet(folder / f"{split}-00000-of-00001.parquet")


def test_pg19_reads_the_split_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("test", "validation"):
        row = {"publication_date": 1900, "url": "u"}
        first = {**row, "short_book_title": f"First of {split}", "text": "one\n"}
        second = {**row, "short_book_title": "", "text": "two"}
        pg19_parquet(tmp_path, split, [first, second])
    monkeypatch.setattr(books, "PG19_REPOSITORY", str(tmp_path))
    assert named(read_books("pg19")) == [("First of test", "one\n"), ("pg19-test-2", "two")]
    assert named(read_books("pg19:validation", limit=1)) == [("First of validation", "one\n")]
    with pytest.raises(DataError, match="train cannot be read"):
        list(read_books("pg19:train"))
    with pytest.raises(DataError, match=r"no split 'valid'\. Did you mean 'validation'\?"):
        read_books("pg19:valid")


def test_pg19_without_text_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pg19_parquet(tmp_path, "test", [{"body": "x"}])
    monkeypatch.setattr(books, "PG19_REPOSITORY", str(tmp_path))
    with pytest.raises(DataError, match=r"test, row 1: .*\(the row has body\)"):
        list(read_books("pg19"))


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(repository: str, config: None, *, split: str, streaming: bool) -> None:
        assert (repository, config, split, streaming) == ("emozilla/pg19", None, "test", True)
        raise ConnectionError("Couldn't reach 'emozilla/pg19' on the Hub")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"Couldn't reach .* and give its folder of \.txt files"):
        list(read_books("pg19"))


def test_the_module_is_light() -> None:
    code = (
        "import sys, rope_eval.data.books, rope_eval.results.store\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'rope_eval.backends')"
        " if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# ---- other forms of the same rows ----------------------------------------------------------------

ROWS = [{"text": "one ✓\n", "title": "First"}, {"text": "two"}]
AS_NAMED = [("First", "one ✓\n"), ("some-2", "two")]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_packed_files_are_what_is_in_them(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    rows = tmp_path / f"some.jsonl{suffix}"
    rows.write_bytes(pack(jsonl(ROWS)))
    assert named(read_books(rows)) == AS_NAMED
    text = tmp_path / f"book.txt{suffix}"
    text.write_bytes(pack("\ufeffnaïve\r\n✓".encode()))
    assert named(read_books(text)) == [("book", "naïve\n✓")]
    cut = tmp_path / f"cut.jsonl{suffix}"
    if suffix:
        cut.write_bytes(pack(jsonl(ROWS))[:-6])
        with pytest.raises(DataError, match=r"cut\.jsonl.*(truncated|broken)"):
            list(read_books(cut))


def test_parquet_and_saved_folders_are_rows(tmp_path: Path) -> None:
    table = datasets.Dataset.from_list(ROWS)
    table.to_parquet(tmp_path / "some.parquet")
    assert named(read_books(tmp_path / "some.parquet")) == AS_NAMED
    table.save_to_disk(tmp_path / "some")
    assert named(read_books(tmp_path / "some")) == AS_NAMED
    assert named(read_books(tmp_path / "some", limit=1)) == AS_NAMED[:1]
    datasets.DatasetDict({"test": table, "train": table}).save_to_disk(tmp_path / "splits")
    with pytest.raises(DataError, match=r"several splits \(test, train\)"):
        list(read_books(tmp_path / "splits"))
    assert named(read_books(tmp_path / "splits" / "test"))[0] == AS_NAMED[0]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"bad\.parquet: cannot be read"):
        list(read_books(tmp_path / "bad.parquet"))
    datasets.Dataset.from_list([{"words": "x"}]).to_parquet(tmp_path / "no.parquet")
    with pytest.raises(DataError, match=r"row 1: want a 'text'.*has words"):
        list(read_books(tmp_path / "no.parquet"))


def test_a_folder_of_rows_is_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "last.jsonl.xz").write_bytes(lzma.compress(jsonl(rows_of("three"))))
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows_of("one")))
    datasets.Dataset.from_list(rows_of("two")).to_parquet(tmp_path / "aa.parquet")
    (tmp_path / ".hidden.jsonl").write_text("no rows")
    assert [one.text for one in read_books(tmp_path)] == ["one", "two", "three"]
    (tmp_path / "book.txt").write_text("alone")  # where there is a .txt, the others are no books
    assert named(read_books(tmp_path)) == [("book", "alone")]


def test_govreport_and_scrolls_have_their_own_columns(tmp_path: Path) -> None:
    rows: list[Row] = [{"report": "a report", "summary": "short"}]
    rows += [{"id": "x1", "pid": "x1_0", "input": "a long input", "output": "short"}]
    (tmp_path / "gov.jsonl").write_bytes(jsonl(rows))
    assert named(read_books(tmp_path / "gov.jsonl")) == [
        ("gov-1", "a report"),
        ("x1", "a long input"),
    ]
    (tmp_path / "other.jsonl").write_bytes(jsonl([{"input": "no book"}]))
    with pytest.raises(DataError, match="want a 'text'"):
        list(read_books(tmp_path / "other.jsonl"))


@pytest.mark.parametrize(
    ("word", "repository", "row"),
    [
        (
            "proof-pile",
            "emozilla/proofpile-test-tokenized",
            {
                "text": "Lemma.",
                "meta": '{"set_name": "arxiv"}',
                "input_ids": [1],
                "tokenized_len": 1,
            },
        ),
        (
            "govreport",
            "emozilla/govreport-test-tokenized",
            {"id": "crs", "pid": "crs_0", "input": "Lemma.", "output": "L", "input_ids": [1]},
        ),
    ],
)
def test_test_sets_of_the_hub(
    word: str, repository: str, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(name: str, config: Any, **given: Any) -> Iterable[Row]:
        asked.append((name, given["split"]))
        return [row]

    monkeypatch.setattr(datasets, "load_dataset", load)
    [document] = read_books(word)
    assert document.text == "Lemma." and document.name == row.get("id", "proof-pile-1")
    assert asked == [(repository, "test")]
