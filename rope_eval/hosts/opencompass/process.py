"""A data set of OpenCompass on one model, in a process of an environment that has it.

Nothing of OpenCompass is imported here: its environment excludes that of lm-eval's newest.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rope_eval.errors import ScoreError, SpecError
from rope_eval.hosts.opencompass.config_files import BOOKS, COLUMNS, config_files
from rope_eval.hosts.opencompass.environment import DATA_DIR
from rope_eval.protocols.tasks import at_hand
from rope_eval.results.store import Store

MODEL = "rope_eval_plan_model"
SAID = "said.txt"
# `__import__` and a literal, as OpenCompass's reader makes a placeholder of an import statement
_FILE = """\
_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["model_at"])
models = [_configs.model_at(**{settings!r})]
del _configs
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What OpenCompass made of a part of a data set.

    Attributes:
        tasks: its record, as those of `rope_eval.results.imports`.
        arrays: as those of an import.
        provenance: what is recorded of the process.
    """

    tasks: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    provenance: dict[str, Any]


@functools.cache
def version_in(python: str) -> str:
    """Return the release of OpenCompass in an environment.

    Args:
        python: the environment's interpreter.

    Raises:
        SpecError: where it has no OpenCompass, or is none.
    """
    look = "import rope_eval, importlib.metadata as m; print(m.version('opencompass'))"
    try:
        done = subprocess.run(
            [python, "-c", look], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SpecError(f"{python} cannot be run: {error}") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SpecError(
            f"{python} has no OpenCompass and rope-eval: {why}. Give python: of an environment "
            "that has both, see docs/opencompass.md"
        )
    return done.stdout.strip()


def parts_in(python: str, dataset: str, data_dir: str | None = None) -> list[str]:
    """Return the parts of a data set by name: of MMLU 57, of most one.

    Args:
        python: the interpreter of the environment.
        dataset: its name, of OpenCompass's ``--datasets``.
        data_dir: a folder of data sets instead of the hub, for those of this package; what a group
            has no data of is left out, as in `rope_eval.hosts.opencompass.columns.paper`.

    Raises:
        SpecError: where there is no such data set, or it is of whole books.
    """
    if dataset in BOOKS:
        raise SpecError("whole books are the measurement perplexity of a plan, not opencompass")
    if dataset not in COLUMNS:
        return _stock_parts(python, dataset)
    found = at_hand("paper", COLUMNS[dataset], data_dir or os.environ.get(DATA_DIR))
    return [task.name for task, missing in found if not missing]


@functools.cache
def _stock_parts(python: str, dataset: str) -> list[str]:
    words = [python, "-m", "rope_eval.hosts.opencompass.stock", dataset]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise SpecError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    parts: list[str] = json.loads(done.stdout)
    return parts


class Session:
    """A model in OpenCompass, in a process that measures parts of a data set one after another.

    As a context manager it ends the process, and all that this has started. The model is loaded
    with the first part.

    Args:
        python: the interpreter of the environment.
        dataset: its name, of OpenCompass's ``--datasets``.
        settings: arguments of `rope_eval.hosts.opencompass.configs.model_at`.
        data_dir: a folder of data sets instead of the hub, for those of this package.
    """

    def __init__(
        self, python: str, dataset: str, settings: Mapping[str, Any], data_dir: str | None = None
    ) -> None:
        self._words = [_absolute(python), "-m", "rope_eval.hosts.opencompass.session"]
        self._dataset = dataset
        self._model = _FILE.format(settings=_placed(settings))
        self._data_dir = data_dir
        self._process: subprocess.Popen[str] | None = None
        self._folder = Path()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def measure(self, part: str) -> Measured:
        """Measure a part of `parts_in`.

        Raises:
            ScoreError: where it failed, with the reason.
        """
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            print(json.dumps(part), file=process.stdin, flush=True)
            reply = process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            code, why = process.wait(), _last_error(self._folder / SAID)
            self._end()  # the next part has a process of its own
            raise ScoreError(f"opencompass ended with {code}: {why}")
        if why := json.loads(reply).get("error"):
            raise ScoreError(why)
        return _read(self._folder, part)

    def _start(self) -> subprocess.Popen[str]:
        """Start the process, in a folder of its own.

        OpenCompass writes into the current directory, and looks for data sets below it: where
        nothing else is said, these are looked for below ours.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="rope-eval-"))
        for path, text in (config_files() | {f"models/{MODEL}.py": self._model}).items():
            file = self._folder / "configs" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        environment = {"COMPASS_DATA_CACHE": str(Path.cwd()), **os.environ}
        if self._data_dir:
            environment[DATA_DIR] = _absolute(self._data_dir)
        with (self._folder / SAID).open("w", encoding="utf-8") as said:
            self._process = subprocess.Popen(
                [*self._words, str(self._folder), MODEL, self._dataset],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its work is read already
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _placed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the model's place as it is found from any folder."""
    path = settings["path"]
    return {**settings, "path": _absolute(path) if Path(path).exists() else path}


def _absolute(path: str) -> str:
    """Return a path as it is found from any folder; a link of an environment stays one."""
    return str(Path(path).absolute()) if os.sep in path or Path(path).exists() else path


def _last_error(said: Path) -> str:
    """Return the last line that names an error, or the last one."""
    lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in lines if line.strip() and "it/s" not in line]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["no reason given"])[-1]


def _read(folder: Path, part: str) -> Measured:
    """Return what is in the folder of a part: of ours a run, else what OpenCompass wrote."""
    store = Store(folder / "runs")
    for run in store.runs():
        if part in run.results["tasks"]:
            record = {name: run.provenance[name] for name in ("versions", "proof")}
            return Measured(
                tasks=run.results["tasks"], arrays=store.arrays(run.key), provenance=record
            )
    (file,) = folder.glob(f"out/results/*/{part}.json")
    return Measured(tasks={part: _stock(file)}, arrays={}, provenance={})


def _stock(file: Path) -> dict[str, Any]:
    """Return the record of a data set of OpenCompass itself, its scores as it writes them."""
    found = json.loads(file.read_text(encoding="utf-8"))
    metrics = {
        f"{name},opencompass": value
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if "error" in found or not metrics:
        raise ScoreError(f"{file.stem}: {found.get('error', 'no number in its results')}")
    count = _items(file)
    return {
        "protocol": "opencompass",
        "metrics": metrics,
        "n": count,
        "n_all": None,
        "version": None,
        "num_fewshot": None,
        "hash": None,
        "metadata": {},
        "answers": {},
        "samples": [],
    }


def _items(results: Path) -> int | None:
    """Return how many predictions a data set has, which may lie in several files."""
    folder = results.parents[2] / "predictions" / results.parent.name
    files = [*folder.glob(f"{results.stem}.json"), *folder.glob(f"{results.stem}_[0-9]*.json")]
    counts = [len(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return sum(counts) if counts else None
