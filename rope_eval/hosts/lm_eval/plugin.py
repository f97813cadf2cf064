r"""Make `lm_eval --model scaling_rope` work in lm-eval 0.4.13, which does not discover plug-ins.

rope_eval_lm_eval.pth, one line in site-packages, imports this module in a process whose command
line names lm_eval, and in no other; importing it costs well under a millisecond. Nothing of lm-eval
is changed: when it has built its own table of models, one lazy name is added to it. A version of
lm-eval that reads the entry point group ``lm_eval.models`` finds the name there already, and this
does nothing.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

MODEL = "scaling_rope"
TARGET = "rope_eval.hosts.lm_eval.model:ScalingRopeLM"


def activate() -> None:
    """Register the model when lm_eval has been imported, and show errors as messages."""
    sys.meta_path.insert(0, _AfterModels())
    sys.excepthook = _show_error


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
    from rope_eval.errors import RopeEvalError

    if not isinstance(error, RopeEvalError):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"lm_eval: error: {error}", file=sys.stderr)
    raise SystemExit(error.exit_code)
