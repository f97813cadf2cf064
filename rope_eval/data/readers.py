"""Text and rows from files and from the hub: the one reader of UTF-8, JSON lines, gzip, xz, zstd.

Rows stream: a line is in memory at a time, never a whole file, and a fault is met, and named by its
line or byte, when the reading gets there.
"""

from __future__ import annotations

import codecs
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import zstandard

from rope_eval.errors import DataError
from rope_eval.files import open_file

_PACKED = ("", ".gz", ".xz", ".zst")
JSONL_SUFFIXES = tuple(f".jsonl{packed}" for packed in _PACKED)
TEXT_SUFFIXES = tuple(f".txt{packed}" for packed in _PACKED)
TABLE_SUFFIX = ".parquet"
# A line is held whole. A book of 64 MiB is twenty times War and Peace; what is longer is no book,
# and a zstd file of some hundred kilobytes can hold a line of 20 GB.
LINE_BYTES = 64 << 20
# A .txt is one document and held whole, to be scored or tuned on.
TEXT_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 14
_TEXT_CHUNK_BYTES = 1 << 22
# zstd grows a chunk up to 32,768 times, here to 32 MiB.
_ZSTD_CHUNK_BYTES = 1 << 10
# What `zstd --long=31` writes; the library alone stops at 128 MiB windows.
_ZSTD_WINDOW_BYTES = 1 << 31


def read_text(path: Path) -> str:
    """Return the whole text of a file, without its byte order mark.

    Raises:
        DataError: for a file that is none, cannot be read, is not UTF-8 or has more than 1 GiB.
    """
    if path.suffix.lower() in _PACKED[1:]:
        return _unpacked_text(path)
    text, offset, data = "", 0, b""
    try:
        with open_file(path) as raw:
            if (size := os.fstat(raw.fileno()).st_size) > TEXT_BYTES:
                raise DataError(
                    f"{path}: {size:,} bytes, more than the {TEXT_BYTES:,} of a document. Part it "
                    "into files, or into rows of a .jsonl"
                )
            while chunk := raw.read(_TEXT_CHUNK_BYTES):
                data += chunk
                whole = _before_last_character(data)
                text += _decode(data[:whole], path, offset=offset)  # grows in place: held once
                offset, data = offset + whole, data[whole:]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return text + _decode(data, path, offset=offset)


def _unpacked_text(path: Path) -> str:
    data = bytearray()
    for chunk in _chunks(path):
        data += chunk
        if len(data) > TEXT_BYTES:
            raise DataError(
                f"{path}: more than the {TEXT_BYTES:,} bytes of a document. Part it into files, or "
                "into rows of a .jsonl"
            )
    return _decode(data, path, offset=0)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    r"""Yield the objects of a ``.jsonl`` file, or one with .gz, .xz or .zst after it, one a line.

    A line ends with ``\n`` alone: U+2028 and its like stand within one. Blank lines hold no row.

    Yields:
        The line's number, from 1, and its object.

    Raises:
        DataError: while iterating, for a file that is none, cannot be read or is cut off, and for a
            line that is too long, not UTF-8, not JSON or no object.
    """
    offset = number = 0
    for line in _lines(_chunks(path), path):
        number += 1
        text = _decode(line, path, offset=offset)
        offset += len(line) + 1
        del line  # a book's: it is not held twice
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON: {error}") from error
        del text
        if not isinstance(row, dict):
            raise DataError(f"{where}: want a JSON object, got {type(row).__name__}")
        yield number, row


def read_table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a parquet file, or of a folder that `datasets` has saved, one at a time.

    Yields:
        The row's number, from 1, and its columns.

    Raises:
        DataError: while iterating, for what is neither, is damaged, or is a folder of splits.
    """
    import datasets

    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(sorted(one.name for one in path.iterdir() if one.is_dir()))
        raise DataError(f"{path}: several splits ({splits}): give the folder of one of them")
    try:
        if path.is_dir():
            yield from enumerate(datasets.load_from_disk(str(path)), start=1)
            return
        with open_file(path):
            pass
        rows = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        yield from enumerate(rows, start=1)
    except (OSError, ValueError, LookupError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def read_hub(
    repository: str,
    config: str | None = None,
    *,
    split: str,
    files: str | None = None,
    streaming: bool = False,
    instead: str,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a data set on the Hugging Face hub.

    Args:
        repository: its name.
        config: the hub's name of the part, or None.
        split: the hub's name of the split.
        files: JSON or parquet files of the repository, all of that split, to read instead of what
            its configuration says.
        streaming: leave nothing in the cache.
        instead: what to do where the hub is out of reach.

    Raises:
        DataError: while iterating, where the hub cannot be reached, or has no such data set.
    """
    import datasets

    # The hub's client has changed its HTTP library twice; this name follows it.
    from huggingface_hub.errors import HTTPError

    try:
        if files:
            kind = "parquet" if files.endswith(".parquet") else "json"
            yield from datasets.load_dataset(kind, data_files=files, split="train")
        else:
            yield from datasets.load_dataset(repository, config, split=split, streaming=streaming)
    except (OSError, ValueError, HTTPError, datasets.exceptions.DatasetsError) as error:
        name = " ".join(part for part in (repository, config, split) if part)
        raise DataError(
            f"the data set {name} cannot be read from the Hugging Face hub: "
            f"{' '.join(str(error).split())}. Where the hub is out of reach, {instead}"
        ) from error


def _before_last_character(data: bytes) -> int:
    """Return how many bytes are whole characters, if what may be cut off at the end is left out."""
    for back in range(1, min(4, len(data)) + 1):
        if data[-back] & 0xC0 != 0x80:  # the first byte of a character
            return len(data) - back
    return len(data)


def _decode(data: bytes | bytearray, path: Path, *, offset: int) -> str:
    """Decode UTF-8 that starts ``offset`` bytes into the (uncompressed) file."""
    if offset == 0 and data.startswith(codecs.BOM_UTF8):
        offset = len(codecs.BOM_UTF8)
        data = data[offset:]
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text: byte 0x{data[error.start]:02x} at byte offset "
            f"{offset + error.start}. Convert the file to UTF-8"
        ) from error


def _lines(chunks: Iterable[bytes], path: Path) -> Iterator[bytearray]:
    pending = bytearray()
    number = 1
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            end = chunk.find(b"\n", start)
            pending += chunk[start : end if end >= 0 else len(chunk)]
            if len(pending) > LINE_BYTES:
                raise DataError(
                    f"{path}, line {number}: longer than {LINE_BYTES:,} bytes, which is more than "
                    "a book. Part the text into rows"
                )
            if end < 0:
                break
            line, pending = [pending], bytearray()
            yield line.pop()
            number, start = number + 1, end + 1
    if pending:
        yield pending


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a file, or raise DataError if there is less than a whole."""
    suffix = path.suffix.lower()
    try:
        with open_file(path) as raw:
            if suffix == ".zst":
                yield from _unzstd(raw)
            elif suffix == ".xz":
                with lzma.open(raw) as unzipped:
                    yield from iter(partial(unzipped.read, _CHUNK_BYTES), b"")
            elif suffix == ".gz":
                with gzip.open(raw) as unzipped:
                    yield from iter(partial(unzipped.read, _CHUNK_BYTES), b"")
            else:
                yield from iter(partial(raw.read, _CHUNK_BYTES), b"")
    except EOFError as error:
        raise DataError(
            f"{path}: truncated: the file ends inside a compressed frame. Fetch it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DataError(f"{path}: broken {suffix} data: {error}. Fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _unzstd(raw: IO[bytes]) -> Iterator[bytes]:
    """Decompress all frames; EOFError if the last is cut, where zstd's stream reader is silent."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    frame = None
    while data := raw.read(_ZSTD_CHUNK_BYTES):
        while data:
            frame = frame or decompressor.decompressobj()
            yield frame.decompress(data)
            data = b""
            if frame.eof:
                data, frame = frame.unused_data, None
    if frame:
        raise EOFError
