"""The bound and the training length that belong to a run, by its own record where it has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rope_eval.errors import RopeEvalError
from rope_eval.results.documents import of_known_shape
from rope_eval.results.naming import Names
from rope_eval.results.store import Run
from rope_eval.rope.facts import Facts
from rope_eval.rope.geometry import RopeConfig
from rope_eval.rope.laws import OWN_BASE
from rope_eval.rope.spec import RopeSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """What is known of a model under a setting; None is unknown.

    Attributes:
        base: rope_theta.
        bound: T_extra of Theorems 2 and 3 of arXiv 2310.05209, in tokens.
        train_length: the longest length that the model was trained at, in tokens.
    """

    base: float | None = None
    bound: float | None = None
    train_length: float | None = None


class RunLaws:
    """Finds the laws of runs: their own record, else that of another run of the same, else the row.

    Tasks record no bound. A run of the same weights under the same setting has the same one, and so
    has the config of the catalogue's row whose weights, by content, are the run's.

    Args:
        runs: all of the store, by their keys.
        names: of the rows.
    """

    def __init__(self, runs: Mapping[str, Run], names: Names) -> None:
        self._runs, self._names = runs, names
        self._found: dict[str, Law] = {}
        self._said: dict[str, Law] = {}
        for run in runs.values():
            if (law := _recorded(run)) is not None:
                self._said[_identity(run)] = law

    def of(self, key: str) -> Law:
        """Return what is known of a run."""
        if key not in self._found:
            self._found[key] = self._find(self._runs[key])
        return self._found[key]

    def _find(self, run: Run) -> Law:
        law = _recorded(run) or self._said.get(_identity(run))
        if law is None or law.base is None:
            configured = self._configured(run)
            law = configured if law is None else replace(law, base=configured.base)
        return law

    def _configured(self, run: Run) -> Law:
        folder = self._names.checkpoint(run)
        spec = RopeSpec.from_dict(run.request.get("rope", {}))
        if folder is None:
            return Law(base=spec.rope_theta)
        try:
            facts = Facts(spec, RopeConfig.read(Path(folder)).geometry)
        except RopeEvalError:
            return Law(base=spec.rope_theta)
        return Law(
            base=facts.rope_theta,
            bound=facts.bound[0],
            train_length=facts.laws.tune_length.value or facts.laws.train_length.value,
        )


def _recorded(run: Run) -> Law | None:
    """Return what a run's record says, if it is one of those that say something."""
    laws: Any = run.results.get("laws")
    if not laws:
        return None
    with of_known_shape(run):
        base = run.request.get("rope", {}).get("rope_theta")
        pretrained = laws["pretrain_theta"]
        if base is None and pretrained["source"] == OWN_BASE:
            base = pretrained["value"]
        return Law(
            base=base,
            bound=run.results.get("extrapolation_bound"),
            train_length=laws["tune_length"]["value"] or laws["train_length"]["value"],
        )


def _identity(run: Run) -> str:
    model = run.request.get("fingerprint") or run.results.get("fingerprint") or run.key
    return json.dumps([model, run.request.get("rope"), run.request.get("overrides")])
