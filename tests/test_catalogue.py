"""The catalogue: every row that ships, checkpoints of one's own, and files not as documented."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rope_eval import catalogue
from rope_eval.catalogue import rows
from rope_eval.errors import DataError, SpecError
from rope_eval.report import published as paper
from rope_eval.rope.spec import RopeSpec

FAMILY = """\
family: mine
pretrain_theta: 500000
train_length: 8192
size: 7B
rows:
  - name: released
    checkpoint: weights
    tune_length: 16384
    rope: {rope_theta: 1000000, log_scale: true}
  - name: unreleased
    paper: {base=500: [1], "base=500, 16K": [3, 4]}
  - name: unreleased-log
    weights_of: unreleased
    rope: {log_scale: true}
"""


def test_the_lab_family() -> None:
    rows = catalogue.load()
    row = rows["lab/base-20"]
    assert row.rope == RopeSpec(
        rope_theta=20, pretrain_theta=10000, train_length=128, tune_length=128
    )
    assert (Path(row.require_checkpoint()) / "model.safetensors").is_file()
    assert row.obstacle() is None
    assert catalogue.find("lab/base-20") == row


# --- the paper's rows -----------------------------------------------------------------------------


def spec_of(table: str, label: str) -> RopeSpec:
    """Return the setting that a row's label and the paper's appendix B.1 say."""
    fields: dict[str, object] = {"pretrain_theta": 10000, "train_length": 4096}
    if match := re.match(r"base=(\d+)", label):
        fields |= {"rope_theta": int(match[1])}
        fields |= {"tune_length": 16384 if table == "1" or label.endswith("16K") else 4096}
    if match := re.match(r"Linear PI λ = (\d)", label):
        fields |= {"linear_factor": int(match[1]), "tune_length": 8192}
    if "log-scaled" in label:
        fields |= {"log_scale": True}
    if label == "NTK fixed α = 8":
        fields |= {"ntk_alpha": 8}
    if label == "NTK dynamic":
        fields |= {"dynamic_ntk": "per_query"}
    return RopeSpec.from_dict(fields)


@pytest.mark.parametrize("table", ["1", "3", "4", "5"])
def test_every_row_of_the_paper_is_one_row_of_the_catalogue(table: str) -> None:
    rows = [row for row in catalogue.load().values() if table in row.paper]
    published = [(row[0], row[1]) for row in paper.published(table).rows]
    assert sorted(row.paper[table] for row in rows) == sorted(published)
    for row in rows:
        size, label = row.paper[table]
        assert row.name.startswith(f"llama2-{size.lower()}/")
        assert row.rope == spec_of(table, label), row.name


def test_only_what_changes_at_inference_needs_no_tuned_checkpoint() -> None:
    for size in ("7b", "13b"):
        rows = catalogue.load().values()
        released = {
            r.name: r.checkpoint for r in rows if r.checkpoint and f"llama2-{size}/" in r.name
        }
        hub = f"meta-llama/Llama-2-{size}-hf"
        assert released == {
            f"llama2-{size}/{name}": hub for name in ("plain", "ntk-fixed-8", "ntk-dynamic")
        }


def test_every_released_row_has_a_place_on_the_hub_and_a_source() -> None:
    rows = [row for name, row in catalogue.load().items() if name.startswith("released/")]
    for row in rows:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.checkpoint or ""), row.name
        assert row.source, row.name
        assert row.rope.is_neutral
    assert len({row.checkpoint for row in rows}) == len(rows) == 37
    assert catalogue.find("released/lceg-ntk-64k").rope == RopeSpec(
        pretrain_theta=10000, train_length=4096, tune_length=65536
    )


# --- what can run ---------------------------------------------------------------------------------


def test_a_checkpoint_of_ones_own_serves_the_rows_with_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FAMILY)
    rows = catalogue.load(tmp_path, {"mine/unreleased": "a", "mine/released": "b"})
    assert [row.checkpoint for row in rows.values()] == ["b", "a", "a"]
    rows = catalogue.load(tmp_path, {"mine/unreleased-log": "c"})
    assert [row.checkpoint for row in rows.values()] == ["weights", None, "c"]
    assert rows["mine/unreleased"].paper == {
        "1": ("7B", "base=500"),
        "3": ("7B", "base=500, 16K"),
        "4": ("7B", "base=500, 16K"),
    }


def test_checkpoints_from_a_file_and_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert catalogue.read_checkpoints() == {}
    (tmp_path / "weights").mkdir()
    (tmp_path / "checkpoints.yaml").write_text("llama2-7b/base-500: weights\nlab/base-20: me/hub\n")
    assert catalogue.read_checkpoints() == {
        "llama2-7b/base-500": "weights",
        "lab/base-20": "me/hub",
    }
    assert catalogue.find("llama2-7b/base-500-log").require_checkpoint() == "weights"
    assert catalogue.read_checkpoints(pairs=["lab/base-20=x=y"])["lab/base-20"] == "x=y"
    other = tmp_path / "folder" / "mine.yaml"
    (tmp_path / "folder" / "here").mkdir(parents=True)
    other.write_text("lab/base-20: here\n")
    assert catalogue.read_checkpoints(other) == {"lab/base-20": str(other.parent / "here")}
    with pytest.raises(SpecError, match="written NAME=DIR, got 'lab/base-20'"):
        catalogue.read_checkpoints(pairs=["lab/base-20"])
    with pytest.raises(DataError, match="cannot read"):
        catalogue.read_checkpoints(tmp_path / "none.yaml")
    (tmp_path / "checkpoints.yaml").write_text("- weights\n")
    with pytest.raises(DataError, match="expected lines of NAME: DIR"):
        catalogue.find("lab/base-20")
    with pytest.raises(DataError, match=r"checkpoints\.yaml or .* Did you mean 'lab/base-20'"):
        catalogue.load(checkpoints={"lab/base-2": "x"})


@pytest.mark.parametrize("line", ["lab/base-20: 2024-01-01", "7: x", "lab/base-20:", "a: [b]"])
def test_a_checkpoint_that_is_no_text(tmp_path: Path, line: str) -> None:
    file = tmp_path / "checkpoints.yaml"
    file.write_text(line + "\n")
    name = line.split(":", maxsplit=1)[0]
    with pytest.raises(DataError, match=rf"checkpoints\.yaml: expected NAME: DIR.*got '?{name}"):
        catalogue.read_checkpoints(file)


def test_a_family_of_ones_own_beside_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_configs").mkdir()
    (tmp_path / "model_configs" / "mine.yaml").write_text(FAMILY)
    assert catalogue.find("mine/released").rope.rope_theta == 1e6
    assert catalogue.find("lab/base-20").rope.rope_theta == 20
    (tmp_path / "model_configs" / "lab.yaml").write_text("family: lab\nrows: [{name: only}]\n")
    assert [name for name in catalogue.load() if name.startswith("lab/")] == ["lab/only"]


def test_obstacles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def obstacle(checkpoint: str | None) -> str | None:
        return catalogue.ModelSpec(name="a/b", checkpoint=checkpoint, fields={}).obstacle()

    assert obstacle(None) == "never released: give your own, `a/b: DIR` in checkpoints.yaml"
    assert obstacle("/no/such") == "/no/such: no such directory"
    assert obstacle(str(tmp_path)) == f"{tmp_path} has no config.json"
    (tmp_path / "config.json").write_text("{}")
    assert obstacle(str(tmp_path)) == f"{tmp_path} has no weights (*.safetensors or *.bin)"
    index = {"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-1.safetensors").touch()
    assert obstacle(str(tmp_path)) == f"{tmp_path} has no model-2.safetensors"
    (tmp_path / "model-2.safetensors").touch()
    assert obstacle(str(tmp_path)) is None
    (tmp_path / "model.safetensors.index.json").write_text("{")
    assert obstacle(str(tmp_path)) == f"{tmp_path} has no readable model.safetensors.index.json"

    monkeypatch.setattr(rows, "_cached", lambda name: None)
    assert obstacle("me/hub") == "me/hub is not downloaded: the first run gets it from the hub"
    (tmp_path / "model.safetensors.index.json").unlink()
    monkeypatch.setattr(rows, "_cached", lambda name: tmp_path)
    assert obstacle("me/hub") is None


def test_what_belongs_to_the_weights_is_written_once(tmp_path: Path) -> None:
    owner = "  - {name: long, checkpoint: w, tune_length: 512, rope: {rope_theta: 9, xpos: true}}\n"
    log = "  - {name: long-log, weights_of: long, rope: {rope_theta: 9, log_scale: true}}\n"
    (tmp_path / "mine.yaml").write_text(FAMILY + log + owner)
    facts = {"pretrain_theta": 500000, "train_length": 8192, "tune_length": 512}
    rows = catalogue.load(tmp_path)
    assert rows["mine/long-log"].rope == RopeSpec(rope_theta=9, log_scale=True, **facts)
    assert rows["mine/long-log"].checkpoint == "w"
    # the owner's own facts win over the family's, a row's setting over both
    owner = owner.replace("xpos: true", "pretrain_theta: 700, train_length: 64")
    log = log.replace("log_scale: true", "train_length: 32")
    (tmp_path / "mine.yaml").write_text(FAMILY + owner + log)
    assert catalogue.load(tmp_path)["mine/long-log"].fields == {
        "rope_theta": 9,
        "pretrain_theta": 700,
        "train_length": 32,
        "tune_length": 512,
    }
    for length, fits in (("512", True), ("64", False), ("null", False)):
        again = log.replace("rope:", f"tune_length: {length}, rope:")
        (tmp_path / "mine.yaml").write_text(FAMILY + owner + again)
        if fits:
            assert catalogue.load(tmp_path)["mine/long-log"].rope.tune_length == 512
        else:
            with pytest.raises(DataError, match=r"belongs to the weights.*mine/long \(tune"):
                catalogue.load(tmp_path)


def test_a_row_keeps_its_fields_as_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "family: mine\npretrain_theta: 10000\nrows: [{name: a, rope: {dynamic_ntk: false}}]\n"
    )
    (row,) = catalogue.load(tmp_path).values()
    assert row.fields == {"pretrain_theta": 10000, "dynamic_ntk": False}
    assert row.rope == RopeSpec(pretrain_theta=10000)


# --- files ----------------------------------------------------------------------------------------


def test_a_family_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FAMILY)
    rows = catalogue.load(tmp_path)
    assert list(rows) == ["mine/released", "mine/unreleased", "mine/unreleased-log"]
    released = rows["mine/released"]
    assert released.checkpoint == "weights"  # no folder of that name beside the file: a hub name
    assert released.rope == RopeSpec(
        rope_theta=1e6,
        log_scale=True,
        pretrain_theta=500000,
        train_length=8192,
        tune_length=16384,
    )
    (tmp_path / "weights").mkdir()
    assert catalogue.load(tmp_path)["mine/released"].checkpoint == str(tmp_path / "weights")
    with pytest.raises(
        DataError,
        match=r"-log was never .*`mine/unreleased: DIR` in .*--model.*pretrained=",
    ):
        rows["mine/unreleased-log"].require_checkpoint()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("family: [", DataError, "not YAML"),
        ("- 1", DataError, "expected a mapping"),
        ("family: x", DataError, "rows is missing"),
        (FAMILY + "  - {checkpoint: y}\n", DataError, "name is missing"),
        (FAMILY + "  - {name: z, tune_lenght: 5}\n", DataError, "Did you mean 'tune_length'"),
        (FAMILY + "  - {name: released}\n", DataError, "mine/released stands twice"),
        (FAMILY + "  - {name: z, rope: {rope_teta: 5}}\n", SpecError, "Did you mean 'rope_theta'"),
        (
            FAMILY + "  - {name: z, weights_of: relased}\n",
            DataError,
            "Did you mean 'mine/released'",
        ),
        (FAMILY + "  - {name: z, weights_of: unreleased-log}\n", DataError, "no row with weights"),
        (FAMILY + "  - {name: z, checkpoint: y, weights_of: released}\n", DataError, "keep one"),
        (FAMILY.replace("size: 7B\n", ""), DataError, "family has no size"),
        (FAMILY.replace("[3, 4]}", "3}"), DataError, "lists of tables"),
        # what YAML makes of a slip, and what it says is not there
        (
            "family: 7\nrows: []",
            DataError,
            r"mine\.yaml: family must be text, got 7: write",
        ),
        ("family: a b\nrows: []", DataError, "a word without"),
        ("family: x\nrows: 5", DataError, "rows must be a list, got 5"),
        ("family: x\nrows: [5]", DataError, r"mine\.yaml, row 1: expected a mapping.*got 5"),
        (FAMILY + "  - {name: []}\n", DataError, r"row 4: name must be text, got \[\]"),
        (FAMILY + "  - {name: 500}\n", DataError, "row 4: name must be text, got 500"),
        (FAMILY + "  - {name: ''}\n", DataError, "row 4: name must be text"),
        (FAMILY + "  - {name: null}\n", DataError, "row 4: name must be a word"),
        (FAMILY + "  - {name: a/b}\n", DataError, "row 4: name must be a word without '/'"),
        (FAMILY + "  - {name: z, checkpoint: [y]}\n", DataError, "mine/z: checkpoint must be text"),
        (FAMILY + "  - {name: z, checkpoint: 2024-01-01}\n", DataError, "checkpoint must be text"),
        (FAMILY + "  - {name: z, checkpoint: 2024-13-45}\n", DataError, "not YAML: month must be"),
        (
            FAMILY + "  - {name: z, rope: {rope_scaling: 2}}\n",
            SpecError,
            "mine/z: rope_scaling is",
        ),
        (FAMILY + "  - {name: z, weights_of: 3}\n", DataError, "mine/z: weights_of must be text"),
        (
            FAMILY + "  - {name: z, rope: [xpos]}\n",
            DataError,
            r"mine/z: rope must .*got \['xpos",
        ),
        (
            FAMILY + "  - {name: z, rope: {rope_theta: []}}\n",
            SpecError,
            "mine/z: rope_theta must",
        ),
        (
            FAMILY + "  - {name: z, tune_length: short}\n",
            SpecError,
            "mine/z: tune_length must",
        ),
        (FAMILY + "  - {name: z, rope_theta: 5}\n", DataError, "write it under rope"),
        (
            FAMILY + "  - {name: z, tune_length: 9, rope: {tune_length: 9}}\n",
            DataError,
            "mine/z has tune_length twice",
        ),
        (FAMILY.replace("size: 7B", "size: 8B"), DataError, "no row 'base=500' of size 8B"),
        (
            FAMILY.replace("base=500:", "base=50:"),
            DataError,
            r"mine/unreleased: Table 1 .* no row 'base=50' of size 7B\. Did you mean 'base=500'\?",
        ),
        (FAMILY.replace("[3, 4]", "[2]"), DataError, "table 2; those with models are 1, 3, 4, 5"),
        ("[" * 5000, DataError, "nested too deeply"),
    ],
)
def test_files_that_are_not_as_documented(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(error, match=message):
        catalogue.load(tmp_path)


def test_an_unknown_row_names_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'lab/pretrained'"):
        catalogue.find("lab/pretrain")


@pytest.mark.parametrize(
    "content",
    [b"[" * 20_000, b"\xff", b'{"weight_map": {"a": ["b"]}}', b'{"weight_map": {"a": 1}}'],
)
def test_an_index_that_is_none_is_an_obstacle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    row = rows.ModelSpec(name="a/b", checkpoint=str(tmp_path), fields={})
    assert row.obstacle() == f"{tmp_path} has no readable model.safetensors.index.json"
