"""`rope-eval ppl` in the processes of a launcher: one answer, one store, one message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.many import commanded
from rope_eval.backends.hf.replay import Chunk, Replay
from rope_eval.cli import main
from rope_eval.errors import DataError, ScoreError
from rope_eval.paths import asset
from rope_eval.results.store import Store
from rope_eval.scoring import tokens

ROPE = "log_scale=true,dynamic_ntk=per_query,pretrain_theta=10000"
QUIET = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    for name, words in (("a", 60), ("b", 45), ("c", 40), ("short", 5)):
        text = f"def {name}(x):\n    return x * {words}\n" * words
        (folder / f"{name}.txt").write_text(text)
    return folder


def words_of(books: Path, store: Path, *more: str) -> list[str]:
    model = str(asset("model_configs") / "lab" / "base-20")
    return [
        *("ppl", "--model", model, "--books", str(books), "--lengths", "64,200"),
        *("--rope", ROPE, "--device", "cpu", "--store", str(store), "--json", *more),
    ]


def alone(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(words) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


@pytest.mark.parametrize("share", ["documents", "tokens"])
def test_the_answer_is_that_of_one_process(
    share: str, books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = alone(words_of(books, tmp_path / "one", "--chunk-size", "16"), capsys)
    words = words_of(books, tmp_path / "two", "--chunk-size", "16", "--share", share)
    (status, out, err), follower = commanded(2, words)
    assert (status, err, follower) == (0, "", (0, "", ""))
    found = json.loads(out)
    assert found["documents"] == 3
    assert found["perplexity"] == pytest.approx(expected["perplexity"], rel=1e-5)
    same = ("accuracy", "tokens", "key", "laws", "lengths")
    assert [found[name] for name in same] == [expected[name] for name in same]
    store = Store(tmp_path / "two")
    run = store.get(found["key"])
    assert run is not None
    (ran,) = run.provenance["ran"]
    assert (ran["processes"], ran["share"]) == (2, share)
    assert len(run.results["documents"]) == 3
    assert [store.documents.get(key) is not None for key in run.results["documents"]] == [True] * 3


def test_torchrun(books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = words_of(books, tmp_path / "two", "--share", "tokens", "--docs", "1")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "rope_eval", *words),
        ],
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = alone(words_of(books, tmp_path / "one", "--docs", "1"), capsys)
    assert found["perplexity"] == pytest.approx(expected["perplexity"], rel=1e-5)


def test_what_is_stored_needs_no_model(
    books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = alone(words_of(books, tmp_path / "runs"), capsys)
    (status, out, err), follower = commanded(2, words_of(books, tmp_path / "runs"))
    assert (status, err, follower) == (0, "", (0, "", ""))
    assert json.loads(out) == expected | {"from_store": True}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--lengths", "64,99999"], "error: 1 document of at least 99999 tokens is needed"),
        (["--lengths", "x"], "error: "),
        (["--lenths", "64"], "unrecognized arguments: --lenths"),
        (["--backend", "vllm", "--device", "cuda:0"], "error: backend=vllm takes the device"),
        (["--device", "cuda:1"], "is one GPU, and each of the launcher's processes takes its own"),
        (["--device", "auto"], "is all GPUs, and each of the launcher's processes takes its own"),
    ],
    ids=str,
)
def test_bad_input_is_said_once(more: list[str], says: str, books: Path, tmp_path: Path) -> None:
    ended = commanded(2, words_of(books, tmp_path / "runs", *more))
    assert [status for status, _, _ in ended] == [2, 2]
    errors = [err for _, _, err in ended if err]
    assert len(errors) == 1
    assert says in errors[0]
    assert "Traceback" not in errors[0]


def failing(rank: int, how: Callable[[], None]) -> Callable[[int], None]:
    """Return what has one process fail in the middle of its work: in a layer, past the first."""

    def before(own: int) -> None:
        ran = Replay.run

        def run(self: Replay, block: int, chunk: Chunk) -> None:
            if own == rank and block == 1:
                how()
            ran(self, block, chunk)

        Replay.run = run  # type: ignore[method-assign]

    return before


def no_room() -> None:
    raise DataError("there is no room")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("share", ["documents", "tokens"])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_fails_ends_all_with_one_message(
    rank: int, share: str, books: Path, tmp_path: Path
) -> None:
    words = words_of(books, tmp_path / "runs", "--share", share, "--proof", "off")
    ended = commanded(2, words, failing(rank, no_room))
    assert [status for status, _, _ in ended] == [2, 2]
    assert [out for _, out, _ in ended] == ["", ""]
    which = " (process 1 of 2)" if rank else ""
    assert ended[rank][2] == f"rope-eval: error: there is no room{which}\n"
    assert ended[1 - rank][2] == ""


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_ends_all(rank: int, books: Path, tmp_path: Path) -> None:
    words = words_of(books, tmp_path / "runs", "--share", "tokens", "--proof", "off")
    ended = commanded(2, words, failing(rank, killed))
    assert ended[rank][0] == -signal.SIGKILL
    status, out, err = ended[1 - rank]
    assert (status, out) == (1, "")
    assert err.startswith("rope-eval: error: one of the 2 processes has ended without a word")


def test_a_document_that_fails_leaves_the_others(books: Path, tmp_path: Path) -> None:
    """The second process has the second document."""

    def before(rank: int) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ScoreError("the score of token 3 is nan")

        if rank == 1:
            tokens.score_hidden = fail  # type: ignore[assignment]

    words = words_of(books, tmp_path / "runs", "--proof", "off")
    (status, out, _), (other, _, _) = commanded(2, words, before)
    found = json.loads(out)
    assert (status, other) == (1, 1)
    assert found["documents"] == 2
    assert [one["error"] for one in found["failed"]] == ["b: the score of token 3 is nan"]


def test_sharing_needs_a_launcher(
    books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_of(books, tmp_path / "runs", "--share", "tokens")) == 2
    assert "torchrun --standalone --nproc-per-node 2" in capsys.readouterr().err
