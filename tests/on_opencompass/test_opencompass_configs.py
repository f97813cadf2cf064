"""What OpenCompass is configured with: our models, and the data sets of its own files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from opencompass.datasets import leval
from opencompass.tasks import OpenICLEvalTask

from helpers import fixtures_paper
from rope_eval import catalogue
from rope_eval.data.books import read_books
from rope_eval.errors import DataError, SpecError
from rope_eval.hosts.opencompass import columns, configs, environment
from rope_eval.hosts.opencompass.config_files import config_folder
from rope_eval.hosts.opencompass.data import BooksDataset, PaperDataset
from rope_eval.protocols.datasets import PROMPTS
from rope_eval.protocols.rules import RULES

GENERATED = [entry for entry in PROMPTS["paper"] if "rule" in PROMPTS["paper"][entry]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixtures_paper.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        environment.DATA_DIR,
        environment.BOOKS,
        environment.LENGTHS,
        environment.TRUNCATION,
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


# ---- files --------------------------------------------------------------------------------------


def test_the_data_sets_are_the_ones_of_the_paper() -> None:
    (cfg,) = configs.paper("arc_e")
    (stock,) = columns._stock("ARC_e_ppl_a450bd")
    assert cfg["infer_cfg"] == stock["infer_cfg"]
    assert cfg["eval_cfg"]["evaluator"]["evaluator"] == stock["eval_cfg"]["evaluator"]
    assert len(configs.paper("all", data_dir=None)) == 81  # the hub does not have TriviaQA
    assert len(configs.paper("leval")) == 5


def test_a_file_is_read_alone_and_as_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = config_folder()
    alone = Config.fromfile(str(folder / "models" / "scaling_rope_lab_base_20.py"))
    assert alone["models"][0]["rope_theta"] == 20
    assert [key for key in alone if key != "models"] == []
    base = tmp_path / "configs"
    for name in ("models/scaling_rope_lab_base_20", "datasets/rope_paper_mmlu"):
        (base / name).parent.mkdir(parents=True)
        (base / f"{name}.py").write_text((folder / f"{name}.py").read_text())
    (base / "mine.py").write_text(
        "from mmengine.config import read_base\n"
        "from opencompass.models import HuggingFaceBaseModel\n"
        "with read_base():\n"
        "    from .models.scaling_rope_lab_base_20 import models\n"
        "    from .datasets.rope_paper_mmlu import rope_paper_mmlu_datasets\n"
        "datasets = [*rope_paper_mmlu_datasets]\n"
        "models.append(dict(type=HuggingFaceBaseModel))\n"
    )
    mine = Config.fromfile(str(base / "mine.py"), format_python_code=False)
    assert mine["models"][0] == alone["models"][0] and len(mine["datasets"]) == 57


# ---- models -------------------------------------------------------------------------------------


def test_the_abbreviation_tells_settings_apart(tmp_path: Path) -> None:
    changed: list[dict[str, Any]] = [
        {},
        {"rope_theta": 30},
        {"truncation": "middle"},
        {"max_seq_len": 4096},
        {"path": str(tmp_path)},
        {"dtype": "bfloat16"},
    ]
    made = [configs.models("lab/base-20", **settings)[0] for settings in changed]
    assert len({cfg["abbr"] for cfg in made}) == len(made)
    (faster,) = configs.models("lab/base-20", batch_size=2)
    assert faster["abbr"] == made[0]["abbr"] and faster["batch_size"] == 2
    assert catalogue.find("lab/base-20").rope.fingerprint() in made[0]["abbr"]


def test_a_field_of_the_row_is_switched_off() -> None:
    (drop,) = configs.models("lab/base-1e5-drop")
    (keep,) = configs.models("lab/base-1e5-drop", beyond_critical="keep", path=None)
    assert (drop["beyond_critical"], keep["beyond_critical"]) == ("drop", "keep")
    assert catalogue.find("lab/base-1e5").rope.fingerprint() in keep["abbr"]
    assert keep["path"] == drop["path"]


def test_a_model_says_what_it_lacks() -> None:
    with pytest.raises(DataError, match="never released"):
        configs.models("llama2-7b/base-500")
    Path("checkpoints.yaml").write_text("llama2-7b/base-500: me/tuned\n")
    (cfg,) = configs.models("llama2-7b/base-500-log")
    assert cfg["path"] == "me/tuned" and cfg["log_scale"] is True
    with pytest.raises(DataError, match="base-20"):
        configs.models("lab/base-2")
    with pytest.raises(SpecError, match="Did you mean 'rope_theta'"):
        configs.models("lab/base-20", rope_teta=500)
    with pytest.raises(SpecError, match="a model has no 'config'"):
        configs.models("lab/base-20", config="lab/base-1e4")
    with pytest.raises(SpecError, match="left, right, middle, got 'top'"):
        configs.models("lab/base-20", truncation="top")


# ---- data sets ----------------------------------------------------------------------------------


def test_a_group_goes_without_what_is_missing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = fixtures_paper.write(tmp_path / "data", leave_out=("leval/tpo", "mmlu/anatomy_test"))
    with caplog.at_level(logging.WARNING):
        names = {cfg["abbr"] for cfg in configs.paper("all", str(data))}
    assert len(names) == 80 and not {"rope_paper_toefl", "rope_paper_mmlu_anatomy"} & names
    assert "rope_paper_toefl is left out: there is no" in caplog.text
    (asked,) = configs.paper("toefl", str(data))
    assert asked["abbr"] == "rope_paper_toefl"


def test_an_unknown_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="Did you mean 'piqa'"):
        configs.paper("pika")
    with pytest.raises(DataError, match=r"no configuration piqa_ppl_0.*rope-eval\[opencompass\]"):
        columns._stock("piqa_ppl_0")
    with pytest.raises(DataError, match="ROPE_EVAL_BOOKS"):
        configs.books("books3_cumulative")
    monkeypatch.setenv(environment.LENGTHS, "4k")
    with pytest.raises(SpecError, match="written 4096,8192, got '4k'"):
        configs.books("builtin_cumulative")


def test_the_books_default_to_the_tasks_lengths() -> None:
    (cfg,) = configs.books("builtin_cumulative")
    assert cfg["infer_cfg"]["inferencer"]["lengths"][:2] == [1024, 2048]
    (other,) = configs.books("builtin_cumulative", lengths=[1024])
    assert other["abbr"] != cfg["abbr"]


def test_the_first_books_are_read_whatever_their_length() -> None:
    (cfg,) = configs.books("builtin_cumulative", "builtin-chapters", read_docs=2)
    (both,) = configs.books("builtin_cumulative", "builtin-chapters")
    assert both["abbr"] != cfg["abbr"]
    names = [book.name for book in read_books("builtin-chapters", limit=2)]
    assert BooksDataset.load(cfg["books"], read_docs=cfg["read_docs"])["test"]["name"] == names


@pytest.mark.parametrize(
    ("entry", "name", "stock"),
    [
        ("gsm", "gsm100", leval.LEvalGSM100Dataset),
        ("toefl", "tpo", leval.LEvalTPODataset),
        ("topicret", "topic_retrieval_longchat", leval.LEvalTopicRetrievalDataset),
        ("quality", "quality", leval.LEvalQualityDataset),
        ("coursera", "coursera", leval.LEvalCourseraDataset),
    ],
)
def test_leval_questions_are_opencompass_own(
    entry: str, name: str, stock: Any, folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "test.jsonl").write_text((folder / "leval" / f"{name}.jsonl").read_text())
    theirs = stock.load(path=str(tmp_path))["test"]
    ours = PaperDataset.load(entry=entry, output_column="answer", data_dir=str(folder))["test"]
    fields = ("context", "question", "answer")
    assert [[row[name] for name in fields] for row in ours] == [
        [row[name] for name in fields] for row in theirs
    ]
    assert len(ours) > 0


# ---- evaluators ---------------------------------------------------------------------------------


def texts(gold: str) -> list[str]:
    """Return continuations that rules read differently."""
    return [
        gold,
        f" {gold}",
        f"The answer is {gold}.",
        f" {gold}, and more\n{gold}",
        f"\n{gold}",
        gold.lower(),
        f"So {gold} it is",
        f"Answer: {gold}\nNext",
        "",
        "none of them",
        f"the {gold}'s",
        f"The answer is {gold}. The answer is X",
    ]


@pytest.mark.parametrize("entry", GENERATED)
def test_opencompass_marks_texts_as_our_rules_do(
    entry: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cfg,) = configs.paper(entry, str(folder))
    test = PaperDataset.load(entry=entry, output_column="gold", data_dir=str(folder))["test"]
    golds = [gold if isinstance(gold, str) else gold[0] for gold in test["gold"]]
    read, mark = RULES[PROMPTS["paper"][entry]["rule"]]
    seen = set()
    for i in range(len(texts(""))):
        given = [texts(gold)[i] for gold in golds]
        work = tmp_path / str(i)
        file = work / "predictions" / "m" / f"{cfg['abbr']}.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({str(n): {"prediction": text} for n, text in enumerate(given)}))
        task = {
            "models": [{"abbr": "m", "type": "rope_eval.hosts.opencompass.model.ScalingRope"}],
            "datasets": [[cfg]],
            "work_dir": str(work),
            "eval": {"runner": {"task": {"dump_details": True}}},
        }
        OpenICLEvalTask(Config(task)).run()
        result = json.loads((work / "results" / "m" / f"{cfg['abbr']}.json").read_text())
        wanted = [mark(read(text), gold) for text, gold in zip(given, test["gold"], strict=True)]
        assert [item["mark"][0] for item in result["details"]] == wanted, given
        assert result["accuracy"] == pytest.approx(100 * sum(wanted) / len(wanted))
        seen |= set(wanted)
    assert seen == {0.0, 1.0}
