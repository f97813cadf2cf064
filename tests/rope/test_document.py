"""The page of the methods: what its cells say of the registry."""

from __future__ import annotations

import pytest

from rope_eval.paths import checkout
from rope_eval.rope.document import costs, measured, page
from rope_eval.rope.methods import METHODS

ROOT = checkout()
assert ROOT is not None
PAGE = page(measured(ROOT), costs(ROOT))
HEAD, _, *ROWS = (line for line in PAGE.splitlines() if line.startswith("|"))
COLUMNS = [name.strip() for name in HEAD.strip("|").split("|")]


def cell(method: str, column: str) -> str:
    row = next(row for row in ROWS if row.startswith(f"| {method} |"))
    return row.strip("|").split("|")[COLUMNS.index(column)].strip()


@pytest.mark.parametrize("name", [method.name for method in METHODS if method.maps_positions])
def test_a_method_that_no_engine_serves_is_a_plain_no(name: str) -> None:
    why = "its cache keeps keys rotated once, and a position map turns them in several ways"
    assert cell(name, "vLLM") == f"no: {why}"


def test_a_method_that_is_served_in_part_says_which_setting_is_not() -> None:
    assert cell("YaRN", "vLLM").startswith("yes, but not `dynamic_yarn=continuous`: every length")
    refused = cell("dynamic NTK", "vLLM").split("; `")
    assert [said.split(":")[0] for said in refused] == [
        "yes, but not `dynamic_ntk=per_query`",
        "ntk_formula=continuous`",
    ]
    assert cell("LongRoPE", "vLLM") == "yes"
