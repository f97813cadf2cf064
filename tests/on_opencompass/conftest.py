"""Tests with OpenCompass: `make test-opencompass` runs them in an environment of their own.

One fixture runs both command lines on the same small files, in processes of their own, as a user
would; most of the time goes into importing OpenCompass.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("opencompass") else ["test_*.py"]

if find_spec("opencompass"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are OpenCompass's
        import opencompass.cli.main  # noqa: F401

from helpers import fixtures_paper  # noqa: E402
from helpers.opencompass_runs import Hosts, finish, read, start  # noqa: E402
from rope_eval.hosts.lm_eval.task_files import task_folder  # noqa: E402


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    folder = tmp_path_factory.mktemp("hosts")
    fixtures_paper.write(folder / "data")
    theirs = start(
        folder,
        *("rope-eval", "opencompass", "--models", "scaling_rope_lab_base_1e4"),
        *("--datasets", "rope_paper", "rope_builtin_cumulative"),
        *("--data-dir", "data", "--lengths", "256,512", "--work-dir", "out"),
    )
    ours = start(
        folder,
        *("lm_eval", "--model", "scaling_rope", "--tasks", "rope_paper"),
        *("--model_args", "config=lab/base-1e4,max_length=16384"),
        *("--include_path", str(task_folder()), "--metadata", "data_dir=data"),
        *("--output_path", "lm", "--log_samples"),
    )
    finish(ours)
    finish(theirs)
    return read(folder)
