"""Whose run it is: the row of the catalogue, or the model and its setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_eval import catalogue
from rope_eval.catalogue.files import OF_THE_WEIGHTS
from rope_eval.results import identity
from rope_eval.results.run_file import Run
from rope_eval.rope.methods import NEED_LENGTHS
from rope_eval.rope.spec import RopeSpec


class Names:
    """Finds the rows of runs; each checkpoint of the catalogue is read once.

    Args:
        known: the catalogue; by default the one that is found from the current directory.
    """

    def __init__(self, known: Mapping[str, catalogue.ModelSpec] | None = None) -> None:
        if known is None:
            known = catalogue.load(checkpoints=catalogue.read_checkpoints())
        self.known = known
        self._fingerprints: dict[str, str] = {}

    def row(self, run: Run) -> str:
        """Return the name of a run's row: in the catalogue, or the model's and its setting.

        A run is a row's where its setting is the row's and its model the row's checkpoint: by
        content where that is a folder, else by the name that was given. The row that was asked for
        with ``config=`` counts too, unless both checkpoints are at hand and differ. Where it was
        asked for with other fields, and its own checkpoint was run, they stand behind its name.
        What a folder is called says nothing. An import's ``--row`` is taken as it is.
        """
        if run.results.get("row"):
            return str(run.results["row"])
        model = _fingerprint(run)
        asked = run.provenance.get("row") or run.request.get("model_args", {}).get("config")
        effective = _effective(RopeSpec.from_dict(run.request["rope"]))
        rows = [
            (row.name, self._own(row))
            for row in self.known.values()
            if not run.request.get("overrides") and _effective(row.rope) == effective
        ]
        for name, own in rows:
            if name == asked and not identity.differ(model, own):
                return name
        for name, own in rows:
            if model is not None and own == model:
                return name
        base = self.known.get(asked) if asked else None
        if base is not None and model is not None and self._own(base) == model:
            return f"{base.name}, {_changes(run, base.rope)}"
        label, setting = str(run.request["model"]), setting_text(run)
        return label if setting == "neutral" and label not in self.known else f"{label}, {setting}"

    def checkpoint(self, run: Run) -> str | None:
        """Return the folder of the catalogue's checkpoint that a run's weights are, if one is."""
        model = _fingerprint(run)
        if model is None or not identity.is_content(model):
            return None
        return next(
            (row.checkpoint for row in self.known.values() if self._own(row) == model), None
        )

    def _own(self, row: catalogue.ModelSpec) -> str | None:
        """Return the fingerprint of a row's checkpoint, if it has one."""
        path = row.checkpoint
        if path is not None and path not in self._fingerprints:
            self._fingerprints[path] = identity.fingerprint(path)
        return None if path is None else self._fingerprints[path]


def setting_text(run: Run) -> str:
    """Return the setting of a run, with what a stock host was told to change of the model's own."""
    rope = RopeSpec.from_dict(_effective(RopeSpec.from_dict(run.request["rope"])))
    overrides = [f"{name}={value}" for name, value in run.request.get("overrides", {}).items()]
    return ",".join(overrides if rope.is_neutral and overrides else [rope.label, *overrides])


def _changes(run: Run, base: RopeSpec) -> str:
    """Return the fields of a run's setting that are not those of a row's.

    How the weights were made is not asked for by leaving it out.
    """
    rope = RopeSpec.from_dict(run.request["rope"])
    fields, theirs = rope.to_dict(), base.to_dict()
    for name in OF_THE_WEIGHTS:
        fields.setdefault(name, theirs.get(name))
    others = [name for name in fields | theirs if fields.get(name) != theirs.get(name)]
    overrides = [f"{name}={value}" for name, value in run.request.get("overrides", {}).items()]
    return ",".join(filter(None, [rope.label_of(others), *overrides])) or setting_text(run)


def weights(run: Run) -> str:
    """Return what tells the checkpoint of a run from another of the same name."""
    model, arguments = _fingerprint(run), run.request.get("model_args", {})
    if model is not None and identity.is_content(model):
        return model[:12]
    named = arguments.get("pretrained") or arguments.get("model") or model
    parts = (named, arguments.get("revision"), arguments.get("peft"))
    return " + ".join(str(part) for part in parts if part)


def _fingerprint(run: Run) -> str | None:
    """Return which model was run; of an import, what lay there when it was imported."""
    return run.request.get("fingerprint") or run.results.get("fingerprint")


def _effective(rope: RopeSpec) -> dict[str, Any]:
    """Return the fields of a setting without what the laws alone need, where none is asked for."""
    fields = rope.to_dict()
    if not any(name in fields for name in NEED_LENGTHS):
        fields = {k: v for k, v in fields.items() if k not in OF_THE_WEIGHTS}
    return fields
