"""The house's rules: imports go down only, and what must stay light stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (  # a module may import from its own room and from those above it in this list
    ("errors",),
    ("paths", "files", "safe_text"),
    ("terminal",),
    ("theory", "lengths", "sizes", "labels", "scores", "local_loss"),
    ("rope",),
    ("catalogue", "data"),
    ("setting", "protocols", "backends"),
    ("scoring", "results"),
    ("runner", "hosts", "tuning", "advice"),
    ("plans",),
    ("report",),
    ("api",),
    ("commands",),
    ("cli",),
    ("studies",),
)
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
ONLY_IN = {
    "transformers": ("backends", "scoring", "hosts", "tuning", "studies"),
    "lm_eval": ("hosts/lm_eval", "commands/lm_eval"),
    "torch": ("rope", "backends", "scoring", "hosts", "tuning", "runner", "studies"),
    "matplotlib": ("report/figures", "studies/scaling_laws/claim"),
    "inspect_ai": ("results/inspect_logs",),
    "jinja2": ("report/page",),
    "plotly": ("report/page",),
    "ray": ("plans/on_ray", "plans/ray_worker"),
    "vllm": ("backends/vllm", "hosts/lm_eval/vllm"),
    "opencompass": ("hosts/opencompass",),
    "mmengine": ("hosts/opencompass",),
}
ONE_PLACE = {  # a job is done in one place: what gives it away, and where it may stand
    r"logsumexp|log_softmax|cross_entropy": ("scoring/logits",),
    r"dynamic_ntk [!=]=|alpha\(len": ("rope", "backends", "scoring/by_base"),
    r"offset_mapping": ("protocols/truncation",),
}
LAZY = ("rope_eval", "rope_eval.results")  # packages whose names are loaded when they are used
TYPES_ONLY = {
    "transformers": ("data", "protocols", "runner", "plans", "commands"),
    "torch": ("commands",),
}


def modules() -> list[Path]:
    return sorted(
        path for folder in ("rope_eval", "studies") for path in (ROOT / folder).rglob("*.py")
    )


def place(path: Path) -> str:
    """Return where a module lives, such as ``backends/hf/patch``."""
    return path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("rope_eval/")


def room(dotted: str) -> str:
    """Return the room of a dotted name: its first part below the package."""
    parts = dotted.split(".")
    return parts[0] if parts[0] == "studies" else parts[1] if len(parts) > 1 else ""


def imports(text: str) -> list[tuple[str, bool]]:
    """Return the dotted names that a module imports, and whether for type checking alone."""
    names: list[tuple[str, bool]] = []

    def visit(node: ast.AST, types: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                visit(child, True)
            return
        if isinstance(node, ast.Import):
            names.extend((alias.name, types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.extend((f"{node.module}.{alias.name}", types) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, types)

    visit(ast.parse(text), False)
    return names


@pytest.mark.parametrize("path", modules(), ids=place)
def test_imports_go_down(path: Path) -> None:
    here = place(path)
    if here in ("__init__", "__main__"):
        return
    own = here.split("/")[0]
    for name, types in imports(path.read_text(encoding="utf-8")):
        package = name.split(".")[0]
        if package in ONLY_IN:
            allowed = ONLY_IN[package] + (TYPES_ONLY.get(package, ()) if types else ())
            assert here.startswith(allowed), f"{here} imports {name}"
        if package not in ("rope_eval", "studies") or room(name) not in LEVELS:
            continue
        there = room(name)
        assert there == own or LEVELS[there] < LEVELS[own], f"{here} imports {name}"


@pytest.mark.parametrize(("sign", "places"), ONE_PLACE.items())
def test_a_job_is_done_in_one_place(sign: str, places: tuple[str, ...]) -> None:
    found = {place(path) for path in modules() if re.search(sign, path.read_text("utf-8"))}
    assert found and all(name.startswith(places) for name in found), sorted(found)


@pytest.mark.parametrize("room", ["hosts", "backends"])
def test_neighbours_do_not_know_each_other(room: str) -> None:
    for path in modules():
        here = place(path).split("/")
        if here[0] == room and len(here) > 2:
            others = {
                name.split(".")[2]
                for name, _ in imports(path.read_text(encoding="utf-8"))
                if name.startswith(f"rope_eval.{room}.")
                and (ROOT / "rope_eval" / room / name.split(".")[2]).is_dir()
            }
            assert others <= {here[1]}, f"{place(path)} imports {others}"


STUDY = (
    "recipes",
    "names",
    "measured",
    "tables",
    "sampling",
    "runs",
    "reading",
    "scores",
    "claims",
)


@pytest.mark.parametrize(("part", "unknown"), [(p, STUDY[i + 1 :]) for i, p in enumerate(STUDY)])
def test_the_studys_data_flow_one_way(part: str, unknown: tuple[str, ...]) -> None:
    study = ROOT / "studies" / "scaling_laws"
    files = [*(study / part).glob("*.py"), *study.glob(f"{part}.py")]
    assert files
    for path in files:
        for name, _ in imports(path.read_text(encoding="utf-8")):
            if name.startswith("studies.scaling_laws."):
                assert name.split(".")[2] not in unknown, f"{place(path)} imports {name}"


def test_the_study_measures_nothing_itself() -> None:
    measuring = ("rope_eval.backends", "rope_eval.runner", "rope_eval.scoring.in_window")
    measuring += ("rope_eval.scoring.tokens", "rope_eval.scoring.attention_scores")
    for path in (ROOT / "studies").rglob("*.py"):
        for name, _ in imports(path.read_text(encoding="utf-8")):
            assert not name.startswith(measuring), f"{place(path)} imports {name}"


def test_modules_have_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in modules():
        dotted = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        graph[dotted.removesuffix(".__init__")] = {
            name for name, _ in imports(path.read_text(encoding="utf-8"))
        }
    edges = {
        module: {
            target
            for name in names
            for target in (name, name.rpartition(".")[0])
            if target in graph and target != module and target not in LAZY
        }
        for module, names in graph.items()
    }
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in sorted(edges.get(module, ())):
                walk(target, (*path, module))
            done.add(module)

    for module in edges:
        walk(module, ())


def test_the_import_test_sees_an_arrow_up() -> None:
    text = (
        "if TYPE_CHECKING:\n    from rope_eval.hosts import y\ndef f():\n    import rope_eval.cli\n"
    )
    assert imports(text) == [("rope_eval.hosts.y", True), ("rope_eval.cli", False)]


@pytest.mark.parametrize(
    "statement",
    [
        "import rope_eval",
        "import rope_eval.theory, rope_eval.scores",
        "import rope_eval.rope.spec, rope_eval.rope.geometry, rope_eval.rope.document",
        "import rope_eval.results.store, rope_eval.data.books, rope_eval.setting",
        "import rope_eval.plans.plan, rope_eval.plans.survey, rope_eval.plans.worker",
        "import rope_eval.report.tables, rope_eval.report.figures.curves",
        "from rope_eval.report.figures import attention, bases, contexts, heatmaps",
        "from rope_eval.report.figures import drawn, panels, periods, retrieval",
        "import rope_eval.report.series.periods, rope_eval.commands.figure",
        "import rope_eval.report.published, rope_eval.report.measured, rope_eval.report.compare",
        "from rope_eval.report.page import build, findings, html, markdown",
        "import rope_eval.hosts.opencompass.config_files, rope_eval.hosts.lm_eval.task_files",
        "from rope_eval.cli import build_parser; build_parser().format_help()",
        "import studies.scaling_laws.reading, studies.scaling_laws.commands",
    ],
)
def test_torch_stays_unloaded(statement: str) -> None:
    program = f"{statement}; import sys; print({{'torch', 'transformers'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_what_a_benchmark_takes_of_us_is_there(path: Path) -> None:
    """No other test runs most of them, and a name that went would be noticed by a user."""
    for name, _ in imports(path.read_text(encoding="utf-8")):
        if name.partition(".")[0] == "rope_eval":
            assert _is_there(name), name


def _is_there(dotted: str) -> bool:
    home, _, name = dotted.rpartition(".")
    if not home or hasattr(import_module(home), name):
        return True
    try:
        return find_spec(dotted) is not None
    except ModuleNotFoundError:  # what is before the last dot is no package
        return False
