"""lm-eval's files, as JSON whose fields are of the types that it writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError
from rope_eval.files import open_file

NUMBER = (int, float)
_MOST = 1 << 53  # no count is more


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object of a file, whose fields are of the types that lm-eval writes."""

    where: str
    data: Any

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise DataError(f"{self.where}: expected a dict, got {type(self.data).__name__}")

    def get(self, name: str, kind: Any, default: Any = None) -> Any:
        """Return a field, or the default for null and what is not there."""
        value = self.data.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"{self.where}: {name}: {value!r:.60} is not what lm_eval writes there")
        return value

    def need(self, name: str, kind: type) -> Any:
        """Return a field that must be there."""
        value = self.get(name, kind)
        if value is None:
            raise DataError(f"{self.where}: {name} is missing: not a results file of lm_eval")
        return value

    def of(self, task: str, name: str, kind: Any, default: Any = None) -> Any:
        """Return a task's entry of a field that is a mapping by tasks."""
        return Fields(f"{self.where}: {name}", self.get(name, dict, {})).get(task, kind, default)

    def count(self, name: str, default: int | None = None) -> int | None:
        """Return a field that is a number of things."""
        value: int | None = self.get(name, int, default)
        if value is not None and not 0 <= value < _MOST:
            raise DataError(f"{self.where}: {name}: want 0 or more, got {value!r:.60}")
        return value


def content_of(file: Path, digest: Any) -> bytes:
    """Return what a file holds, and add it to a digest.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open_file(file) as raw:
            content = raw.read()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    digest.update(content)
    return content


def json_object(where: str, content: bytes) -> dict[str, Any]:
    """Return a JSON object; NaN is null.

    Raises:
        DataError: it is none.
    """
    try:
        value = json.loads(content, parse_constant=lambda _: None)  # a NaN is no number
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}: was it written whole?") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a dict, got {type(value).__name__}")
    return value
