"""The one reader: its limits, and what is no file; its streams are tested through the books."""

from __future__ import annotations

import gzip
import json
import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from rope_eval.data import readers
from rope_eval.data.books import read_books
from rope_eval.data.readers import read_rows, read_text
from rope_eval.errors import DataError
from rope_eval.protocols.datasets import read

MIB = 1 << 20
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "rows.jsonl": bytes,
    "rows.jsonl.gz": gzip.compress,
    "rows.jsonl.zst": zstandard.compress,
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_line_is_too_long_by_one_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(readers, "LINE_BYTES", 100_000)
    line = b'{"text": "' + b"x" * (100_000 - 12) + b'"}'
    path = tmp_path / name
    path.write_bytes(COMPRESSORS[name](b"{}\n" + line + b"\n{}\n"))
    assert [(number, len(row)) for number, row in read_rows(path)] == [(1, 0), (2, 1), (3, 0)]
    path.write_bytes(COMPRESSORS[name](b"{}\n" + line + b" \n{}\n"))
    with pytest.raises(DataError, match=rf"{name}, line 2: longer than 100,000 bytes"):
        list(read_rows(path))


def test_a_small_file_of_one_endless_line_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LINE_BYTES", MIB)
    path = tmp_path / "endless.jsonl.zst"
    compressor = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        for _ in range(512):
            file.write(compressor.compress(bytes(MIB)))
        file.write(compressor.flush())
    assert path.stat().st_size < MIB / 16
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"endless\.jsonl\.zst, line 1: longer than"):
            list(read_books(path))
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_what_is_no_file_is_refused_unopened(tmp_path: Path, suffix: str) -> None:
    made = {kind: tmp_path / f"{kind}{suffix}" for kind in ("pipe", "device", "socket")}
    os.mkfifo(made["pipe"])
    made["device"].symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(made["socket"]))
        for kind, path in made.items():
            with pytest.raises(DataError, match=rf"{kind}{suffix}: want a file, this is a {kind}"):
                list(read_books(path))
    with pytest.raises(DataError, match="this is a folder"):
        list(read_rows(tmp_path))


def test_a_data_set_is_read_by_the_same_rules(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lambada.jsonl")
    with pytest.raises(DataError, match=r"lambada\.jsonl: want a file, this is a pipe"):
        read("lambada", tmp_path)
    (tmp_path / "hellaswag.jsonl").write_bytes(b'{"ctx": "\xff"}\n')
    with pytest.raises(DataError, match="0xff at byte offset 9"):
        read("hellaswag", tmp_path)
    row = {"text": "a\u2028b \x85 c"}
    text = json.dumps(row, ensure_ascii=False)
    (tmp_path / "lambada.jsonl").unlink()
    (tmp_path / "lambada.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{text}\r\n\n{text}".encode())
    assert read("lambada", tmp_path) == [row, row]


def test_a_nest_of_brackets_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nest.jsonl"
    path.write_text("{}\n" + "[" * 200_000 + "\n")
    with pytest.raises(DataError, match=r"nest\.jsonl, line 2: not valid JSON"):
        list(read_rows(path))


def test_a_text_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\xe2\x80\xa8two")
    assert read_text(path) == "one\r\n\u2028two"
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_text(tmp_path / "b.txt")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_a_text_is_the_same_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(readers, "_TEXT_CHUNK_BYTES", size)
    path = tmp_path / "a.txt"
    for text in ("", "a", "é", "aé“🎉b", "🎉" * 5, "a\r\nb"):
        for mark in (b"", b"\xef\xbb\xbf"):
            path.write_bytes(mark + text.encode())
            assert read_text(path) == text
    for data, where in ((b"ab\xff", 2), (b"a\xe2\x80", 1), (b"\x80" * 9, 0), (b"abcdef\xc3a", 6)):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"byte offset {where}\."):
            read_text(path)


def test_a_text_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(DataError, match=r"21,474,836,480 bytes, more than the 1,073,741,824 of a"):
        read_text(path)


def test_hidden_files_and_folders_are_no_books(tmp_path: Path) -> None:
    for name in ("a.txt", "._a.txt", ".ipynb_checkpoints/a-checkpoint.txt", "b/.git/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [book.name for book in read_books(tmp_path)] == ["a"]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"no \.txt file"):
        read_books(tmp_path)
    assert [book.text for book in read_books(tmp_path / "._a.txt")] == ["._a.txt"]
