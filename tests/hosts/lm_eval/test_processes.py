"""lm-eval's own data parallelism, through accelerate, with our model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from helpers.many import forked
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.paths import asset

TASK = """\
task: little
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
metric_list:
  - {{metric: perplexity, aggregation: perplexity, higher_is_better: false}}
"""


@pytest.mark.filterwarnings("ignore")  # of lm-eval and datasets
def test_requests_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval shares out where it counts GPUs, so it is told of two; accelerate has the CPU."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"q": f"def f{i}(x):\n" * i + "    return", "a": f" x + {i}"} for i in range(1, 8)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "little.yaml").write_text(TASK.format(data=data))

    def evaluated(gpus: int) -> tuple[int, int, dict[str, Any] | None]:
        AcceleratorState._reset_state(reset_partial_state=True)  # what other tests left in us
        torch.cuda.device_count = lambda: gpus
        model = str(asset("model_configs") / "lab" / "base-20")
        setting = {"log_scale": True, "pretrain_theta": 10000, "reference_length": 8}
        lm = ScalingRopeLM(model, **setting, dtype="float32", device="cpu", proof="off")
        done = simple_evaluate(
            lm,
            tasks=["little"],
            task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
            bootstrap_iters=0,
        )
        return lm.rank, lm.world_size, done and done["results"]["little"]

    ((_, alone, expected),) = forked(1, lambda: evaluated(0))
    (first, of_two, found), (second, _, nothing) = forked(2, lambda: evaluated(2))
    assert (alone, of_two, first, second) == (1, 2, 0, 1)
    assert nothing is None
    assert expected is not None and found is not None
    assert found["sample_len"] == expected["sample_len"] == len(rows)
    assert found["perplexity,none"] == pytest.approx(expected["perplexity,none"], rel=1e-6)
