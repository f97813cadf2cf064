"""Whose run it is: by content or by the row that was asked, never by a folder's name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import lm_eval_files
from rope_eval import catalogue
from rope_eval.paths import asset
from rope_eval.results import identity
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.naming import Names, setting_text, weights
from rope_eval.results.store import Run
from rope_eval.rope.spec import RopeSpec

LAB = asset("model_configs") / "lab"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no checkpoints.yaml of the developer's


def curve(model: Path | str, rope: RopeSpec, row: str | None = None) -> Run:
    asked = identity.request("cumulative", str(model), rope, backend="hf", dtype="auto")
    return Run(
        key=identity.run_key(asked),
        kind="cumulative",
        status="done",
        request=asked,
        results={},
        provenance={"row": row},
    )


def imported(folder: Path, **given: Any) -> Run:
    lm_eval_files.write(folder, {"piqa": (0.5, 4)}, **given)
    (found,) = read_lm_eval(folder)
    return found.run


def test_weights_in_a_folder_of_another_rows_name(tmp_path: Path) -> None:
    names = Names()
    rope = catalogue.find("lab/base-1e6").rope
    fake = tmp_path / "base-1e6"
    shutil.copytree(LAB / "base-20", fake)
    assert names.row(curve(LAB / "base-1e6", rope)) == "lab/base-1e6"
    assert names.row(curve(fake, rope)) == "base-1e6, rope_theta=1000000"
    assert names.row(curve(fake, rope, row="lab/base-1e6")) == "base-1e6, rope_theta=1000000"
    assert names.row(curve(fake, catalogue.find("lab/base-20").rope)) == "lab/base-20"
    moved = tmp_path / "anything"
    shutil.copytree(LAB / "base-1e6", moved)
    assert names.row(curve(moved, rope)) == "lab/base-1e6"


def test_so_it_is_for_imports(tmp_path: Path) -> None:
    names = Names()
    rope = catalogue.find("lab/base-1e6").rope.to_dict()
    shutil.copytree(LAB / "base-20", tmp_path / "base-1e6")
    for arguments, name in (
        ({"pretrained": str(LAB / "base-1e6")}, "lab/base-1e6"),
        ({"config": "lab/base-1e6"}, "lab/base-1e6"),
        ({"pretrained": "./base-1e6"}, "base-1e6, rope_theta=1000000"),
        ({"pretrained": "/gone/base-1e6"}, "base-1e6, rope_theta=1000000"),
        ({"pretrained": str(LAB / "base-1e6"), "peft": "me/lora"}, "base-1e6 + me/lora, rope"),
        ({"pretrained": str(LAB / "base-1e6"), "revision": "v2"}, "base-1e6@v2, rope"),
    ):
        run = imported(
            tmp_path / str(len(list(tmp_path.iterdir()))), model_args=arguments, rope=rope
        )
        assert names.row(run).startswith(name)


def test_a_row_that_was_asked_with_weights_of_ones_own() -> None:
    row = catalogue.find("llama2-7b/base-500")
    names = Names()
    assert names.row(curve(LAB / "base-20", row.rope, row.name)) == row.name  # never released
    assert names.row(curve("me/plain-copy", RopeSpec(), "llama2-7b/plain")) == "llama2-7b/plain"
    assert names.row(curve("meta-llama/Llama-2-7b-hf", RopeSpec())) == "llama2-7b/plain"
    other = RopeSpec(rope_theta=7)  # the row was asked for, and changed
    assert names.row(curve("me/copy", other, "llama2-7b/plain")) == "me/copy, rope_theta=7"


def test_a_row_that_was_asked_with_other_fields_keeps_its_name(tmp_path: Path) -> None:
    row, names = catalogue.find("lab/base-1e6"), Names()
    model, fields = LAB / "base-1e6", row.rope.to_dict()

    def name(asked: str | None = row.name, **changes: Any) -> str:
        return names.row(curve(model, RopeSpec.from_dict(fields | changes), asked))

    assert name() == "lab/base-1e6"
    assert name(log_scale=True) == "lab/base-1e6, log_scale=True"
    assert name(rope_theta=500, linear_factor=4) == "lab/base-1e6, rope_theta=500,linear_factor=4"
    assert name(None, linear_factor=4) == "base-1e6, rope_theta=1000000,linear_factor=4"
    bare = RopeSpec.from_dict({key: fields[key] for key in fields if key != "rope_theta"})
    assert names.row(curve(model, bare, row.name)) == "lab/base-1e6, rope_theta=None"
    other = curve(LAB / "base-20", RopeSpec(rope_theta=7), row.name)  # not its checkpoint
    assert names.row(other) == "base-20, rope_theta=7"
    arguments = {"config": row.name, "log_scale": True}
    run = imported(tmp_path / "a", model_args=arguments, rope=fields | {"log_scale": True})
    assert names.row(run) == "lab/base-1e6, log_scale=True"


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ({"rope_theta": 500}, "rope_theta=500"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, None),
        ("rope_scaling={'type': 'linear', 'factor': 2}", None),
        ({"hf_overrides": {"rope_parameters": {"rope_theta": 1e6}}}, None),
        ('hf_overrides={"rope_theta": 5e5, "x": 1},dtype=auto', None),
    ],
)
def test_a_stock_model_with_another_rope_is_not_the_plain_row(
    tmp_path: Path, arguments: Any, setting: str | None
) -> None:
    plain = "meta-llama/Llama-2-7b-hf"
    given: Any = f"pretrained={plain},{arguments}"
    if isinstance(arguments, dict):
        given = {"pretrained": plain} | arguments
    run = imported(tmp_path / "a", model_args=given)
    name = Names().row(run)
    assert name == f"{plain}, {setting_text(run)}"
    assert setting is None or setting_text(run) == setting
    assert "factor" in name or "rope_theta" in name
    assert "dtype" not in name


def test_arguments_that_change_nothing_are_the_plain_row(tmp_path: Path) -> None:
    arguments = {"pretrained": "meta-llama/Llama-2-7b-hf", "rope_scaling": None, "europe": 1}
    assert Names().row(imported(tmp_path / "a", model_args=arguments)) == "llama2-7b/plain"
    ours = {"pretrained": "meta-llama/Llama-2-7b-hf", "ntk_alpha": 8, "train_length": 4096}
    run = imported(tmp_path / "b", model_args=ours | {"rope_theta": None}, rope={"ntk_alpha": 8})
    assert Names().row(run) == "llama2-7b/ntk-fixed-8"


def test_what_tells_two_checkpoints_apart(tmp_path: Path) -> None:
    assert (
        weights(curve(LAB / "base-20", RopeSpec()))
        == identity.model_fingerprint(LAB / "base-20")[:12]
    )
    arguments = {"pretrained": "/gone/final", "revision": "v2", "peft": "me/lora"}
    run = imported(tmp_path / "a", model_args=arguments)
    assert weights(run) == "/gone/final + v2 + me/lora"


def test_the_checkpoint_of_a_run_is_the_catalogues_of_its_content() -> None:
    folder = catalogue.find("lab/base-1e6").require_checkpoint()
    names = Names()

    def checkpoint(fingerprint: str) -> str | None:
        asked = {"kind": "x", "fingerprint": fingerprint, "rope": {}}
        key = identity.run_key(asked)
        run = Run(key=key, kind="x", status="done", request=asked, results={}, provenance={})
        return names.checkpoint(run)

    assert checkpoint(identity.fingerprint(folder)) == folder
    assert checkpoint("b" * 64) is None
    assert checkpoint("me/model") is None
