"""The measurements of plans: one file each, found by being here.

To add one, write ``rope_eval/plans/measurements/<name>.py`` with ``KIND = Kind(word=…, read=…)``
and a `Measurement` (`rope_eval.plans.cell`) that `read` makes of the value under that word. One
that is made of parts (documents, tasks) says what a part is and how the parts make a run, and
`rope_eval.plans.parts` does the rest: claims, resuming, what failed. A row in docs/plans.md.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from rope_eval.plans.cell import Kind


def _found() -> dict[str, Kind]:
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    kinds: list[Kind] = [import_module(f"{__name__}.{name}").KIND for name in modules]
    return {kind.word: kind for kind in kinds}


REGISTRY = _found()
