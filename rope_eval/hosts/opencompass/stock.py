"""The parts of a data set of OpenCompass itself, as its configuration names them.

`rope_eval.hosts.opencompass.process` runs this in OpenCompass's environment. Of OpenCompass nothing
is loaded but the one file, so that it takes half a second and not ten.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import opencompass
from mmengine.config import Config

from rope_eval.errors import SpecError, did_you_mean

FOLDERS = ("datasets", "dataset_collections")


def parts(name: str) -> list[str]:
    """Return the abbreviations of what a name of ``--datasets`` holds.

    Raises:
        SpecError: where OpenCompass has no such name, or cannot read its configuration.
    """
    configs = Path(opencompass.__path__[0], "configs")
    files = {file.stem: file for folder in FOLDERS for file in (configs / folder).rglob("*.py")}
    stem, _, suffix = name.partition("/")  # OpenCompass takes FILE/KEY too
    if stem not in files:
        raise SpecError(f"OpenCompass has no data set {name!r}.{did_you_mean(stem, files)}")
    try:
        found = Config.fromfile(files[stem])
    except Exception as error:  # of many kinds: some files name others that are not there
        raise SpecError(f"OpenCompass cannot read its data set {name!r}: {error}") from error
    keys = [key for key in found if key.endswith(suffix or "_datasets")]
    return [one["abbr"] for key in keys for one in found[key]]


if __name__ == "__main__":
    try:
        print(json.dumps(parts(sys.argv[1])))
    except SpecError as error:
        raise SystemExit(str(error)) from error
