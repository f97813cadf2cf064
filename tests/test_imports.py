"""The house's rules: imports go down only, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rope_eval"
LEVELS = {  # a module may import from its own level (its own room alone, for rooms) and lower ones
    "errors": 0,
    "paths": 0,
    "theory": 1,
    "cumulative": 1,
    "retrieval": 1,
    "provenance": 1,
    "rope": 2,
    "store": 2,
    "books": 2,
    "catalogue": 3,
    "backends": 3,
    "harness": 4,
    "report": 4,
    "lab": 4,
    "runner": 5,
    "commands": 6,
    "cli": 7,
}
BESIDE = {"catalogue", "store", "books"}  # they stand beside the backends
ONLY_IN = {
    "transformers": {"backends", "harness", "lab"},
    "lm_eval": {"harness", "commands"},
    "torch": {"rope", "backends", "harness", "lab", "runner"},
    "matplotlib": {"report"},
}
FILES = {  # whose import is an environment of its own: these modules alone, by their beginnings
    "vllm": ("backends/vllm_", "harness/lm_eval_vllm"),
    "opencompass": ("harness/opencompass_",),
    "mmengine": ("harness/opencompass_",),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports for use, wherever in it."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] in ONLY_IN:
            assert here in ONLY_IN[parts[0]], f"{here} imports {name}"
        if parts[0] in FILES:
            assert path.relative_to(PACKAGE).as_posix().startswith(FILES[parts[0]])
        if parts[0] != "rope_eval" or len(parts) < 2 or parts[1] not in LEVELS:
            continue
        there = parts[1]
        assert there == here or LEVELS[there] < LEVELS[here], f"{here} imports {name}"
        assert not (here == "backends" and there in BESIDE), f"{here} imports {name}"


def test_the_import_test_sees_an_arrow_up(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f():\n    from rope_eval.harness import x\n")
    assert "rope_eval.harness" in imports(file)


@pytest.mark.parametrize(
    "statement",
    [
        "import rope_eval",
        "import rope_eval.theory",
        "import rope_eval.store, rope_eval.books, rope_eval.catalogue",
        "import rope_eval.report.tables, rope_eval.report.plots, rope_eval.report.paper",
        "from rope_eval.cli import build_parser; build_parser().format_help()",
    ],
)
def test_torch_stays_unloaded(statement: str) -> None:
    program = f"{statement}; import sys; print({{'torch', 'transformers'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


def test_the_public_names() -> None:
    import rope_eval

    assert rope_eval.__all__ == ["RopeSpec", "TokenScores", "patched", "score_tokens"]
    assert all(callable(getattr(rope_eval, name)) for name in rope_eval.__all__)
