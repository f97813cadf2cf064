"""The published tables against the paper's own arithmetic, and every format read back."""

import csv
import html
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rope_eval.errors import DataError, SpecError
from rope_eval.paths import asset
from rope_eval.protocols.columns import ITEMS
from rope_eval.report import published as paper
from rope_eval.report.choice import Choice
from rope_eval.report.formats import FORMATS, Cell, Table, render

BASES = ["500", "652", "1304", "2608", "10000"]
BASES += ["40000", "80000", "160000", "400000", "600000", "1000000"]
TUNED_ON_16K = [f"base={base}, 16K" for base in (500, 10000, 40000, 80000, 120000, 1000000)]


def short_context_rows(size: str) -> list[str]:
    stock = [f"LLaMA2 {size}", "NTK fixed α = 8", "Linear PI λ = 2", "Linear PI λ = 4"]
    return stock + [f"base={base}" for base in BASES] + TUNED_ON_16K


def long_context_rows(size: str) -> list[str]:
    rows = [f"LLaMA2 {size}", "NTK fixed α = 8", "NTK dynamic"]
    rows += ["base=500", "base=500, log-scaled", "base=652", "base=652, log-scaled"]
    rows += [f"base={base}" for base in BASES if int(base) >= 10000]
    return rows + (["base=2000000"] if size == "7B" else []) + TUNED_ON_16K


ROWS = {
    "1": [("7B", row) for row in ("base=500", "base=500 log-scaled", "base=1000000")],
    "3": [(size, row) for size in ("7B", "13B") for row in short_context_rows(size)],
    "4": [(size, row) for size in ("7B", "13B") for row in short_context_rows(size)],
    "5": [(size, row) for size in ("7B", "13B") for row in long_context_rows(size)],
}
# The columns in the paper's order, each with the sum of its cells.
COLUMNS = {
    "1": {"128K": "25.69", "256K": "99.24", "512K": "1791.93", "1M": "4985.16"},
    "3": {
        "Lambada": "3056.10",
        "SuperGLUE": "2174.75",
        "Hellaswag": "2976.29",
        "PIQA": "3244.18",
        "Winogrande": "2603.12",
        "OBQA": "1609.20",
    },
    "4": {
        "NQ": "851.67",
        "TriviaQA": "2322.97",
        "TruthfulQA": "1472.39",
        "ARC-e": "2342.86",
        "ARC-c": "1615.59",
        "MMLU": "2007.49",
    },
    "5": {
        "GSM": "429.00",
        "TOEFL": "1798.48",
        "TopicRet": "794.67",
        "QuALITY": "1185.66",
        "Coursera": "750.02",
    },
}


# --- what was published -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_the_papers_in_its_order(name: str) -> None:
    table = paper.published(name)
    assert table.labels == ("size", "model")
    assert [table.key(row) for row in table.rows] == ROWS[name]


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_the_papers_and_no_cell_has_changed(name: str) -> None:
    table = paper.published(name)
    assert list(table.columns) == list(COLUMNS[name])
    for position, column in enumerate(table.columns, start=2):
        cells = [row[position] for row in table.rows]
        assert all(isinstance(cell, Decimal) and cell.as_tuple().exponent == -2 for cell in cells)
        assert str(sum(map(numeric, cells))) == COLUMNS[name][column], column


def test_there_are_721_numbers() -> None:
    counts = {
        name: sum(isinstance(cell, Decimal) for row in paper.published(name).rows for cell in row)
        for name in ROWS
    }
    assert counts == {"1": 12, "3": 252, "4": 252, "5": 205}
    assert sum(counts.values()) == 721


@pytest.mark.parametrize(
    ("name", "row", "column", "value"),
    [
        ("1", ("7B", "base=500 log-scaled"), "1M", "19.07"),
        ("1", ("7B", "base=1000000"), "512K", "1755.87"),
        ("3", ("7B", "LLaMA2 7B"), "Lambada", "73.30"),
        ("3", ("13B", "base=1000000, 16K"), "OBQA", "40.80"),
        ("4", ("7B", "LLaMA2 7B"), "MMLU", "46.78"),
        ("4", ("13B", "LLaMA2 13B"), "MMLU", "55.77"),
        ("4", ("13B", "Linear PI λ = 2"), "ARC-e", "63.49"),
        ("5", ("7B", "LLaMA2 7B"), "Coursera", "0.00"),
        ("5", ("7B", "base=2000000"), "TopicRet", "31.33"),
        ("5", ("13B", "base=1000000, 16K"), "Coursera", "16.86"),
    ],
)
def test_single_cells(name: str, row: tuple[str, str], column: str, value: str) -> None:
    table = paper.published(name)
    (found,) = [cells for cells in table.rows if table.key(cells) == row]
    assert str(found[table.header.index(column)]) == value


def test_table_2_is_text_and_its_blanks_stay_blank() -> None:
    table = paper.published("2")
    assert table.header == (
        "Name",
        "Applying Phase",
        "Training Length",
        "Context Window",
        "Ratio",
        "Auxiliary Window",
        "Note",
    )
    assert not any(isinstance(cell, Decimal) for row in table.rows for cell in row)
    names = [str(row[0]).split(" (")[0] for row in table.rows]
    assert names == [
        *["xPos", "Linear PI", "Giraffe", "Code LLaMA", "YaRN", "Fixed NTK", "Dynamic NTK"],
        *["PCW", "NBCE", "LM-Infinite", "Scaling RoPE", "Scaling RoPE"],
    ]
    blank = [name for name, row in zip(names, table.rows, strict=True) if row[-1] is None]
    assert blank == ["Linear PI", "Code LLaMA", "Fixed NTK", "Dynamic NTK"]
    # The ratio is the window over the length, rounded down: a second reading of three columns.
    for row in table.rows:
        length, window = (thousands(str(row[position])) for position in (2, 3))
        assert row[4] == f"×{window // length}"


def thousands(length: str) -> int:
    return int(length.rstrip("KM+")) * (1024 if "M" in length else 1)


# --- a score with two decimals is k/N -----------------------------------------------------------


def numeric(cell: Cell) -> Decimal:
    assert isinstance(cell, Decimal)
    return cell


def is_share(score: Decimal, items: int) -> bool:
    """Whether some k of the items is the score, in percent, rounded to two decimals."""
    nearest = round(Fraction(score) * items / 100)
    return abs(Fraction(100 * nearest, items) - Fraction(score)) <= Fraction(1, 200)


def misfits(column: str, items: int) -> list[tuple[Cell, ...]]:
    for name in ("3", "4", "5"):
        table = paper.published(name)
        if column in table.columns:
            position = table.header.index(column)
            return [
                (*table.key(row), row[position])
                for row in table.rows
                if not is_share(numeric(row[position]), items)
            ]
    raise AssertionError(f"no table has {column}")


# Cells that are not k/N: none. One that is found goes here and in results/paper/README.md, and
# keeps what is printed.
EXCEPTIONS: dict[str, list[tuple[Cell, ...]]] = {}


OF_PARTS = {"SuperGLUE", "Hellaswag", "MMLU"}  # and of too many items


@pytest.mark.parametrize("column", sorted(ITEMS.keys() - OF_PARTS))
def test_every_count_like_cell_is_k_of_n(column: str) -> None:
    assert misfits(column, ITEMS[column]) == EXCEPTIONS.get(column, [])


def test_every_other_column_is_known() -> None:
    columns = {column for name in ("3", "4", "5") for column in COLUMNS[name]}
    assert ITEMS.keys() == columns


@pytest.mark.parametrize(
    ("column", "items"),
    [
        ("TruthfulQA", 817),  # all of TruthfulQA, of which the paper's set has 684
        ("ARC-e", 570),  # dev with the items of three and five choices
        ("ARC-c", 299),
        ("ARC-e", 2376),  # test
        ("ARC-c", 1172),
        ("NQ", 8757),  # dev
        ("Winogrande", 1266),
        ("TopicRet", 100),  # two questions of a document, not three
        ("QuALITY", 201),
    ],
)
def test_another_n_does_not_fit(column: str, items: int) -> None:
    assert misfits(column, items)


def test_rows_that_share_a_toefl_score_are_counts_of_a_letter() -> None:
    table = paper.published("5")
    position = table.header.index("TOEFL")
    of = {
        letter: [table.key(row) for row in table.rows if row[position] == letter]
        for letter in (Decimal("25.65"), Decimal("37.17"), Decimal("16.73"))
    }
    assert [round(100 * k / 269, 2) for k in (69, 100, 45)] == [25.65, 37.17, 16.73]
    assert of[Decimal("25.65")] == [
        ("7B", "base=500"),
        ("7B", "base=500, log-scaled"),
        ("7B", "base=500, 16K"),
    ]
    assert len(of[Decimal("37.17")]) == 5
    assert len(of[Decimal("16.73")]) == 2


# --- 3 and 4 are one table ----------------------------------------------------------------------


def test_tables_3_and_4_join_one_to_one() -> None:
    first, second, joined = (paper.published(name) for name in ("3", "4", "3+4"))
    assert joined.name == "3+4"
    assert joined.columns == first.columns + second.columns
    assert len(joined.rows) == 42
    # Both parts are in the same order in the paper, so the join is also row beside row.
    assert joined.rows == tuple(
        left + right[2:] for left, right in zip(first.rows, second.rows, strict=True)
    )


def test_a_join_is_by_label_not_by_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = paper.published("3+4")
    part = with_paper(monkeypatch, tmp_path, "4", lambda lines: [lines[0], *reversed(lines[1:])])
    assert paper.published("4").rows != part.rows
    assert paper.published("3+4") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "do not have the same rows: only one of them has"),
        (lambda lines: [*lines, lines[-1]], "do not have the same rows: a row is there twice"),
        (
            lambda lines: [line.replace("base=652,", "base=653,") for line in lines],
            "only one of them has .*652.*653",
        ),
    ],
)
def test_a_row_without_its_other_part_is_an_error(
    change: Callable[[list[str]], list[str]],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with_paper(monkeypatch, tmp_path, "4", change)
    with pytest.raises(DataError, match=message):
        paper.published("3+4")


def with_paper(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    name: str,
    change: Callable[[list[str]], list[str]],
) -> Table:
    """Let the published tables be a copy with one of them changed; return that one as it was."""
    before = paper.published(name)
    (folder / "paper").mkdir()
    for file in (asset("results") / "paper").glob("table*.csv"):
        lines = file.read_text(encoding="utf-8").splitlines()
        if file.stem == f"table{name}":
            lines = change(lines)
        text = "".join(f"{line}\n" for line in lines)
        (folder / "paper" / file.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(paper, "asset", lambda _: folder)
    return before


# --- what can be wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["6", "3+5", "4+3", "", "../table1"])
def test_an_unknown_table(name: str) -> None:
    with pytest.raises(SpecError, match="choose one of 1, 1-repository, 2, 3, 3\\+4, 4, 5"):
        paper.published(name)


def test_an_unknown_format() -> None:
    with pytest.raises(SpecError, match=r"no format 'latx'.*Did you mean 'latex'"):
        render(paper.published("1"), "latx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [], "must begin with size, model .* got nothing"),
        (lambda lines: lines[1:], "must begin with size, model"),
        (lambda lines: [lines[0].replace("256K", "128K"), *lines[1:]], "name no column twice"),
        (lambda lines: [*lines, "7B,base=1"], "row 5: 6 cells are due, got 2"),
        (lambda lines: [line.replace("7.07", "7.0?") for line in lines], "'7.0.' is not a number"),
        (lambda lines: [line.replace("7.07", "nan") for line in lines], "'nan' is not a finite"),
        (lambda lines: [lines[0], '7B,"base=500'], "is not CSV in UTF-8"),
    ],
)
def test_a_damaged_file_is_an_error(
    change: Callable[[list[str]], list[str]],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with_paper(monkeypatch, tmp_path, "1", change)
    with pytest.raises(DataError, match=message):
        paper.published("1")


def test_a_missing_file_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paper, "asset", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"cannot read .*table1\.csv: No such file"):
        paper.published("1")


def test_a_blank_number_is_blank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def change(lines: list[str]) -> list[str]:
        return [line.replace("7.07", "") for line in lines]

    with_paper(monkeypatch, tmp_path, "1", change)
    table = paper.published("1")
    numbers = map(Decimal, ("76.82", "1755.87", "4914.81"))
    assert table.rows[2] == ("7B", "base=1000000", None, *numbers)
    assert table.best_cells() == {(1, 2), (1, 3), (1, 4), (1, 5)}


# --- formats ------------------------------------------------------------------------------------

# Text that every format has to protect, a blank, a tie and a number that needs its zeros.
AWKWARD = Table(
    name="x",
    caption="50 % of <a> & b_c",
    labels=("size", "model"),
    columns=("a|b", "c_d"),
    rows=(
        ("7B", 'a, "b" | <c> & {d}_#$%', Decimal("0.00"), None),
        ("7B", r"back\slash~^", Decimal("0.00"), Decimal("1000.10")),
        ("13B", "α λ Λ × ✓ ✗ è", None, "text"),
        ("13B", "", Decimal("-3.50"), Decimal("2.5")),
    ),
    best="highest",
)


def grid(table: Table) -> list[list[str]]:
    """What every format must carry: the header and the cells, as printed."""
    rows = [["" if cell is None else str(cell) for cell in row] for row in table.rows]
    return [list(table.header), *rows]


def split_markdown(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if not line.startswith("|:")]
    return [[cell.strip().replace(r"\|", "|") for cell in line] for line in cells]


def read_markdown(text: str) -> list[list[str]]:
    return [[re.sub(r"^\*\*(.*)\*\*$", r"\1", c) for c in line] for line in split_markdown(text)]


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.grid: list[list[str]] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.grid.append([])
        self.open = tag in ("td", "th")
        if self.open:
            self.grid[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            self.grid[-1][-1] += data


def read_html(text: str) -> list[list[str]]:
    parser = _Cells()
    parser.feed(text)
    return parser.grid


LATEX = {r"\alpha": "α", r"\lambda": "λ", r"\Lambda": "Λ", r"\times": "×"}
LATEX |= {r"\ding{51}": "✓", r"\ding{55}": "✗", r"\textbackslash{}": "\\"}
LATEX |= {r"\textasciitilde{}": "~", r"\textasciicircum{}": "^"}
LATEX |= {rf"\{character}": character for character in "&%$#_{}"}


def latex_cells(text: str) -> list[list[str]]:
    """The cells of a tabular, still in LaTeX."""
    body = text.split(r"\toprule")[1].split(r"\bottomrule", maxsplit=1)[0].replace(r"\midrule", "")
    lines = [line.strip() for line in re.split(r"\\\\(?=\s)", body) if line.strip()]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


def read_latex(text: str) -> list[list[str]]:
    macros = re.compile(
        r"\$(\\[a-zA-Z]+)\$|(" + "|".join(map(re.escape, LATEX)) + r")|[&%$#_{}\\~^]"
    )

    def plain(match: re.Match[str]) -> str:
        return LATEX[match[1] or match[2]]  # a special character on its own is a KeyError

    return [
        [macros.sub(plain, re.sub(r"^\\textbf\{(.*)\}$", r"\1", cell)) for cell in line]
        for line in latex_cells(text)
    ]


READERS: dict[str, Callable[[str], list[list[str]]]] = {
    "markdown": read_markdown,
    "csv": lambda text: list(csv.reader(io.StringIO(text), strict=True)),
    "latex": read_latex,
    "html": read_html,
}
TABLES = [*map(paper.published, paper.NAMES), AWKWARD]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.parametrize("style", READERS)
def test_a_format_carries_every_cell_as_printed(style: str, table: Table) -> None:
    assert READERS[style](render(table, style)) == grid(table)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_json_carries_every_cell_as_a_value(table: Table) -> None:
    facts = json.loads(render(table, "json"), parse_float=Decimal)
    assert facts["table"] == table.name
    assert facts["caption"] == table.caption
    assert [list(row) for row in facts["rows"]] == [list(table.header)] * len(table.rows)
    assert [tuple(row.values()) for row in facts["rows"]] == list(table.rows)


def test_every_format_is_read_back() -> None:
    assert set(FORMATS) == {*READERS, "json"}


@pytest.mark.parametrize("name", ["1", "1-repository", "2", "3", "4", "5"])
def test_csv_is_the_stored_file(name: str) -> None:
    stored = (asset("results") / "paper" / f"table{name}.csv").read_bytes()
    assert render(paper.published(name), "csv").encode() + b"\n" == stored


@pytest.mark.parametrize("style", sorted({*FORMATS} - {"csv"}))
def test_every_format_but_csv_says_its_source(style: str) -> None:
    for name in paper.NAMES:
        assert "of arXiv 2310.05209." in html.unescape(render(paper.published(name), style))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_best_is_bold_in_markdown(table: Table) -> None:
    lines = split_markdown(render(table, "markdown"))[1:]
    found = {
        (index, position)
        for index, line in enumerate(lines)
        for position, cell in enumerate(line)
        if cell.startswith("**") and cell.endswith("**")
    }
    assert found == table.best_cells()


def test_the_best_by_what_is_measured() -> None:
    rows = [("a", "nll", "1.0", "9"), ("b", "nll", "2.0", "3"), ("a", "acc", "1.0", "5")]
    rows += [("b", "acc", "2.0", "6"), ("a", "odd", "1.0", "1"), ("b", "odd", "2.0", "2")]
    table = Table(
        name="x",
        caption="",
        labels=("model", "metric"),
        columns=("1K", "2K"),
        rows=tuple((model, metric, Decimal(x), Decimal(y)) for model, metric, x, y in rows),
        best={"nll": "lowest", "acc": "highest"},
        group_by=("metric",),
    )
    assert table.best_cells() == {(0, 2), (1, 3), (3, 2), (3, 3)}
    by_column = replace(table, best={"2K": "lowest"}, group_by=())
    assert by_column.best_cells() == {(4, 3)}


def test_intervals_stand_beside_numbers_or_in_columns_of_their_own() -> None:
    ends = (Decimal("1.5"), Decimal("2.5"))
    table = replace(
        AWKWARD, intervals={(0, 2): ends}, marks=frozenset({(0, 2)}), best=None, caption="c"
    )
    number = str(AWKWARD.rows[0][2])
    for style in ("markdown", "html"):
        assert f"{number}† [1.5, 2.5]" in html.unescape(render(table, style))
    assert rf"{number}$^\dagger$ [1.5, 2.5]" in render(table, "latex")
    header, first, second, *_ = csv.reader(io.StringIO(render(table, "csv")))
    assert header == ["size", "model", "a|b", "a|b low", "a|b high", "c_d"]
    assert first[2:] == [number, "1.5", "2.5", ""]
    assert second[3:5] == ["", ""]
    row = json.loads(render(table, "json"))["rows"][0]
    assert (row["a|b low"], row["a|b high"]) == (1.5, 2.5)


def bold_cells(table: Table) -> set[tuple[int, int]]:
    lines = latex_cells(render(table, "latex"))[1:]
    return {
        (index, position)
        for index, line in enumerate(lines)
        for position, cell in enumerate(line)
        if cell.startswith(r"\textbf{")
    }


def test_latex_sets_the_best_of_column_and_size_in_bold() -> None:
    for name in ("3", "4", "3+4", "5"):
        table = paper.published(name)
        bold = bold_cells(table)
        for size in ("7B", "13B"):
            rows = [index for index, row in enumerate(table.rows) if row[0] == size]
            for position in range(2, len(table.header)):
                top = max(numeric(table.rows[index][position]) for index in rows)
                expected = {index for index in rows if table.rows[index][position] == top}
                found = {index for index, cell in bold if cell == position} & set(rows)
                assert found == expected, (name, size, table.header[position])


def test_latex_of_perplexity_sets_the_lowest_in_bold_and_of_text_nothing() -> None:
    assert bold_cells(paper.published("1")) == {(2, 2), (1, 3), (1, 4), (1, 5)}
    assert bold_cells(paper.published("2")) == set()


def test_blanks_and_text_are_never_best_and_ties_all_are() -> None:
    assert AWKWARD.best_cells() == set()  # of one number none is best, nor of two that are alike
    three = (*AWKWARD.rows, ("7B", "a third", Decimal("-1.00"), None))
    assert replace(AWKWARD, rows=three).best_cells() == {(0, 2), (1, 2)}
    assert replace(AWKWARD, best=None).best_cells() == set()


def test_latex_is_booktabs_with_a_rule_between_the_sizes() -> None:
    lines = render(paper.published("3"), "latex").splitlines()
    assert lines[0] == r"% needs \usepackage{booktabs,pifont}"
    assert lines[4] == r"\begin{tabular}{llrrrrrr}"
    assert (lines.count(r"\toprule"), lines.count(r"\bottomrule")) == (1, 1)
    after = [lines[index + 1] for index, line in enumerate(lines) if line == r"\midrule"]
    assert [line.split(" & ")[1] for line in after] == ["LLaMA2 7B", "LLaMA2 13B"]
    assert "|" not in lines[4]
    assert r"\hline" not in lines


def test_markdown_sets_numbers_right_and_text_left() -> None:
    rule = render(paper.published("1"), "markdown").splitlines()[1]
    assert re.fullmatch(r"(\|:-+){2}(\|-+:){4}\|", rule)


def test_the_authors_repository_has_another_table_1() -> None:
    printed, own = (paper.published(name) for name in ("1", "1-repository"))
    assert (own.header, len(own.rows)) == (printed.header, 3)
    differ = {
        (row[1], column): (row[at], other[at])
        for row, other in zip(printed.rows, own.rows, strict=True)
        for at, column in enumerate(own.header)
        if row[at] != other[at]
    }
    assert differ == {
        ("base=500", "128K"): (Decimal("9.49"), Decimal("9.15")),
        ("base=500", "512K"): (Decimal("23.99"), Decimal("22.78")),
        ("base=1000000", "512K"): (Decimal("1755.87"), Decimal("1520.41")),
        ("base=1000000", "1M"): (Decimal("4914.81"), Decimal("8349.9")),
    }
    chosen = paper.chosen_table("1-repository", Choice(lengths=[1 << 19]))
    assert [row[2] for row in chosen.rows] == [
        Decimal("22.78"),
        Decimal("12.07"),
        Decimal("1520.41"),
    ]
