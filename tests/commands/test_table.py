"""`rope-eval table` through argparse."""

import argparse
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import lm_eval_files
from rope_eval.commands import table as command
from rope_eval.errors import DataError, SpecError
from rope_eval.paths import asset
from rope_eval.report.formats import FORMATS
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.store import Store


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["table", *words])
    status: int = args.run(args)
    return status


@pytest.mark.parametrize("name", ["1", "2", "3", "4", "5"])
def test_csv_of_a_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--source", "paper", "--format", "csv") == 0
    stored = asset("results") / "paper" / f"table{name}.csv"
    assert capsys.readouterr().out == stored.read_text(encoding="utf-8")


def test_the_header_and_first_row_of_table_3(capsys: pytest.CaptureFixture[str]) -> None:
    run("3", "--source", "paper", "--format", "csv")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "size,model,Lambada,SuperGLUE,Hellaswag,PIQA,Winogrande,OBQA"
    assert lines[1] == "7B,LLaMA2 7B,73.30,50.43,69.45,76.66,61.25,32.00"
    assert lines[16] == '7B,"base=500, 16K",68.62,48.20,62.35,73.67,58.33,25.00'


def test_the_joined_table(capsys: pytest.CaptureFixture[str]) -> None:
    run("3+4", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 42
    assert all(len(row) == 14 for row in rows)
    assert rows[21]["model"] == "LLaMA2 13B"
    assert (rows[21]["Lambada"], rows[21]["MMLU"]) == ("76.48", "55.77")


def test_markdown_of_the_paper_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    run("5")
    default = capsys.readouterr().out
    run("5", "--source", "paper", "--format", "markdown")
    assert capsys.readouterr().out == default
    assert default.startswith("| size ")


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_has_its_own_form(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("1", "--format", style) == 0
    out = capsys.readouterr().out
    first = {
        "markdown": "| size ",
        "csv": "size,model,128K",
        "json": "{",
        "latex": "% needs",
        "html": "<table>",
    }
    assert out.startswith(first[style])
    assert out.endswith("\n")
    assert not out.endswith("\n\n")
    if style == "json":
        assert json.loads(out)["rows"][2]["1M"] == 4914.81


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("6",), "no table '6': choose one of 1, 1-repository, 2, 3, 3\\+4, 4, 5"),
        (("3+1",), "no table '3\\+1'"),
        (("3", "--format", "excel"), "no format 'excel': choose one of text, markdown, csv, json"),
    ],
)
def test_what_does_not_exist_is_bad_input(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        run(*words)
    assert caught.value.exit_code == 2


def test_an_unknown_source_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("3", "--source", "memory")
    assert caught.value.code == 2
    assert "invalid choice: 'memory'" in capsys.readouterr().err


def test_runs_and_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm_eval_files.write(tmp_path, {"rope_leval_gsm": (0.25, 100)})
    store = Store(tmp_path / "runs")
    for imported in read_lm_eval(tmp_path, "llama2-7b/plain"):
        store.put(imported.run)
    words = ("5", "--format", "csv", "--results", str(store.root), "--protocol", "leval")
    assert run(*words, "--source", "runs") == 0
    out, err = capsys.readouterr()
    assert out == "size,model,GSM,TOEFL,TopicRet,QuALITY,Coursera\n7B,LLaMA2 7B,25.00,,,,\n"
    assert err.splitlines()[1] == "not run: llama2-7b/plain (TOEFL, TopicRet, QuALITY, Coursera)."
    run(*words, "--source", "both")
    out, err = capsys.readouterr()
    assert out.splitlines()[1:4] == [
        "7B,LLaMA2 7B,paper,0.00,34.94,0.00,3.96,0.00",
        "7B,LLaMA2 7B,llama2-7b/plain,25.00,,,,",
        "7B,LLaMA2 7B,difference,25.00,,,,",
    ]
    assert "The paper's are of protocol paper: other prompts than those of leval." in err
    for style in FORMATS:  # a caption of several lines fits them all
        assert run(*words, "--source", "runs", "--format", style) == 0
    with pytest.raises(DataError, match="no done run of protocol paper for table 5"):
        run(*words, "--source", "runs", "--protocol", "paper")


def test_what_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    choice = ("--rows", "13B/base=500,7B/base=500", "--columns", "TOEFL,GSM")
    assert run("5", "--format", "csv", *choice) == 0
    assert capsys.readouterr().out.splitlines() == [
        "size,model,TOEFL,GSM",
        "13B,base=500,37.17,9.00",
        "7B,base=500,25.65,4.00",
    ]
    assert run("1", "--format", "csv", "--lengths", "1m,128k", "--rows", "base=1000000") == 0
    assert capsys.readouterr().out.splitlines()[0] == "size,model,128K,1M"
    for words, message in (
        (("5", "--columns", "GSN"), "no column 'GSN'. Did you mean 'GSM'"),
        (("5", "--rows", "base=501"), "no row 'base=501'. Did you mean 'base=50"),
        (("5", "--lengths", "4k"), "table 5 has no lengths"),
        (("1", "--columns", "128K"), "columns of table 1 are lengths"),
        (("1", "--lengths", "4k"), "length of 4096: there are 131072, 262144"),
        (("5", "--intervals"), "--intervals is of what was measured"),
        (("1", "--source", "runs", "--intervals"), "rope-eval table perplexity"),
    ):
        with pytest.raises(SpecError, match=message):
            run(*words)


def test_a_format_of_its_own_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("5", "--format", "text", "--rows", "base=500") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "base=500"
    assert lines[2].split() == ["size", "GSM", "TOEFL", "TopicRet", "QuALITY", "Coursera"]
    assert [line.split()[:2] for line in lines[4:6]] == [["7B", "4.00"], ["13B", "9.00"]]


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "rope-eval table 3 --source paper" in out
    assert all(style in out for style in FORMATS)


def test_tables_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from rope_eval.report import formats, published\n"
        "for style in formats.FORMATS: formats.render(published.published('3+4'), style)\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


def test_tasks_of_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm_eval_files.write(tmp_path, {"arc_easy": (0.25, 100), "piqa": (0.5, 10)})
    store = Store(tmp_path / "runs")
    for imported in read_lm_eval(tmp_path):
        store.put(imported.run)
    words = ("arc_*", "--results", str(store.root), "--format", "csv")
    assert run(*words) == 0
    lines = "model,arc_easy\nme/model,0.2500\n"
    assert capsys.readouterr().out == lines
    assert run(*words, "--metric", "acc") == 0
    assert capsys.readouterr().out == lines
    with pytest.raises(SpecError, match="the paper has no table 'arc_\\*'"):
        run(*words, "--source", "paper")
    with pytest.raises(SpecError, match="--metric is of measurements"):
        run("3", "--metric", "acc")
    with pytest.raises(SpecError, match="--threshold is of `rope-eval table ruler`"):
        run("3", "--threshold", "90")
