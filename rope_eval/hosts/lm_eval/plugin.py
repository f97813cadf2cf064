r"""Make `lm_eval --model scaling_rope` work in lm-eval 0.4.13, which does not discover plug-ins.

rope_eval_lm_eval.pth, one line in site-packages, imports this module in a process that runs lm_eval
(as a script, or as the module after a ``-m``, whatever Python's own options are before it), and in
no other; importing it costs well under a millisecond. Nothing of lm-eval
is changed: when it has built its own table of models, one lazy name is added to it. A version of
lm-eval that reads the entry point group ``lm_eval.models`` finds the name there already, and this
does nothing. A script that imports rope_eval has the name as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from rope_eval.errors import RopeEvalError

MODEL = "scaling_rope"
TARGET = "rope_eval.hosts.lm_eval.model:ScalingRopeLM"


def activate() -> None:
    """Register the model when lm_eval has been imported, and show errors as messages."""
    announce()
    sys.excepthook = _show_error
    sys.argv = name_the_checkpoint(sys.argv)
    if MODEL in " ".join(sys.argv) and not {"--config", "-C"} & set(sys.argv):
        try:
            sys.argv = reach_tasks(sys.argv)
        except RopeEvalError as error:  # lm-eval's own tasks are there all the same
            from rope_eval.terminal import remark

            remark(f"rope-eval: its tasks are not found: {error}")


def announce() -> None:
    """Register the model, as soon as lm-eval's own are if they are not yet."""
    if "lm_eval.models" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterModels) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterModels())


def name_the_checkpoint(words: Sequence[str]) -> list[str]:
    """Return a command line of lm_eval in which ``config=NAME`` has its ``pretrained`` beside it.

    lm-eval gives the model's arguments to tasks that make their own prompts (RULER asks them for a
    tokenizer), and names the folder of a run's results after them. A row that cannot be found stays
    as it is: the model refuses it by name.
    """
    words = list(words)
    given = _model_arguments(words)
    rows = [item.removeprefix("config=") for item in given if item.startswith("config=")]
    if MODEL not in " ".join(words) or not rows or any("pretrained" in item for item in given):
        return words
    from rope_eval import catalogue

    try:
        checkpoint = catalogue.find(rows[-1]).require_checkpoint()
    except RopeEvalError:
        return words
    return [*words, "--model_args", json.dumps({"pretrained": checkpoint})]


def reach_tasks(words: Sequence[str]) -> list[str]:
    """Return a command line of lm_eval with this package's tasks, if it has no ``--include_path``.

    Raises:
        StoreError: where the user's cache cannot be written.
    """
    if any(word.split("=")[0] == "--include_path" for word in words):
        return list(words)
    from rope_eval.hosts.lm_eval.task_files import task_folder

    return [*words, "--include_path", str(task_folder())]


def _model_arguments(words: Sequence[str]) -> list[str]:
    """Return the items of every ``--model_args``, ``key=value`` each."""
    found: list[str] = []
    takes = False
    for word in words:
        option, _, value = word.partition("=")
        is_option = word.startswith("-")
        if is_option:
            takes = option in ("--model_args", "-a")
        if takes:
            found += (value if is_option else word).split(",")
    return found


class _AfterModels(MetaPathFinder):
    """Finds `lm_eval.models` as the others do, once, and adds a step after its execution."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "lm_eval.models":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(Loader):
    def __init__(self, loader: Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        register()


def register() -> None:
    """Add the model to lm-eval's registry by its lazy name, unless lm-eval has found it itself."""
    from lm_eval.api.registry import model_registry

    if MODEL not in model_registry:
        model_registry.register(MODEL, target=TARGET)


def _show_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print a user's mistake without a traceback, and exit as rope-eval does."""
    from rope_eval.terminal import complain

    if not isinstance(error, RopeEvalError):
        sys.__excepthook__(kind, error, trace)
        return
    complain(error, "lm_eval")
    raise SystemExit(error.exit_code)
