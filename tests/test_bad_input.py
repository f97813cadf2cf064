"""Bad input ends in one message and exit status 2: never in a traceback, never in a hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from helpers.watched import rope_eval
from rope_eval.paths import asset

LONG = "x" * 300
MODEL = asset("model_configs") / "lab" / "base-20"
LAWS = ("theory", "--train-length=4k", "--pretrain-theta=1e4", "--rope-theta=1e4", "--head-dim=128")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        ended = rope_eval(*words)
        assert ended.status == 2, (words, ended)
        return ended.err

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*LAWS, "--target-length=1m", "--bases-per-decade=1000000000"), "5,000 or less"),
        ((*LAWS[:-1], "--head-dim=128000000000"), "16,384 or less"),
        (("theory", "--head-dim", "128", "--train-length=--"), "--train-length has the value --"),
        (("ppl", "--config=--", "--lengths=64"), "--config has the value --"),
        (("theory", "--model=a\0b"), "null character"),
        (("store", "export", "-o=\ud800"), "lone surrogate"),
        (("import", LONG), "File name too long"),
        (("store", "verify", f"--results={LONG}"), "no folder of runs"),
        (("store", "sweep", f"--results={LONG}"), "no folder of runs"),
        (("ppl", f"--model={LONG}", "--lengths=64"), "File name too long"),
        (("import", "/dev/zero"), "this is a device"),
        (("list", "models", "--checkpoints=/dev/zero"), "this is a device"),
        (("attention", "--model=x", "--length=64", "--bins=100000000000"), "10,000 or fewer"),
        (("attention", "--model=x", "--length=64", "--device=meta"), "--device meta"),
        (("attention", "--model=x", "--length=64", "--output=/proc/x.png"), "cannot write"),
    ],
)
def test_what_was_wrong_is_said(
    refused: Callable[..., str], words: tuple[str, ...], message: str
) -> None:
    said = refused(*words)
    assert said.startswith("rope-eval: error: ")
    assert message in said


def test_a_folder_is_no_output(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    said = refused("attention", "--model=x", "--length=64", "--output=a.png")
    assert "a.png is a folder" in said
    (tmp_path / "runs").mkdir()
    assert "a.png is a folder" in refused("store", "export", "-o", "a.png", "--results", "runs")


@pytest.mark.parametrize(
    "content", [b"[" * 10_000, b"\xff", b"[]", b"null", b'{"head_dim": 1e400}', b'{"head_dim": []}']
)
def test_a_config_that_is_none(refused: Callable[..., str], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert "config.json" in refused("theory", "--model", str(tmp_path))


def test_a_config_that_is_a_pipe(refused: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert "this is a pipe" in refused("theory", "--model", str(tmp_path))


@pytest.mark.parametrize("name", ["results_x.json", "checkpoints.yaml"])
def test_small_files_are_small(refused: Callable[..., str], tmp_path: Path, name: str) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )
    (tmp_path / name).write_text(bomb if name.endswith("yaml") else json.dumps([[[]]]))
    words = ("list", "models") if name.endswith("yaml") else ("import", ".")
    assert len(refused(*words)) < 10_000


def test_sixty_four_tokens_of_fifty_megabytes_take_little_memory(tmp_path: Path) -> None:
    line = "It was a long book, and nothing in it was new, but the words went on.\n"
    (tmp_path / "small.txt").write_text(line * 50)
    (tmp_path / "big.txt").write_text(line * (50_000_000 // len(line)))
    program = (
        "import resource, sys\n"
        "from rope_eval.cli import main\n"
        "book = ['--books', sys.argv[1], '--results', f'{sys.argv[1]}.runs']\n"
        f"assert main(['ppl', '--model={MODEL}', '--lengths=64', '--device=cpu', *book]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, book],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for book in ("small.txt", "big.txt")
    ]
    small, big = (int(process.communicate()[0].split()[-1]) for process in processes)
    assert big - small < 100  # MiB


def test_a_bomb_is_refused_in_seconds(refused: Callable[..., str], tmp_path: Path) -> None:
    compressor = zstandard.ZstdCompressor().compressobj()
    with (tmp_path / "bomb.jsonl.zst").open("wb") as file:
        for _ in range(200):
            file.write(compressor.compress(bytes(10 << 20)))
        file.write(compressor.flush())
    assert (tmp_path / "bomb.jsonl.zst").stat().st_size < 1 << 20
    books = ("ppl", "--model", str(MODEL), "--lengths=64", "--books")
    assert "longer than 67,108,864 bytes" in refused(*books, "bomb.jsonl.zst")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "this is a pipe" in refused(*books, "pipe.jsonl")
    (tmp_path / "endless.txt").symlink_to("/dev/zero")
    assert "this is a device" in refused(*books, "endless.txt")
