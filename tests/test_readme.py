"""Every command of the README runs as it is written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ELSEWHERE = ("make", "pip")  # what installs, and would run these tests again: CI does both


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def test_the_readme_has_commands() -> None:
    assert sum(not c.startswith(ELSEWHERE) for c in commands()) >= 5
    assert "make demo" in commands()
    assert "make test" in commands()


@pytest.mark.parametrize("command", [c for c in commands() if not c.startswith(ELSEWHERE)])
def test_command(command: str, tmp_path: Path) -> None:
    for name in ("tasks", "model_configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "lab").symlink_to(ROOT / "results" / "lab")
    program, *words = shlex.split(command)
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if "2k" in command or "2048" in command:
        assert "2048" in done.stdout


def test_the_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("studies/*/*.md")):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_the_python_example_runs() -> None:
    import torch

    from helpers import models

    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"model": models.tiny(), "input_ids": torch.arange(2, 40)}
    exec(example.replace("model.generate(...)", "generated = 1"), names)
    assert len(names["scores"].nll) == 37
