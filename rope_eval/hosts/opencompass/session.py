"""One model in OpenCompass, and parts of a data set measured one after another as they are asked.

`rope_eval.hosts.opencompass.process` starts this in OpenCompass's environment. OpenCompass's own
command line does a whole data set at a time, in processes that each load the model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from opencompass.cli import main as cli
from opencompass.tasks import OpenICLEvalTask, OpenICLInferTask

from rope_eval.errors import RopeEvalError, ScoreError
from rope_eval.hosts.opencompass.summary import runs_of
from rope_eval.results.store import Store


class Session:
    """A model and a data set.

    Args:
        folder: with our configurations in ``configs``; everything is written below it.
        model: of ``--models``.
        dataset: of ``--datasets``.
    """

    def __init__(self, folder: Path, model: str, dataset: str) -> None:
        sys.argv = ["opencompass", "--models", model, "--datasets", dataset]
        sys.argv += ["--config-dir", str(folder / "configs"), "--summarizer", "rope_eval"]
        cfg = cli.get_config_from_arg(cli.parse_args())
        file = folder / "config.py"
        cfg.dump(str(file))  # as OpenCompass does: it makes names of types
        cfg = Config.fromfile(str(file), format_python_code=False)
        (self.model_cfg,) = cfg["models"]
        self.datasets = {one["abbr"]: one for one in cfg["datasets"]}
        self.folder = folder
        self._model: Any = None

    def measure(self, part: str) -> None:
        """Measure a part: OpenCompass's files, and of ours a run, are then in the folder.

        Raises:
            Exception: of any kind, where OpenCompass or the model fails.
        """
        dataset = self.datasets[part]
        cfg = ConfigDict(
            models=[self.model_cfg],
            datasets=[[dataset]],
            work_dir=str(self.folder / "out"),
            eval={"runner": {"task": {"dump_details": True}}},
        )
        inference = OpenICLInferTask(cfg)
        inference.run(cur_model=self._model, cur_model_abbr=self.model_cfg["abbr"])
        self._model = inference.model
        OpenICLEvalTask(cfg).run()
        runs, failed = runs_of(self.model_cfg, [dataset], cfg.work_dir)
        if failed:
            raise ScoreError(failed[0])
        for run, arrays in runs:
            Store(self.folder / "runs").put(run, arrays)


def serve(folder: Path, model: str, dataset: str) -> None:
    """Measure the parts that lines of standard input name; a line of JSON says how each went."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever OpenCompass prints
    session = Session(folder, model, dataset)
    for line in sys.stdin:
        try:
            session.measure(json.loads(line))
            reply: dict[str, str] = {}
        except RopeEvalError as error:
            reply = {"error": str(error)}
        except Exception as error:  # the next part does not depend on it
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
