"""What a plan's file comes to, and what is said of a mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_eval.data.books import Document
from rope_eval.errors import DataError, RopeEvalError, SpecError
from rope_eval.paths import asset
from rope_eval.plans.measurements.perplexity import Perplexity
from rope_eval.plans.plan import Plan
from rope_eval.plans.survey import survey
from rope_eval.plans.worker import Shard
from rope_eval.results.documents import TokenCount
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.runner.texts import Texts

MEASURED = "measurements:\n  - perplexity: {lengths: [64, 1k], docs: 2}\n"


def plan(tmp_path: Path, text: str) -> Plan:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    return Plan.read(file)


def test_models_by_settings_by_measurements(tmp_path: Path) -> None:
    directory = asset("model_configs") / "lab" / "pretrained"
    made = plan(
        tmp_path,
        f"""\
results: {tmp_path}/runs
strict: true
loading: {{dtype: float32, chunk_size: 64, proof: off}}
models: [lab/base-20, {directory}]
settings:
  - grid: {{rope_theta: [500, 1e6], log_scale: [false, true]}}
    train_length: 100
  - {{}}
measurements:
  - perplexity: {{lengths: [64, 1k], docs: 2}}
  - perplexity: {{lengths: [128], books: builtin-chapters}}
""",
    )
    assert made.results == tmp_path / "runs"
    assert len(made.cells) == 2 * (4 + 1) * 2
    assert {cell.loading.chunk_size for cell in made.cells} == {64}
    assert {(c.loading.dtype, c.loading.proof, c.strict) for c in made.cells} == {
        ("float32", False, True)
    }
    assert made.cells[0].measurement == Perplexity(books="builtin", lengths=(64, 1024), docs=2)
    assert made.cells[1].measurement == Perplexity(books="builtin-chapters", lengths=(128,))
    of_directory = [c.setting for c in made.cells if c.setting.checkpoint == str(directory)][::2]
    assert [setting.rope for setting in of_directory] == [
        RopeSpec(rope_theta=500, train_length=100),
        RopeSpec(rope_theta=500, train_length=100, log_scale=True),
        RopeSpec(rope_theta=1e6, train_length=100),
        RopeSpec(rope_theta=1e6, train_length=100, log_scale=True),
        RopeSpec(),
    ]
    row = made.cells[8].setting
    assert (row.row, row.rope.rope_theta, row.rope.train_length) == ("lab/base-20", 20, 128)
    assert made.cells[2].setting.rope.log_scale


EXPERIMENTS = """\
experiments:
  - models: [lab/base-20, {models: [x, y], train_length: 128, tune_length: 256}]
    settings: [{}, {log_scale: true, tune_length: 512}]
    measurements: [perplexity: {lengths: [64]}]
  - models: [{model: x, train_length: 128, tune_length: 256}]
    measurements: [perplexity: {lengths: [64]}, perplexity: {lengths: [128]}]
"""


def test_experiments_have_models_settings_and_measurements_of_their_own(tmp_path: Path) -> None:
    made = plan(tmp_path, "strict: true\n" + EXPERIMENTS)
    asked = [(Path(c.setting.checkpoint).name, c.measurement.longest) for c in made.cells]
    assert asked == [("base-20", 64)] * 2 + [("x", 64)] * 2 + [("x", 128)] + [("y", 64)] * 2
    assert all(cell.strict for cell in made.cells)
    own = RopeSpec(train_length=128, tune_length=256)
    assert [cell.setting.rope for cell in made.cells[2:5]] == [
        own,
        own.replace(log_scale=True, tune_length=512),
        own,
    ]
    assert [value.where.rpartition(":")[2] for _, value in made.asked] == ["5", "7", "7"]


def test_what_is_asked_twice_is_done_once(tmp_path: Path) -> None:
    made = plan(tmp_path, "models: [lab/base-20, {row: lab/base-20}]\n" + MEASURED)
    assert len(made.cells) == 1


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("model: [x]\n", 1, "unknown key 'model'. Did you mean 'models'?"),
        ("models: [x]\n", 1, "measurements is missing: give it, such as measurements: [perplexity"),
        ("models: [x]\n" + MEASURED.replace("lengths", "length"), 3, "Did you mean 'lengths'?"),
        (
            "models: [x]\n" + MEASURED.replace("perplexity", "perplexty"),
            3,
            "Did you mean 'perplexity'?",
        ),
        ("models: [x]\n" + MEASURED.replace("docs: 2", "docs: 0"), 3, "whole number of 1 or more"),
        ("models: [x]\n" + MEASURED.replace("1k", "32"), 3, "lengths must increase"),
        ("models: [lab/bse-20]\n" + MEASURED, 1, "Did you mean 'lab/base-20'?"),
        (
            "models: [x]\n" + MEASURED + "settings:\n  - {}\n  - rope_teta: 500\n",
            6,
            "Did you mean 'rope_theta'?",
        ),
        (
            "models: [x]\n" + MEASURED + "settings:\n  - grid:\n      rope_teta: [500]\n",
            6,
            "Did you mean 'rope_theta'?",
        ),
        (
            "models: [x]\n" + MEASURED + "settings:\n  - rope_theta: -3\n",
            5,
            "rope_theta",
        ),
        (
            "models: [x]\n" + MEASURED + "settings:\n- {rope_theta: 5, grid: {rope_theta: [5]}}\n",
            5,
            "rope_theta stands beside the grid too",
        ),
        ("models: [x]\nmodels: [y]\n" + MEASURED, 2, "models stands twice"),
        (
            "models: [x]\n" + MEASURED + "loading: {dtype: float31}\n",
            4,
            "Did you mean 'float32'?",
        ),
        ("models: [x]\n" + EXPERIMENTS, 1, "models stands beside experiments"),
        (EXPERIMENTS.replace("settings", "setings"), 3, "Did you mean 'settings'?"),
        ("experiments:\n  - models: [x]\n", 2, "measurements is missing"),
        ("models: [{models: [x], tune_lenth: 3}]\n" + MEASURED, 1, "Did you mean 'tune_length'?"),
        ("models: [{models: [x], row: y}]\n" + MEASURED, 1, "one of models, row alone"),
        ("models: []\n" + MEASURED, 1, "expected a list of at least one"),
        ("models: [x]\nmeasurements: [\n", 3, "no YAML"),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(RopeEvalError) as caught:
        plan(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/plan.yaml:{line}: ")
    assert says in str(caught.value)


def test_no_file_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        Plan.read(tmp_path / "none.yaml")
    with pytest.raises(DataError, match="is empty"):
        plan(tmp_path, "")


def test_a_shard_is_a_beginning_and_leaves_nothing_out(tmp_path: Path) -> None:
    grid = "settings:\n  - grid: {rope_theta: [1000, 2000, 3000, 4000, 5000]}\n"
    cells = plan(tmp_path, "models: [x]\n" + MEASURED + grid).cells
    orders = [Shard(index=i, of=3).order(cells) for i in (1, 2, 3)]
    assert [order[0] for order in orders] == [cells[0], cells[1], cells[3]]
    for order in orders:
        assert sorted(map(str, order)) == sorted(map(str, cells))
    assert Shard.parse("2/3") == Shard(index=2, of=3)
    for wrong in ("4/3", "0/3", "x", "1", "-1/3"):
        with pytest.raises(SpecError, match="i/n"):
            Shard.parse(wrong)


def test_the_plan_that_ships_is_read_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = Plan.read(Path("embedded"))
    assert {cell.setting.row for cell in made.cells} == {"lab/pretrained", "lab/base-1e6"}
    assert len(made.cells) == 2 * 4 * 4


def test_rows_are_named_together(tmp_path: Path) -> None:
    folder = asset("model_configs") / "lab"
    made = plan(tmp_path, "models: [{rows: [lab/base-1e4*, lab/base-2*]}]\n" + MEASURED)
    rows = [cell.setting.row for cell in made.cells]
    assert rows == ["lab/base-20", "lab/base-1e4", "lab/base-1e4-512"]
    assert made.cells[0].setting.checkpoint == str(folder / "base-20")
    assert not made.absent
    for text, says in (
        ("{rows: [lab/bse-*]}", "no row of the catalogue is like 'lab/bse-*'"),
        ("{rows: [lab/base-20], model: x}", "give a model and a row, or one of rows, model alone"),
        ("{paper: 2}", "tables 1, 3, 4, 5, not in 2"),
        ("{}", "give a model, a row, or both"),
    ):
        with pytest.raises(SpecError, match=r"plan\.yaml:1: ") as caught:
            plan(tmp_path, f"models: [{text}]\n" + MEASURED)
        assert says in str(caught.value)


def test_a_name_that_is_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no plan of that name ships\. Did you mean 'embedded'"):
        Plan.read(Path("embeded"))


def test_texts_are_tokenised_once_for_all_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = "settings:\n  - grid: {rope_theta: [1000, 2000, 3000]}\n"
    books = MEASURED.replace("[64, 1k], docs: 2", "[64], books: builtin-chapters, docs: 4")
    made = plan(tmp_path, "models: [lab/base-20]\n" + books + grid)
    counted: list[str] = []
    real = Texts._tokenise

    def tokenise(self: Texts, document: Document) -> TokenCount:
        counted.append(document.name)
        return real(self, document)

    monkeypatch.setattr(Texts, "_tokenise", tokenise)
    store = Store(tmp_path / "runs")
    assert [one.units for one in survey(made, store)] == [4, 4, 4]
    assert len(counted) == 4
    assert [one.units for one in survey(made, Store(tmp_path / "runs"))] == [4, 4, 4]
    assert len(counted) == 8  # what a dry run has counted is not stored


def test_memory_is_planned_by_a_size(tmp_path: Path) -> None:
    text = "models: [lab/base-1e4]\n" + MEASURED + "loading: {memory_budget: %s, offload: true}\n"
    loading = plan(tmp_path, text % "1.5GiB").cells[0].loading
    assert (loading.memory_budget, loading.offload) == (3 << 29, True)
    with pytest.raises(SpecError, match=r"such as 8GiB, 512MiB or 1\.5GB; got 8"):
        plan(tmp_path, text % "8")
