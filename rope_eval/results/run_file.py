"""A run as the bytes of one file, of which every single one is checked.

A run file is a stored (uncompressed) zip that any unzip opens::

    nll_0_4096.npy     an array; one of bools is packed to bits
    …
    run.json           the run, and the shape and type of every array; last, so that it is quick to
                       find at the end of a long file
    (zip comment)      SHA-256 of all bytes before it, in hex

zip's own CRC does not cover headers, times and padding; the digest does.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rope_eval.errors import StoreError
from rope_eval.results.identity import require_json, run_key

SUFFIX = ".zip"
FORMAT = 1
RUN_MEMBER = "run.json"

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # zip's first day: the same run is the same bytes
_DIGEST_BYTES = 64
_UNREADABLE = (
    ValueError,  # JSON, UTF-8, .npy headers
    TypeError,
    LookupError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    StoreError,
)

Arrays = Mapping[str, npt.NDArray[Any]]


class DamagedError(Exception):
    """Bytes that are no run; the message says why, and the store names the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run as it is stored; its arrays are read with `Store.arrays`.

    Attributes:
        key: ``run_key(request)``.
        kind: what was run, such as "cumulative"; the request says the same under "kind".
        status: "done", or "failed" with the reason in ``error``.
        request: everything that determines the result.
        results: sums and counts; empty where the run failed.
        provenance: how it came about: see `rope_eval.results.provenance`.
        error: why the run failed, or None.
    """

    key: str
    kind: str
    status: Literal["done", "failed"]
    request: dict[str, Any]
    results: dict[str, Any]
    provenance: dict[str, Any]
    error: str | None = None

    def __post_init__(self) -> None:
        for name in ("request", "results", "provenance"):
            if not isinstance(getattr(self, name), dict):
                raise StoreError(f"{name} of a run: want a dict, got {getattr(self, name)!r}")
            require_json(getattr(self, name), name)
        if self.key != run_key(self.request):
            raise StoreError(
                f"key {self.key!r} is not that of the request: want {run_key(self.request)!r}"
            )
        if self.request.get("kind") != self.kind:
            raise StoreError(
                f"a run of kind {self.kind!r}, but its request says {self.request.get('kind')!r}: "
                "two kinds would share a key"
            )
        if self.status not in ("done", "failed"):
            raise StoreError(f"status of a run: want 'done' or 'failed', got {self.status!r}")
        if (self.status == "failed") != bool(self.error):
            raise StoreError(
                f"a run with status {self.status!r} and error {self.error!r}: a failed run, and "
                "no other, has an error"
            )


def encode(run: Run, arrays: Arrays) -> bytes:
    """Return the bytes of a run file.

    Raises:
        StoreError: for an array of Python objects, or NaN or infinity in one of a done run.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise StoreError(f"array {name!r}: want numbers, got Python objects")
        if run.status == "done" and array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise StoreError(
                f"array {name!r} of a done run holds NaN or infinity: store it as failed"
            )
    record = asdict(run) | {
        "format": FORMAT,
        "arrays": {
            name: {"dtype": array.dtype.str, "shape": list(array.shape)}
            for name, array in arrays.items()
        },
    }
    text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            archive.writestr(_member(f"{name}.npy"), _array_bytes(array))
        archive.writestr(_member(RUN_MEMBER), text.encode())
        archive.comment = bytes(_DIGEST_BYTES)
    body = whole.getvalue()[:-_DIGEST_BYTES]
    return body + _digest(body)


def decode(data: bytes) -> Run:
    """Return the run of a file; for bytes that are not as `encode` wrote them `DamagedError`."""
    run, _, _ = _opened(data)
    return run


def decode_whole(data: bytes) -> tuple[Run, dict[str, npt.NDArray[Any]]]:
    """Return the run of a file and its arrays by name; as `decode` for other bytes."""
    run, arrays, archive = _opened(data)
    try:
        return run, {name: _array(archive, name, said) for name, said in arrays.items()}
    except _UNREADABLE as error:
        raise DamagedError(str(error)) from error


def _opened(data: bytes) -> tuple[Run, dict[str, Any], zipfile.ZipFile]:
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not body:
        raise DamagedError(f"it has {len(data)} bytes")
    if digest != _digest(body):
        raise DamagedError("its checksum is not that of its content")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        record = json.loads(_read(archive, RUN_MEMBER))
        if record.pop("format") != FORMAT:
            raise ValueError(f"it is of another format than {FORMAT}")
        arrays = record.pop("arrays")
        if set(record) != {field.name for field in fields(Run)} or not isinstance(arrays, dict):
            raise ValueError(f"{RUN_MEMBER} has not the fields of a run")
        return Run(**record), arrays, archive
    except (*_UNREADABLE, AttributeError) as error:
        raise DamagedError(str(error)) from error


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _LONG_AGO)
    member.create_system = 3  # Unix, wherever it is written
    return member


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member whole: numpy, given the open member, can stop before its CRC."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def _array_bytes(array: npt.NDArray[Any]) -> bytes:
    packed = np.packbits(array) if array.dtype == np.bool_ else array
    member = io.BytesIO()
    np.lib.format.write_array(member, packed, allow_pickle=False)
    return member.getvalue()


def _array(archive: zipfile.ZipFile, name: str, said: dict[str, Any]) -> npt.NDArray[Any]:
    member = io.BytesIO(_read(archive, f"{name}.npy"))
    array: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    shape, dtype = tuple(said["shape"]), np.dtype(said["dtype"])
    if dtype == np.bool_:
        array = np.unpackbits(array, count=int(np.prod(shape))).astype(np.bool_).reshape(shape)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"array {name!r} is not of the shape and type that {RUN_MEMBER} says")
    return array
