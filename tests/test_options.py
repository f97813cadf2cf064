"""Every option of `ppl` is in the key of a run, or is named here with why it changes no number."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from rope_eval import runner
from rope_eval.cli import build_parser
from rope_eval.commands import ppl
from rope_eval.paths import asset
from rope_eval.results import identity
from rope_eval.runner.texts import setting_of

LAB = asset("model_configs") / "lab"
BASE = ("ppl", "--model", str(LAB / "base-20"), "--lengths", "64,128", "--docs", "3")
VLLM = ("--backend", "vllm")
SLIDING = ("--protocol", "sliding", "--tokens", "2k", "--stride", "8")
LAST = ("--protocol", "last", "--last", "4")
HALF = ("--dtype", "bfloat16")
IN_KEY = {  # what makes another key, after what it needs beside it
    "model": ((), ("--model", str(LAB / "base-1e6"))),
    "config": ((), ("--config", "lab/base-1e6")),
    "rope": ((), ("--rope", "log_scale=true")),
    "books": ((), ("--books", "builtin-chapters")),
    "lengths": ((), ("--lengths", "64")),
    "docs": (("--books", "builtin-chapters"), ("--docs", "2")),
    "protocol": ((), SLIDING),
    "stride": (SLIDING, ("--stride", "16")),
    "mean": (SLIDING, ("--mean", "windows")),
    "last": (LAST, ("--last", "8")),
    "tokens": (SLIDING, ("--tokens", "4k")),
    "backend": ((), VLLM),
    "tensor_parallel_size": (VLLM, ("--tensor-parallel-size", "2")),
    "engine": (VLLM, ("--engine", '{"seed": 1}')),
    "dtype": ((), HALF),
    "chunk_size": (HALF, ("--chunk-size", "32")),
    "device": (HALF, ("--device", "cpu")),
    "trust_remote_code": ((), ("--trust-remote-code",)),
}
HARMLESS = {  # what makes none, and why
    "allow_pickle": (("--allow-pickle",), "safetensors win, and all weights are in the content"),
    "results": (("--results", "elsewhere"), "where runs are kept"),
    "json": (("--json",), "how they are shown"),
    "force": (("--force",), "scores again under the same key"),
    "chunk_size": (("--chunk-size", "32"), "in float32 to rounding"),
    "device": (("--device", "cpu"), "in float32 to rounding"),
    "strict": (("--strict",), "refuses, and changes no score"),
    "proof": (("--proof", "off"), "what is shown of the weights before the work"),
}
LAUNCHED = {"share"}  # refused without a launcher; of processes that share tokens see below


class _AskedError(Exception):
    pass


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return the key that words of the command line come to, without scoring."""

    def asked(request: runner.CumulativeRequest, *_: object, **__: object) -> None:
        raise _AskedError(request)

    monkeypatch.setattr(runner, "answer", asked)

    def of(*words: str) -> str:
        with pytest.raises(_AskedError) as caught:
            ppl.run(build_parser().parse_args([*BASE, *words]))
        (request,) = caught.value.args
        texts = {"lengths": request.lengths, "books": request.books, "docs": request.documents}
        texts |= {"protocol": request.protocol.label}
        return identity.run_key(setting_of(request) | texts)

    return of


def options() -> set[str]:
    parser = argparse.ArgumentParser()
    ppl.add_parser(parser.add_subparsers())
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {a.dest for a in subparsers.choices["ppl"]._actions} - {"help"}


def test_every_option_is_in_the_key_or_harmless() -> None:
    assert options() == set(IN_KEY) | set(HARMLESS) | LAUNCHED
    assert all(reason for _, reason in HARMLESS.values())


@pytest.mark.parametrize("option", IN_KEY)
def test_what_is_in_the_key(option: str, key: Callable[..., str]) -> None:
    beside, words = IN_KEY[option]
    assert key(*beside) != key(*beside, *words)


@pytest.mark.parametrize("option", HARMLESS)
def test_what_is_harmless(option: str, key: Callable[..., str]) -> None:
    assert key() == key(*HARMLESS[option][0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_processes_that_share_tokens_are_in_the_key_in_half_precision(dtype: str) -> None:
    args = build_parser().parse_args([*BASE, "--dtype", dtype])
    one, two, four = (
        identity.run_key(setting_of(ppl._request(args, shards=shards))) for shards in (1, 2, 4)
    )
    assert (one != two != four) == (dtype == "bfloat16")
    assert (one == two == four) == (dtype == "float32")
