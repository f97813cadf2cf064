"""A cell of a plan, and what a measurement must be: `rope_eval.plans.measurements` has them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rope_eval.plans.context import Context, Outcome, Prospect
from rope_eval.plans.document import Value
from rope_eval.results.store import Store
from rope_eval.scoring.documents import Loading
from rope_eval.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Measurement(ABC):
    """What is measured of a model under a setting: a frozen dataclass of what was asked for.

    It is no key: what determines a number stands in the requests of its runs.
    """

    keeps_cache: ClassVar[bool] = False
    """Whether the keys and values of all layers are held."""

    @property
    def longest(self) -> int | None:
        """Tokens of the longest text, or None where that is not known before."""
        return None

    def check(self) -> None:  # noqa: B027  (most have nothing to be checked)
        """Raise a `RopeEvalError` for what no model can be measured in, before any is loaded."""

    @abstractmethod
    def prospect(self, cell: Cell, store: Store) -> Prospect:
        """Say what of a cell is stored, and what is to be done.

        Raises:
            RopeEvalError: of the kind that fits, for what cannot be done.
        """

    @abstractmethod
    def measure(self, cell: Cell, context: Context) -> Outcome:
        """Measure what is missing of a cell.

        Raises:
            LeftToOthersError: where other workers are at the units that are missing.
            RopeEvalError: of the kind that fits, where the cell fails.
        """

    @abstractmethod
    def __str__(self) -> str:
        """Return it in a few words, for a line about a cell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of measurement.

    Attributes:
        word: of a plan.
        read: returns the measurements that the value under the word asks for; what is wrong with
            it is a `SpecError` that says where.
    """

    word: str
    read: Callable[[Value], Sequence[Measurement]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One model under one setting, measured in one way.

    Attributes:
        setting: the checkpoint, and the RopeSpec.
        measurement: what is measured.
        loading: how the checkpoint is loaded.
        strict: refuse a field of the setting that changes nothing in the measurement.
    """

    setting: Setting
    measurement: Measurement
    loading: Loading
    strict: bool

    @property
    def under(self) -> str:
        """The model and its setting, for people."""
        return f"{self.setting.row or Path(self.setting.checkpoint).name}, {self.setting.rope}"

    def __str__(self) -> str:
        return f"{self.under}, {self.measurement}"
