"""A model that is not here is asked of the hub once, by every command, and said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from rope_eval.backends.checkpoint import check_there
from rope_eval.cli import main
from rope_eval.data.hub import why_not_had
from rope_eval.errors import DataError

REFUSALS = {  # a status and the hub's own code for it
    "nobody/none": (401, "RepoNotFound"),
    "nobody/gated": (403, "GatedRepo"),
    "nobody/gguf": (404, "EntryNotFound"),
    "nobody/busy": (503, ""),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Return what a hub is asked, which drops the connection of what is not in `REFUSALS`."""
    paths: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            paths.append(self.path)
            status, code = REFUSALS.get("/".join(self.path.split("/")[1:3]), (0, ""))
            if status:
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        here = f"http://127.0.0.1:{server.server_port}"
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        changed = template.replace(constants.ENDPOINT, here)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", changed)
        monkeypatch.setattr(constants, "ENDPOINT", here)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        Thread(target=server.serve_forever, daemon=True).start()
        yield paths
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody/none", "has none of that name"),
        ("nobody/gated", "log in"),
        ("nobody/gguf", ""),
        ("nobody/busy", ""),
        ("nobody/dropped", "cannot be reached"),
    ],
)
def test_why_a_model_cannot_be_had(asked: list[str], name: str, words: str) -> None:
    reason = why_not_had(name)
    assert words in reason
    assert bool(reason) == bool(words)
    assert asked == [f"/{name}/resolve/main/config.json"]


def test_what_the_hub_is_not_asked(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not_had("no name") == "the hub has no such names"
    snapshot = Path(constants.HF_HUB_CACHE, "models--nobody--kept", "snapshots", "some-revision")
    snapshot.mkdir(parents=True)
    assert "cannot be reached" in why_not_had("nobody/kept")
    asked.clear()
    (snapshot / "config.json").touch()
    assert why_not_had("nobody/kept") == ""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert why_not_had("nobody/none").startswith("HF_HUB_OFFLINE keeps")
    assert asked == []


@pytest.mark.parametrize(
    "words",
    [
        "ppl --lengths 64",
        "attention --length 64",
        "estimate --tokens 64",
        "advise --target-length 8k",
        "tune --text builtin --rope-theta 500",
        "continue --length 64",
        "spec",
        "theory",
        "figure periods -o periods.png",
        "demo --real",
    ],
)
def test_every_command_asks_once_and_says_so_in_a_line(
    asked: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--model", "nobody/dropped"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "there is no model 'nobody/dropped' here, and the hub cannot be reached" in line
    assert len(asked) == 1


def test_a_server_of_a_model_that_is_not_there(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "nobody/none"]) == 2
    assert "there is no model 'nobody/none' here" in capsys.readouterr().err
    assert main(["serve", "nobody/none", "--print"]) == 0
    assert capsys.readouterr().out.startswith("vllm serve nobody/none ")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lab/base-20", "It is a row of the catalogue: --config lab/base-20"),
        ("lab/base-2O", "Did you mean 'lab/base-20'?"),
    ],
)
def test_a_row_given_as_a_model(asked: list[str], name: str, hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        check_there(name)
