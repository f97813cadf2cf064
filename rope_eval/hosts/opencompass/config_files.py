"""The folder for OpenCompass's --config-dir: a file for each model, data set and summarizer.

OpenCompass finds them by the names of files. Each file is one call of `configs`, so they are
written when they are asked for, from the catalogue (the user's own rows too) and prompts.yaml.
"""

from __future__ import annotations

import re
from pathlib import Path

from rope_eval import catalogue
from rope_eval.errors import DataError
from rope_eval.paths import cached
from rope_eval.protocols.datasets import PROMPTS
from rope_eval.protocols.tasks import GROUPS, group_name

BOOKS = {
    "rope_books_cumulative": "books3_cumulative",
    "rope_pg19_cumulative": "pg19_cumulative",
    "rope_builtin_cumulative": "builtin_cumulative",
}
COLUMNS = {
    group_name("paper", entry): entry
    for entry in (*PROMPTS["paper"], *(name for of, name in GROUPS if of == "paper"))
}
"""The paper's columns, their parts and groups: entries by the names of their data sets."""
# `__import__`, as OpenCompass's reader makes a placeholder of what an import statement names
_FILE = """\
_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["models"])
{name} = _configs.{call}
del _configs
"""
_SUMMARIZER = 'summarizer = {"type": "rope_eval.hosts.opencompass.summary.StoreSummarizer"}\n'


def config_folder() -> Path:
    """Return the folder, and write what it lacks.

    Raises:
        DataError: for a catalogue that is not as documented, or has two rows of one name here.
        StoreError: where the user's cache cannot be written.
    """
    return cached("opencompass-configs", config_files())


def config_files() -> dict[str, str]:
    """Return the files: their texts by their paths in the folder."""
    files = {"summarizers/rope_eval.py": _SUMMARIZER}
    rows: dict[str, str] = {}
    for row in catalogue.load():
        name = model_name(row)
        if name in rows:
            raise DataError(
                f"the rows {rows[name]} and {row} of the catalogue would both be OpenCompass's "
                f"model {name}: give one of them another name"
            )
        rows[name] = row
        files[f"models/{name}.py"] = _FILE.format(name="models", call=f"models({row!r})")
    calls = {name: f"paper({entry!r})" for name, entry in COLUMNS.items()}
    calls |= {name: f"books({task!r})" for name, task in BOOKS.items()}
    for name, call in calls.items():
        files[f"datasets/{name}.py"] = _FILE.format(name=f"{name}_datasets", call=call)
    return files


def model_name(row: str) -> str:
    """Return OpenCompass's name of a row of the catalogue.

    >>> model_name("llama2-7b/base-500")
    'scaling_rope_llama2_7b_base_500'
    """
    return "scaling_rope_" + re.sub(r"\W", "_", row)
