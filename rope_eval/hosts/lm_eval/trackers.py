"""Experiment trackers: lm-eval's own loggers, told of each run that a plan makes."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

from rope_eval.errors import DataError, SpecError
from rope_eval.results.store import Run
from rope_eval.results.tidy import rows
from rope_eval.safe_text import masked

Kind = Literal["trackio", "wandb"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracking:
    """Where runs are logged.

    Attributes:
        kind: the tracker.
        options: of its ``init``, as lm-eval writes them: ``project=rope,mode=offline``.
        group: of the runs, unless the options say another: the plan's name.
    """

    kind: Kind
    options: str = ""
    group: str = ""

    def logger(self) -> Callable[[Run], None]:
        """Return what is to be told of each run.

        A run of the tracker is one of ours: its name is the model and its setting, its
        configuration our request, its numbers those of `rope_eval.results.frame`. What the tracker
        raises is said in a line of the log and ends no work.

        Raises:
            DataError: where the tracker's package is not installed.
            SpecError: for options that are not written as ``name=value,name=value``.
        """
        if importlib.util.find_spec(self.kind) is None:
            raise DataError(f"--{self.kind} needs {self.kind}: `pip install {self.kind}`")
        given = _parsed(self.kind, self.options)

        def told(run: Run) -> None:
            try:
                with redirect_stdout(sys.stderr):  # where trackio speaks
                    _log(self.kind, {"group": self.group} | given, run)
            except Exception as error:  # of a network, mostly: the run itself is stored
                why = masked(" ".join(str(error).split()))
                logging.getLogger(__name__).warning(
                    "run %s is stored, and not logged to %s: %s", run.key, self.kind, why
                )

        return told


def results_of(run: Run) -> dict[str, Any]:
    """Return a run's numbers as lm-eval's loggers take those of an evaluation."""
    numbers: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows(run):
        if row.get("value") is not None:
            metric, length = str(row["metric"]), row.get("length")
            has_length = length is None or str(length) in metric
            numbers[row["task"]][metric if has_length else f"{metric}@{length}"] = row["value"]
    return {"results": dict(numbers), "configs": {}, "config": _config(run)}


def _config(run: Run) -> dict[str, Any]:
    keep = ("model", "rope", "backend", "dtype", "lengths", "books", "tasks", "limit")
    request = {name: run.request[name] for name in keep if name in run.request}
    return {"key": run.key, "kind": run.kind, "row": run.provenance.get("row")} | request


def _log(kind: Kind, options: dict[str, Any], run: Run) -> None:
    from lm_eval.loggers import TrackioLogger, WandbLogger

    results = results_of(run)
    if not results["results"]:
        return
    name = rows(run)[0]["row"]
    begun = {"project": "rope-eval", "name": name} | options
    if kind == "trackio":
        trackio = TrackioLogger(begun | {"config": results["config"]})
        trackio.post_init(results)
        trackio.log_eval_result()
        trackio.finish()
        return
    wandb = WandbLogger(begun, results["config"])
    try:
        wandb.post_init(results)
        wandb.log_eval_result()
    finally:
        wandb.run.finish()  # the next one is a run of its own


def _parsed(kind: Kind, text: str) -> dict[str, Any]:
    from lm_eval.utils import simple_parse_args_string

    if any(not name or not value for name, _, value in _parts(text)):
        raise SpecError(f"--{kind} is written name=value,name=value, got {text!r}")
    return dict(simple_parse_args_string(text))


def _parts(text: str) -> list[tuple[str, str, str]]:
    return [one.partition("=") for one in text.split(",") if one]
