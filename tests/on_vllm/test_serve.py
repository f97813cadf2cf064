"""`rope-eval serve`: the real server, the real client, the numbers of `hf`."""

from __future__ import annotations

import os
import pydoc_data.topics
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch

from helpers.vllm_environment import FAST
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.attention import sequence_lengths
from rope_eval.backends.hf.loading import encode, load_model, load_tokenizer
from rope_eval.cli import main
from rope_eval.paths import asset

MODEL = str(asset("model_configs") / "lab" / "base-1e4")
SPEC = "rope_theta=500,log_scale=true,xpos=true,dynamic_ntk=per_sequence,reference_length=100"
TEXT = pydoc_data.topics.topics["class"]
PROMPTS = [(TEXT[:n], tokens) for n, tokens in ((20, 40), (60, 39), (60, 40), (150, 30), (300, 60))]
START_SECONDS = 300
KEPT = ("HF_HUB_OFFLINE", "VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND")


@contextmanager
def server(folder: Path, *options: str) -> Iterator[str]:
    """Run the server in vLLM's own default of several processes; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("rope-eval")),
                *("serve", MODEL, "--rope", SPEC, "--max-model-len", "1024", "--dtype", "float32"),
                *("--enforce-eager", "--host", "127.0.0.1", "--port", str(port), *options),
            ],
            env={name: value for name, value in os.environ.items() if name not in FAST}
            | {name: FAST[name] for name in KEPT},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(START_SECONDS):
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address, api_key="none") as client:
        yield client


def expected(prompt: str, tokens: int) -> str:
    model, tokenizer = load_model(MODEL, device="cpu"), load_tokenizer(MODEL)
    ids = encode(tokenizer, prompt)
    length = torch.tensor([len(ids) + tokens])
    with patched(model, RopeSpec.parse(SPEC)), sequence_lengths(model, length):
        out = model.generate(ids[None], max_new_tokens=tokens, do_sample=False)
    text: str = tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)
    return text


def complete_all(client: openai.OpenAI) -> list[str]:
    """Return the answers to all prompts, asked at once."""

    def complete(asked: tuple[str, int]) -> str:
        prompt, tokens = asked
        answer = client.completions.create(
            model="base-1e4", prompt=prompt, max_tokens=tokens, temperature=0.0
        )
        return answer.choices[0].text

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        return list(pool.map(complete, PROMPTS))


def test_mixed_lengths_at_once(client: openai.OpenAI) -> None:
    assert complete_all(client) == [expected(*asked) for asked in PROMPTS]


def test_engines_in_parallel(tmp_path: Path) -> None:
    """Two engines behind one server, each in processes of its own: both have the plug-in."""
    with (
        server(tmp_path, "--data-parallel-size", "2") as address,
        openai.OpenAI(base_url=address, api_key="none") as client,
    ):
        for _ in range(3):
            assert complete_all(client) == [expected(*asked) for asked in PROMPTS]
        metrics = urllib.request.urlopen(f"{address.removesuffix('/v1')}/metrics").read().decode()
    served = re.findall(r'vllm:request_success_total\{engine="(\d)",.*"length".*\} (\S+)', metrics)
    assert {engine: float(requests) > 0 for engine, requests in served} == {"0": True, "1": True}


def test_streaming(client: openai.OpenAI) -> None:
    prompt, tokens = PROMPTS[3]
    pieces = [
        piece.choices[0].text
        for piece in client.completions.create(
            model="base-1e4", prompt=prompt, max_tokens=tokens, temperature=0.0, stream=True
        )
    ]
    assert len(pieces) > 1
    assert "".join(pieces) == expected(prompt, tokens)


@pytest.mark.parametrize(
    "asked",
    [{"extra_body": {"prompt_logprobs": 0}, "max_tokens": 1}, {"echo": True, "max_tokens": 0}],
    ids=["prompt_logprobs", "echo"],
)
def test_prompt_scores(client: openai.OpenAI, asked: dict[str, Any]) -> None:
    """Of 100 tokens, the last of their octave: without rope_len the next base would be theirs."""
    model = load_model(MODEL, device="cpu")
    ids = encode(load_tokenizer(MODEL), TEXT)[:100]
    with patched(model, RopeSpec.parse(SPEC)):
        theirs = score_tokens(model, ids).nll
    extra = {**asked.get("extra_body", {}), "vllm_xargs": {"rope_len": len(ids)}}
    choice = (
        client.completions.create(
            model="base-1e4",
            prompt=ids.tolist(),
            temperature=0.0,
            **(asked | {"logprobs": 0, "extra_body": extra}),
        )
        .choices[0]
        .model_dump()
    )
    if "echo" in asked:
        ours = choice["logprobs"]["token_logprobs"][1:]
    else:
        ours = [next(iter(one.values()))["logprob"] for one in choice["prompt_logprobs"][1:]]
    np.testing.assert_allclose(-np.array(ours), theirs, atol=1e-4)


def test_a_request_names_its_length(client: openai.OpenAI) -> None:
    prompt, tokens = PROMPTS[1]
    answers = [
        client.completions.create(
            model="base-1e4",
            prompt=prompt,
            max_tokens=tokens,
            temperature=0.0,
            extra_body={"vllm_xargs": {"rope_len": length}},
        )
        .choices[0]
        .text
        for length in (100, 900)
    ]
    assert answers[0] == expected(prompt, tokens)
    assert answers[0] != answers[1]


def test_an_impossible_length_is_a_bad_request_and_the_server_lives(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="rope_len must be from"):
        client.completions.create(
            model="base-1e4",
            prompt=TEXT[:60],
            max_tokens=40,
            extra_body={"vllm_xargs": {"rope_len": 5}},
        )
    assert [model.id for model in client.models.list()] == ["base-1e4"]


def test_print_composes_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["serve", "lab/base-1e5", "--rope", "log_scale=true", "--print", "--port", "1"]) == 0
    )
    words = shlex.split(capsys.readouterr().out)
    assert words[:2] == ["vllm", "serve"]
    assert "--served-model-name=lab/base-1e5" in words
    assert words[words.index("--additional-config") + 1] == (
        '{"rope_eval": {"rope_theta": 100000.0, "log_scale": true, '
        '"pretrain_theta": 10000.0, "train_length": 128, "tune_length": 128}}'
    )
    assert words[-3:] == ["--port", "1", "--host=127.0.0.1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lab/base-1e55"], "Did you mean"),
        ([MODEL, "--rope", "dynamic_ntk=true"], "per_query cannot be served"),
        ([MODEL, "--additional-config", "{}"], "give fields with --rope"),
        (["/no/such/model"], "there is no model directory"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    assert message in capsys.readouterr().err
