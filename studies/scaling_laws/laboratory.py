"""The laboratory: what `rope-eval lab measure` stored, as findings with figures and verdicts.

::

    laboratory = read_laboratory(Store("results/lab"))
    found = find_all(laboratory)
    print(summary_table(found))
    write_findings(laboratory, folder, found)
"""

from studies.scaling_laws.document import (
    find_all,
    summary_table,
    to_dict,
    to_markdown,
    verdict_table,
    write_findings,
)
from studies.scaling_laws.reading import read_laboratory
from studies.scaling_laws.runs import Laboratory

__all__ = [
    "Laboratory",
    "find_all",
    "read_laboratory",
    "summary_table",
    "to_dict",
    "to_markdown",
    "verdict_table",
    "write_findings",
]
