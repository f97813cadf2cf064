"""All columns of Tables 3 to 5: the real lm_eval command, the store, and the tables."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import fixtures_paper
from rope_eval.cli import main
from rope_eval.hosts.lm_eval.task_files import task_folder
from rope_eval.paths import asset


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every task of the paper's protocol on made-up data; return what lm_eval wrote."""
    data = fixtures_paper.write(tmp_path_factory.mktemp("data"))
    output = tmp_path_factory.mktemp("output")
    model = asset("model_configs") / "lab" / "base-20"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("lm_eval")),
            "--model=scaling_rope",
            f"--model_args=pretrained={model},log_scale=True,pretrain_theta=10000,max_length=16384",
            "--tasks=rope_paper",
            f"--include_path={task_folder()}",
            f"--metadata=data_dir={data}",
            "--device=cpu",
            f"--output_path={output}",
            "--log_samples",
        ],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize(("table", "columns"), [("3+4", 12), ("5", 5)])
def test_every_cell_is_filled(
    results: Path, table: str, columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = str(tmp_path / "runs")
    assert main(["import", str(results), "--results", runs]) == 0
    capsys.readouterr()
    words = ["table", table, "--source", "runs", "--results", runs, "--format", "csv"]
    assert main(words) == 0
    header, row = csv.reader(io.StringIO(capsys.readouterr().out))
    published = ["table", table, "--source", "paper", "--format", "csv"]
    assert main(published) == 0
    assert header == next(csv.reader(io.StringIO(capsys.readouterr().out)))
    scores = row[-columns:]
    assert len(header) == columns + 2
    assert all(0 <= float(score) <= 100 for score in scores)
