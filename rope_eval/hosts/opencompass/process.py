"""One data set of OpenCompass on one model, in a process of an environment that has it.

Nothing of OpenCompass is imported here: its environment excludes that of lm-eval's newest.
"""

from __future__ import annotations

import functools
import json
import os
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
from rope_eval.hosts.opencompass.config_files import config_files
from rope_eval.results.store import Store

MODEL = "rope_eval_plan_model"
# `__import__` and a literal, as OpenCompass's reader makes a placeholder of an import statement
_FILE = """\
_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["model_at"])
models = [_configs.model_at(**{settings!r})]
del _configs
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What OpenCompass made of a data set.

    Attributes:
        tasks: records of its parts, as those of `rope_eval.results.imports`.
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


def measure(
    python: str, dataset: str, settings: Mapping[str, Any], data_dir: str | None = None
) -> Measured:
    """Run a data set, and return what was measured.

    Args:
        python: the interpreter of the environment.
        dataset: its name, of OpenCompass's ``--datasets``.
        settings: arguments of `rope_eval.hosts.opencompass.configs.model_at`.
        data_dir: a folder of data sets instead of the hub, for those of this package.

    Raises:
        ScoreError: where a part of the work failed, with the reason.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = config_files() | {f"models/{MODEL}.py": _FILE.format(settings=_placed(settings))}
        for path, text in files.items():
            file = folder / "configs" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        words = [
            *(_absolute(python), "-m", "rope_eval", "opencompass"),
            *("--models", MODEL, "--datasets", dataset),
            *("--config-dir", str(folder / "configs"), "--work-dir", str(folder / "out")),
            *("--results", str(folder / "runs")),
            *(("--data-dir", _absolute(data_dir)) if data_dir else ()),
        ]
        said = _run(words, folder)
        return _read(folder, said)


def _placed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the model's place as it is found from any folder."""
    path = settings["path"]
    return {**settings, "path": _absolute(path) if Path(path).exists() else path}


def _absolute(path: str) -> str:
    """Return a path as it is found from any folder; a link of an environment stays one."""
    return str(Path(path).absolute()) if os.sep in path or Path(path).exists() else path


def _run(words: list[str], folder: Path) -> str:
    """Run a command in a folder, and return what it said; the processes that it starts end with it.

    OpenCompass writes into the current directory, and looks for data sets below it: where nothing
    else is said, these are looked for below ours.
    """
    with subprocess.Popen(
        words,
        cwd=folder,
        env={"COMPASS_DATA_CACHE": str(Path.cwd()), **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise ScoreError(f"opencompass ended with {process.returncode}: {_reason(folder, said)}")
    return said


def _reason(folder: Path, said: str) -> str:
    """Return the last line of the first log of inference or evaluation, or of what was said."""
    logs = [*folder.glob("out/*/logs/infer/*/*.out"), *folder.glob("out/*/logs/eval/*/*.out")]
    texts = [log.read_text(encoding="utf-8", errors="replace") for log in logs]
    of_errors = [text for text in texts if "Error" in text] or [said]
    lines = [line.strip() for line in of_errors[0].splitlines() if "it/s" not in line]
    errors = [line for line in lines if "Error" in line or line.startswith("rope-eval: error")]
    return ([*lines[-1:], *errors] or ["no reason given"])[-1]


def _read(folder: Path, said: str) -> Measured:
    store = Store(folder / "runs")
    tasks: dict[str, Any] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    record: dict[str, Any] = {}
    for run in store.runs():
        if run.kind != "opencompass":
            raise SpecError("whole books are the measurement perplexity of a plan, not opencompass")
        tasks |= run.results["tasks"]
        arrays |= store.arrays(run.key)
        record = {name: run.provenance[name] for name in ("versions", "proof")}
    for file in sorted(folder.glob("out/*/results/*/*.json")):
        if file.stem not in tasks:
            tasks[file.stem] = _stock(file)
    if not tasks:
        raise ScoreError(f"opencompass has measured nothing: {_reason(folder, said)}")
    return Measured(tasks=tasks, arrays=arrays, provenance=record)


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
