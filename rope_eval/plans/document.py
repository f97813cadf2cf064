"""A YAML file whose every value knows its line: for messages that say where a mistake is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from rope_eval.errors import DataError, RopeEvalError, SpecError, did_you_mean


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a YAML file.

    Attributes:
        file: the file.
        node: PyYAML's, with its line.
    """

    file: Path
    node: yaml.Node

    @property
    def where(self) -> str:
        """Its file and line, such as ``plan.yaml:3``."""
        return f"{self.file}:{self.node.start_mark.line + 1}"

    def refuse(self, why: str) -> NoReturn:
        """Raise a `SpecError` that says where."""
        raise SpecError(f"{self.where}: {why}")

    def plain(self) -> Any:
        """Return it as YAML reads it."""
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(self.node)
        except (yaml.YAMLError, ValueError) as error:
            self.refuse(str(error))

    def checked(self, read: Callable[[Any], Any]) -> Any:
        """Return what `read` makes of it; its errors say where."""
        try:
            return read(self.plain())
        except RopeEvalError as error:
            raise type(error)(f"{self.where}: {error}") from error

    def items(
        self, known: Iterable[str] = (), needed: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Value]:
        """Return the values of a mapping by their keys.

        Args:
            known: the keys that it may have; none for any.
            needed: the keys that it must have, and an example of each one's value.

        Raises:
            SpecError: for what is no mapping, a key that is not known, is missing or stands twice.
        """
        known = tuple(known)
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse(f"expected a mapping{_of(known)}, got {self.plain()!r:.60}")
        values: dict[str, Value] = {}
        for key, node in self.node.value:
            name = str(Value(self.file, key).plain())
            if known and name not in known:
                Value(self.file, key).refuse(
                    f"unknown key {name!r}.{did_you_mean(name, known)} "
                    f"The keys are: {', '.join(known)}"
                )
            if name in values:
                Value(self.file, key).refuse(f"{name} stands twice")
            values[name] = Value(self.file, node)
        for name, example in needed.items():
            if name not in values:
                self.refuse(f"{name} is missing: give it, such as {name}: {example}")
        return values

    def elements(self) -> list[Value]:
        """Return the values of a list, which must have one."""
        if not isinstance(self.node, yaml.SequenceNode) or not self.node.value:
            self.refuse(f"expected a list of at least one, got {self.plain()!r:.60}")
        return [Value(self.file, node) for node in self.node.value]

    def text(self) -> str:
        """Return a text."""
        value = self.plain()
        if not isinstance(value, str) or not value.strip():
            self.refuse(f"expected a text, got {value!r:.60}")
        return value

    def one_of(self, known: tuple[str, ...]) -> str:
        """Return one of the known words."""
        value = self.text()
        if value not in known:
            self.refuse(
                f"expected one of {', '.join(known)}, got {value!r}.{did_you_mean(value, known)}"
            )
        return value

    def count(self) -> int:
        """Return a whole number of 1 or more."""
        value = self.plain()
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.refuse(f"expected a whole number of 1 or more, got {value!r:.60}")
        return value

    def flag(self) -> bool:
        """Return a true or false."""
        value = self.plain()
        if not isinstance(value, bool):
            self.refuse(f"expected true or false, got {value!r:.60}")
        return value

    @property
    def is_mapping(self) -> bool:
        """Whether it is one."""
        return isinstance(self.node, yaml.MappingNode)


def read(file: Path) -> Value:
    """Return what a YAML file holds.

    Raises:
        DataError: for a file that cannot be read, or is no YAML.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {getattr(error, 'strerror', error)}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise DataError(f"{file}{line}: no YAML: {getattr(error, 'problem', error)}") from error
    if node is None:
        raise DataError(f"{file} is empty: a plan has models and measurements")
    return Value(file, node)


def _of(known: tuple[str, ...]) -> str:
    return f" of {', '.join(known)}" if known else ""
