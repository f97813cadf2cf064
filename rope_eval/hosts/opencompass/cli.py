"""OpenCompass's command line, with an exit status that says whether work failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from opencompass.cli import main as cli
from opencompass.runners.base import BaseRunner

from rope_eval.errors import DataError

DATASETS_AT_ONCE = 1000  # starting a process takes longer than marking most data sets


def run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run ``opencompass WORDS``; return 0, or 1 where a task of inference or evaluation failed.

    The process is OpenCompass's from then on: its arguments and environment are changed.

    Args:
        words: its arguments.
        environment: what its configurations and tasks find in the environment beside the rest.

    Raises:
        DataError: for models or data sets that it does not find.
        RopeEvalError: any other of its kinds, raised by our configurations.
    """
    failed: list[str] = []
    summarize, read = BaseRunner.summarize, cli.get_config_from_arg

    def recording(self: BaseRunner, status: Any) -> None:
        status = list(status)
        failed.extend(name for name, code in status if code != 0)
        summarize(self, status)

    def reading(args: Any) -> Any:
        try:
            cfg = read(args)
        except ValueError as error:
            raise DataError(f"opencompass: {error}") from error
        if not (args.slurm or args.dlc):
            cfg.setdefault("eval", _evaluation(args))
        return cfg

    BaseRunner.summarize, cli.get_config_from_arg = recording, reading
    os.environ.update(environment)
    sys.argv = ["opencompass", *words]
    cli.main()
    for name in failed:
        print(f"rope-eval: error: failed work: {name}", file=sys.stderr)
    return 1 if failed else 0


def _evaluation(args: Any) -> dict[str, Any]:
    """Return OpenCompass's own stage, with one process for all data sets and not one for each."""
    return {
        "partitioner": {"type": "opencompass.partitioners.NaivePartitioner", "n": DATASETS_AT_ONCE},
        "runner": {
            "type": "opencompass.runners.LocalRunner",
            "max_num_workers": args.max_num_workers,
            "task": {"type": "opencompass.tasks.OpenICLEvalTask"},
        },
    }
