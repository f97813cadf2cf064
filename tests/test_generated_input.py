"""Thousands of bad inputs: each ends in an exit status within ten seconds, and leaves nothing.

``make test-input`` generates at least 2,000 of them; `make test` the same 150 each time.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers import fixtures_paper, lm_eval_files
from helpers.watched import rope_eval, watchdog
from helpers.wrong_values import damaged, deep, value, word, wrong
from rope_eval.cli import build_parser
from rope_eval.errors import RopeEvalError
from rope_eval.hosts.lm_eval.arguments import take_setting
from rope_eval.hosts.lm_eval.cumulative_task import CumulativeTask
from rope_eval.hosts.lm_eval.model import HF_ARGUMENTS, ScalingRopeLM
from rope_eval.hosts.lm_eval.paper_tasks import PaperTask
from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask
from rope_eval.paths import asset
from rope_eval.results.identity import run_key
from rope_eval.results.run_file import Run, decode, decode_whole, encode
from rope_eval.rope.spec import FIELDS

INPUTS = int(os.environ.get("ROPE_EVAL_INPUTS", "150"))
KINDS = 11
MODEL = asset("model_configs") / "lab" / "base-20"
BOOK = "It was a long book, and nothing in it was new.\n" * 20
PPL = ("ppl", "--model=model", "--books=book.txt", "--lengths=16,64", "--device=cpu")

generated = settings(
    max_examples=-(-INPUTS // KINDS),
    deadline=None,
    database=None,
    derandomize=INPUTS <= 150,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True, scope="module")
def without_the_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder to work in, with a book, a model, a store and what is no file."""
    with tempfile.TemporaryDirectory() as name, chdir(name):
        here = Path(name)
        (here / "book.txt").write_text(BOOK)
        (here / "model").mkdir()
        for file in MODEL.iterdir():
            if file.suffix == ".safetensors":
                (here / "model" / file.name).symlink_to(file)
            else:
                shutil.copy(file, here / "model")
        (here / "runs").mkdir()
        os.mkfifo(here / "pipe")
        (here / "loop").symlink_to("loop")
        yield here


def right_json(name: str) -> Any:
    return json.loads((MODEL / name).read_text())


# ---- command lines -------------------------------------------------------------------------------

FIXED = {  # what a command must have to be quick, and to leave this machine as it is
    "ppl": ["--docs=1"],
    "serve": ["--print"],
    "tune": ["--dry-run"],
    "demo": ["--output=book.txt/x"],
    "data": ["--output=data"],
    "attention": ["--bins=4"],
}
OTHER_PROGRAMS = ("lab", "lm_eval", "lm-eval", "opencompass")  # their words are not ours
RIGHT = {
    **{"model": "model", "config": "lab/base-20", "rope": "rope_theta=500", "books": "book.txt"},
    **{"lengths": "16,64", "length": "16", "results": "runs", "checkpoint": "lab/base-20=model"},
    **{"head_dim": "16", "train_length": "128", "tune_length": "256", "target_length": "512"},
    **{"runs": "lab/base-20", "baseline": "paper:LLaMA2 7B/base=500", "path": "out", "table": "3"},
    **{"name": "lab/base-20", "text": "book.txt", "preset": "paper-7b", "output": "a.csv"},
    **{"bases_per_decade": "5", "device": "cpu", "dtype": "float32", "pretrain_theta": "1e4"},
}


def _commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[argparse.Action]]]:
    """Yield every command with its arguments."""
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    inner = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    if not inner and words[0] not in OTHER_PROGRAMS:
        yield words, actions
    for action in inner:
        for name, sub in action.choices.items():
            yield from _commands(sub, (*words, name))


COMMANDS = list(_commands(build_parser()))


@st.composite
def command_line(draw: st.DrawFn) -> list[str]:
    words, actions = draw(st.sampled_from(COMMANDS))
    line = [*words]
    fixed = FIXED.get(words[0], [])
    for action in actions:
        option = action.option_strings[-1:] or [""]
        if any(one.partition("=")[0] == option[0] for one in fixed):
            continue
        needed = action.required or not action.option_strings
        if not draw(st.booleans()) and not (needed and draw(st.integers(0, 9))):
            continue
        if action.nargs == 0:
            line.append(option[0])
            continue
        right = next(iter(action.choices or ()), RIGHT.get(action.dest, "1"))
        given = draw(word) if draw(st.integers(0, 2)) == 0 else right
        line.append(f"{option[0]}={given}" if option[0] else given)
    return [*line, *fixed]


@generated
@given(command_line())
def test_command_lines(line: list[str]) -> None:
    with folder():
        rope_eval(*line)


# ---- models --------------------------------------------------------------------------------------


@generated
@given(st.one_of(wrong(right_json("config.json")), value))
def test_configs(config: Any) -> None:
    with folder() as here:
        (here / "model" / "config.json").write_text(json.dumps(config))
        rope_eval("theory", "--model=model", "--target-length=1k", "--bases-per-decade=2")
        rope_eval(*PPL)


INDEX = {"metadata": {}, "weight_map": {"model.norm.weight": "model.safetensors"}}
ADAPTER = {"base_model_name_or_path": "model", "peft_type": "LORA"}
FILES = {
    "tokenizer.json": right_json("tokenizer.json"),
    "tokenizer_config.json": right_json("tokenizer_config.json"),
    "model.safetensors.index.json": INDEX,
    "adapter_config.json": ADAPTER,
    "generation_config.json": {"do_sample": False, "eos_token_id": 1},
    "special_tokens_map.json": {"bos_token": "<s>"},
    "config.json": right_json("config.json"),
}


@st.composite
def model_file(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from((*FILES, "model.safetensors")))
    if name == "model.safetensors":
        return name, draw(damaged((MODEL / name).read_bytes()[:4000]))
    right = json.dumps(FILES[name])
    made = st.one_of(
        wrong(FILES[name]).map(lambda some: json.dumps(some).encode()),
        damaged(right.encode()),
        st.sampled_from((b"", deep().encode(), b"\xff", b"null", b'{"a":' * 5000)),
    )
    return name, draw(made)


@generated
@given(model_file())
def test_files_of_a_model(made: tuple[str, bytes]) -> None:
    name, content = made
    with folder() as here:
        (here / "model" / name).unlink(missing_ok=True)
        (here / "model" / name).write_bytes(content)
        rope_eval(*PPL)
        rope_eval("list", "--checkpoint=lab/base-20=model")


# ---- the catalogue -------------------------------------------------------------------------------

FAMILY = {
    "family": "mine",
    "description": "two rows",
    "pretrain_theta": 10000,
    "train_length": 128,
    "size": "7B",
    "rows": [
        {"name": "a", "checkpoint": "./model", "tune_length": 128, "rope": {"rope_theta": 500}},
        {"name": "b", "weights_of": "a", "rope": {"log_scale": True}, "paper": {"base=500": [3]}},
    ],
}
PLACES = {"lab/base-20": "model", "llama2-7b/base-500": "me/model"}


def as_yaml(some: Any) -> bytes:
    try:
        return yaml.safe_dump(some, allow_unicode=True).encode(errors="surrogatepass")
    except (RecursionError, yaml.YAMLError):
        return b"a: 2020-01-01"


odd_yaml = st.sampled_from(
    (
        b"2020-01-01",
        b"a: 2020-99-99",
        b"? [a]\n: 1",
        b"a: *b",
        b"&a [*a]",
        b"!!python/object:os.x {}",
        deep(5_000).encode(),
        b"\t",
        b"a: 1\na: 2",
        b"a: !!binary x",
        b"1: 2",
        b"lab/base-20: 1-1-1",
    )
)


@generated
@given(st.one_of(wrong(FAMILY).map(as_yaml), damaged(as_yaml(FAMILY)), odd_yaml))
def test_rows_of_the_catalogue(content: bytes) -> None:
    with folder() as here:
        (here / "model_configs").mkdir()
        (here / "model_configs" / "mine.yaml").write_bytes(content)
        rope_eval("list", "models")
        rope_eval("serve", "mine/a", "--print")
        rope_eval("table", "3", "--source=runs", "--results=runs")


@generated
@given(st.one_of(wrong(PLACES).map(as_yaml), damaged(as_yaml(PLACES)), odd_yaml))
def test_places_of_checkpoints(content: bytes) -> None:
    with folder() as here:
        (here / "checkpoints.yaml").write_bytes(content)
        rope_eval("list", "models", "--json")
        rope_eval("ppl", "--config=lab/base-20", "--books=book.txt", "--lengths=16", "--docs=1")


# ---- imports and the store -----------------------------------------------------------------------


def read_all() -> None:
    """Run what reads a store: a damaged or strange entry is left out, and blocks nothing."""
    assert rope_eval("store", "verify", "--results=runs").status in (0, 1)
    for words in (
        *(("table", name, "--source=runs") for name in ("1", "3+4", "5")),
        ("table", "3", "--source=both", "--format=html"),
        ("compare", "lab/base-20", "--baseline=paper:LLaMA2 7B/base=500"),
        ("compare", "model", "--baseline=model"),
        ("compare", "*", "--baseline=model", "--format=csv"),
        ("table", "tasks", "--intervals", "--format=text"),
        ("table", "perplexity", "--source=both", "--format=latex"),
    ):
        rope_eval(*words, "--results=runs")
    export = ("store", "export", "--intervals", "-o", "all.csv", "--results=runs")
    assert rope_eval(*export).status == 0


def _an_import() -> tuple[Any, list[Any]]:
    with tempfile.TemporaryDirectory() as name:
        file = lm_eval_files.write(
            Path(name),
            {"rope_paper_piqa": [1.0, 0.0, 1.0], "rope_paper_boolq": (0.5, 4)},
            rope={"rope_theta": 500.0},
            answers={"rope_paper_piqa": {"A": 3}},
        )
        samples = next(Path(name).glob("samples_*")).read_text().rstrip().split("\n")
        return json.loads(file.read_text()), [json.loads(line) for line in samples]


RESULTS, SAMPLES = _an_import()
STAMP = "2026-01-02T03-04-05.678901"


@generated
@given(
    st.one_of(
        wrong(RESULTS).map(lambda some: json.dumps(some).encode()),
        damaged(json.dumps(RESULTS).encode()),
        st.just(deep().encode()),
        st.just(json.dumps(RESULTS).encode()),
    ),
    st.one_of(st.just(SAMPLES), wrong(SAMPLES)),
)
def test_imports(results: bytes, samples: Any) -> None:
    with folder() as here:
        (here / "out").mkdir()
        (here / "out" / f"results_{STAMP}.json").write_bytes(results)
        lines = samples if isinstance(samples, list) else [samples]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (here / "out" / f"samples_rope_paper_piqa_{STAMP}.jsonl").write_text(text)
        rope_eval("import", "out", "--results=runs")
        read_all()


@functools.cache
def right_runs() -> dict[str, bytes]:
    """A store with a run of books, its documents and an import: the files by their names."""
    with folder() as here:
        assert rope_eval(*PPL, "--results=runs").status == 0
        lm_eval_files.write(here / "out", {"rope_paper_piqa": [1.0, 0.0]})
        assert rope_eval("import", "out", "--results=runs").status == 0
        files = sorted((here / "runs").rglob("*.zip"))
        return {str(file.relative_to(here)): file.read_bytes() for file in files}


def stored(request: Any, others: Any, arrays: dict[str, Any]) -> tuple[str, bytes]:
    """Return the file of a run with another content and a right checksum: name and bytes."""
    run = Run(key=run_key(request), request=request, **others)
    return run.key, encode(run, arrays)


@generated
@given(st.data())
def test_records_of_the_store(data: st.DataObject) -> None:
    runs = right_runs()
    place = data.draw(st.sampled_from(sorted(runs)))
    content, name = runs[place], Path(place).name
    if data.draw(st.booleans()):
        content = data.draw(damaged(content))
    else:
        run = asdict(decode(content))
        _, arrays = decode_whole(content)
        part = data.draw(st.sampled_from(("results", "provenance", "request", "arrays")))
        if part == "arrays":
            arrays = data.draw(st.sampled_from(({}, {n: a[:1] for n, a in arrays.items()})))
        else:
            run[part] = data.draw(wrong(run[part]))
        run.pop("key")
        try:
            key, content = stored(run.pop("request"), run, arrays)
        except (RopeEvalError, TypeError, AttributeError, ValueError, RecursionError):
            return  # no writer of ours could make it
        name = f"{key}.zip" if part == "request" else name
    with folder() as here:
        for file, right in runs.items():
            (here / file).parent.mkdir(parents=True, exist_ok=True)
            (here / file).write_bytes(right)
        (here / Path(place).parent / name).write_bytes(content)
        read_all()
        rope_eval(*PPL, "--results=runs")
        rope_eval("store", "sweep", "--results=runs")


# ---- books and data sets -------------------------------------------------------------------------

ROWS = [{"text": BOOK, "meta": {"pile_set_name": "Books3", "title": "one"}}, {"text": BOOK}]
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "books.jsonl": bytes,
    "books.jsonl.gz": gzip.compress,
    "books.jsonl.zst": zstandard.compress,
}


def lines_of(rows: Any) -> bytes:
    rows = rows if isinstance(rows, list) else [rows]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@st.composite
def a_book(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from((*COMPRESSORS, "books.txt")))
    if name == "books.txt":
        return name, draw(st.one_of(damaged(BOOK.encode()), st.binary(max_size=99)))
    rows = st.one_of(wrong(ROWS), st.just(ROWS)).map(lines_of)
    whole = draw(st.one_of(rows, damaged(lines_of(ROWS)), st.just(deep().encode())))
    packed = COMPRESSORS[name](whole)
    return name, draw(damaged(packed)) if draw(st.booleans()) else packed


@generated
@given(a_book())
def test_books(made: tuple[str, bytes]) -> None:
    name, content = made
    with folder() as here:
        (here / name).write_bytes(content)
        rope_eval("ppl", "--model=model", f"--books={name}", "--lengths=16,64", "--device=cpu")


@functools.cache
def data_sets() -> dict[str, list[Any]]:
    with tempfile.TemporaryDirectory() as name:
        written = fixtures_paper.write(Path(name))
        return {
            str(file.relative_to(written)): [
                json.loads(line) for line in file.read_text().rstrip().split("\n")
            ]
            for file in sorted(written.rglob("*.jsonl"))
            if "mmlu" not in str(file)
        }


ENTRIES = ("piqa", "boolq", "hellaswag", "lambada", "wsc", "copa", "record", "truthfulqa", "gsm")


@generated
@given(st.data())
def test_rows_of_data_sets(data: st.DataObject) -> None:
    right = data_sets()
    name = data.draw(st.sampled_from([n for n in right if any(e in n for e in ENTRIES)]))
    rows = data.draw(wrong(right[name]))
    with folder() as here:
        for file, its_rows in right.items():
            (here / "data" / file).parent.mkdir(parents=True, exist_ok=True)
            (here / "data" / file).write_bytes(lines_of(rows if file == name else its_rows))
        for entry in ENTRIES:
            if entry in name:
                _refused_or_made(
                    lambda entry=entry: PaperTask(
                        {
                            "task": entry,
                            "protocol": "paper",
                            "entry": entry,
                            "metadata": {"data_dir": "data"},
                        }
                    )
                )


# ---- what lm-eval hands over ---------------------------------------------------------------------


def _refused_or_made(make: Callable[[], Any]) -> Any:
    with watchdog():
        try:
            return make()
        except RopeEvalError:
            return None


CUMULATIVE = {"version": 1, "books": "book.txt", "lengths": [16, 64], "read_docs": 1}
RETRIEVAL = {
    **{"version": 1, "filler": "book.txt", "lengths": [301], "depths": [0.0, 1.0], "samples": 2},
    **{"probe_seed": 0, "facts": 1},
}
PAPER = {"version": 1, "data_dir": "data", "truncate_at": 100, "truncation": "left"}


@generated
@given(
    st.one_of(
        wrong(CUMULATIVE).map(lambda some: (CumulativeTask, some)),
        wrong(RETRIEVAL).map(lambda some: (RetrievalTask, some)),
        wrong(PAPER).map(lambda some: (PaperTask, some)),
    )
)
def test_metadata_of_tasks(made: tuple[Any, Any]) -> None:
    kind, metadata = made
    config = {"task": "t", "description": "d", "protocol": "paper", "entry": "piqa"}
    if not isinstance(metadata, dict):
        return  # lm-eval hands over a mapping
    with folder() as here:
        fixtures_paper.write(here / "data")
        some = _refused_or_made(lambda: kind(config | {"metadata": metadata}))
        if some is not None:
            with watchdog():
                json.dumps(some.test_docs()[:3])


ARGUMENTS = (*FIELDS, *HF_ARGUMENTS, "chunk_size", "proof", "config", "backend", "use_safetensors")
RIGHT_ARGUMENTS = {"pretrained": "model", "device": "cpu", "proof": "off"}


@generated
@given(st.dictionaries(st.one_of(st.sampled_from(ARGUMENTS), word), value, max_size=2))
def test_arguments_of_a_model(arguments: dict[str, Any]) -> None:
    with folder():
        _refused_or_made(lambda: take_setting("model", None, dict(arguments), HF_ARGUMENTS))
        made = _refused_or_made(lambda: ScalingRopeLM(**(RIGHT_ARGUMENTS | arguments)))
        if made is not None:
            made.close()
