"""How a table is printed: for people on a terminal, whole everywhere else."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rope_eval.commands import showing
from rope_eval.commands.showing import show
from rope_eval.errors import SpecError
from rope_eval.report.formats import Table, render

TABLE = Table(
    name="x",
    caption="Mine. " + "word " * 30,
    labels=("model",),
    columns=("a" * 20, "b" * 20, "c" * 20),
    rows=(("m", Decimal(1), Decimal(2), Decimal(3)), ("n", Decimal(4), None, Decimal(5))),
    group_by=(),
)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_terminal_gets_text_of_its_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(showing, "terminal_width", lambda: 60)
    show(TABLE)
    fitted = lines(capsys)
    assert max(map(len, fitted)) <= 60
    assert [line.split()[1:] for line in fitted if line.startswith("model")] == [
        ["a" * 20, "b" * 20],
        ["c" * 20],
    ]
    show(TABLE, "text")
    assert lines(capsys) == fitted
    show(TABLE, "markdown")
    assert "\n".join(lines(capsys)) == render(TABLE, "markdown")  # asked for: whole


def test_a_pipe_gets_markdown_and_text_of_any_width(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE)
    assert "\n".join(lines(capsys)) == render(TABLE, "markdown")
    show(TABLE, "text")
    assert lines(capsys)[0].split() == ["model", "a" * 20, "b" * 20, "c" * 20]


def test_the_caption_of_csv_goes_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, "csv")
    out, err = capsys.readouterr()
    assert "Mine." not in out
    assert err.startswith("Mine. word")


def test_an_unknown_format_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError, match=r"no format 'markdwn': .* Did you mean 'markdown'"):
        show(TABLE, "markdwn")
    assert not lines(capsys)
