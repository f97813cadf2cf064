"""What strangers wrote: shown without effect, kept without secrets."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest

from helpers.lm_eval_files import write
from rope_eval.cli import main
from rope_eval.report.formats import FORMATS, Table, render
from rope_eval.report.terminal import fitted
from rope_eval.results.imports import read_lm_eval
from rope_eval.safe_text import for_spreadsheet, masked, masked_values, masked_words, shown

HOSTILE = "a\x1b[31mred\x9b0m\r\nb\u202ec\x07\u2028d\x7f"
WRITTEN_OUT = r"a\x1b[31mred\x9b0m\r\nb\u202ec\x07\u2028d\x7f"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert shown(HOSTILE) == WRITTEN_OUT
    assert shown("β é 漢 🎉 a b") == "β é 漢 🎉 a b"


@pytest.mark.parametrize("style", ["terminal", *(style for style in FORMATS if style != "json")])
def test_no_format_of_a_table_has_an_escape(style: str) -> None:
    table = Table(
        name="1",
        caption=f"One.\n{HOSTILE}",
        labels=("model",),
        columns=("4K", HOSTILE),
        rows=((HOSTILE, Decimal("1.0"), None),),
    )
    text = fitted(table, 80) if style == "terminal" else render(table, style)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    if style == "markdown":
        assert text.splitlines()[2].startswith(f"| {WRITTEN_OUT} ")
        assert len(text.splitlines()) == 7  # the caption's own line ends stay


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\uff1d1"])
def test_no_cell_of_csv_is_a_formula(text: str) -> None:
    assert for_spreadsheet(text) == f"'{text}"
    table = Table(
        name="1",
        caption="",
        labels=("model",),
        columns=("4K", text),
        rows=((text, Decimal("-1.5"), "a=1"),),
    )
    header, row = csv.reader(io.StringIO(render(table, "csv")))
    safe = shown(text) if text[0] in "\t\r" else f"'{text}"
    assert [header[2], row[0]] == [safe, safe]
    assert row[1:] == ["-1.5", "a=1"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("hf_" + "a1" * 15, "hf_***"),
        ("key=sk-proj-" + "A1_b" * 10, "key=sk-***"),
        ("ghp_" + "a" * 36 + ",x=1", "ghp_***,x=1"),
        ("github_pat_" + "a_" * 20, "github_pat_***"),
        ("AKIA" + "A1B2" * 4, "AKIA***"),
        ("base_url=https://me:p@ss:w0rd@host:80/v1,x=1", "base_url=https://***@host:80/v1,x=1"),
        ("http://:secret@host", "http://***@host"),
        ("xoxb-1234567890-abc", "xoxb-***"),
        ("gho_" + "a" * 36, "gho_***"),
        ("key AIza" + "b" * 35, "key AIza***"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        (
            "pretrained=x,token=abc,use_auth_token=True",
            "pretrained=x,token=***,use_auth_token=True",
        ),
        ('{"api_key": "xyz", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("AWS_SECRET_ACCESS_KEY=abc&password='a b'", "AWS_SECRET_ACCESS_KEY=***&password='***'"),
        ("lm_eval --hf-token abc", "lm_eval --hf-token ***"),
        *(
            (plain, plain)
            for plain in (
                "/hf_models/llama",
                "task-" + "a" * 30,
                "https://host:80/a@b/c",
                "a: b@c",
                "AKIAHABARA",
                "pad_token=<pad>,bos_token_id=5,max_gen_tokens=8",
                "The Password: a novel",
                "tokenizer=/a/b",
            )
        ),
    ],
)
def test_secrets_are_masked_and_nothing_else(text: str, kept: str) -> None:
    assert masked(text) == kept


def test_values_are_masked_by_what_they_are_called() -> None:
    given = {
        "hf_token": "abc",
        "use_auth_token": True,
        "pad_token": "<pad>",
        "env": [{"OPENAI_API_KEY": "x"}, "password=hunter2"],
        "sk-0123456789abcdefghij": 5,
        "n": 7,
    }
    assert masked_values(given) == {
        "hf_token": "***",
        "use_auth_token": True,
        "pad_token": "<pad>",
        "env": [{"OPENAI_API_KEY": "***"}, "password=***"],
        "sk-***": 5,
        "n": 7,
    }
    words = ["ppl", "--hf-token", "abc", "--api_key=x", "--lengths", "64", "--token"]
    assert masked_words(words) == ["ppl", "--hf-token", "***", "--api_key=***", *words[4:]]


def test_an_import_keeps_no_secret(tmp_path: Path) -> None:
    secrets = ("hf_" + "a" * 34, "hunter2", "AIza" + "b" * 35)
    write(
        tmp_path,
        {"piqa": [1.0, 0.0]},
        model_args=f"pretrained=me/model,token={secrets[0]},api_key={secrets[1]},x={secrets[2]}",
        answers={"piqa": {secrets[0]: 2}},
    )
    [imported] = read_lm_eval(tmp_path)
    assert not any(secret in str(imported.run) for secret in secrets)
    assert imported.run.request["model_args"]["api_key"] == "***"


def test_an_error_shows_neither_escape_nor_secret(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "hf_" + "a" * 34
    assert main(["ppl", f"--model=./{HOSTILE}{secret}", "--lengths=64"]) == 2
    said = capsys.readouterr().err
    assert WRITTEN_OUT in said
    assert "hf_***" in said
    assert len(said.splitlines()) == 1
