"""What `rope-eval serve` refuses before any vLLM is needed, and the command it prints."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from rope_eval.cli import main
from rope_eval.paths import asset

DIR = str(asset("model_configs") / "lab" / "base-20")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lab/base-20", "--rope-theta", "5"], "--rope-theta would set RoPE beside the RopeSpec"),
        (["lab/base-20", '--rope-scaling={"type":"linear"}'], "--rope-scaling would set RoPE"),
        (["lab/base-20", "--hf-overrides", '{"rope_theta": 5}'], "give the RopeSpec fields"),
        (["lab/base-20", '--hf-overrides={"rope_theta": 5}'], "give the RopeSpec fields"),
        (["lab/base-20", "--hf-overrides.rope_theta", "5"], "--hf-overrides.rope_theta would set"),
        (["lab/base-20", "--hf-overrides.rope_scaling.factor=5"], "would set RoPE"),
        (["lab/base-20", "--hf_overrides", '{"rope_theta": 5}'], "give the RopeSpec fields"),
        (["lab/base-20", "--hf_overrides.rope_theta", "5"], "would set RoPE"),
        (["lab/base-20", "--rope_theta=5"], "--rope_theta would set RoPE"),
        (["lab/base-20", "--additional_config={}"], "--additional-config is rope-eval's own"),
        (["lab/base-20", "--additional-config.rope_eval=1"], "is rope-eval's own"),
        ([""], "NAME is empty"),
        (["lab/base-20", "--model", ""], "a directory, a name on the hub or a loaded model"),
        (["lab/base-20", "--model=--trust-remote-code"], "reads as an option"),
        ([DIR, "--model", "x"], "is for a row of the catalogue"),
        (["x" * 300], "the catalogue has no row"),
        (["lab/base-20", "--rope", "rope_scaling=linear"], "linear is linear_factor"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words, "--print"]) == 2
    assert message in capsys.readouterr().err


def test_a_rows_field_is_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lab/base-1e5-drop", "--rope", "beyond_critical=keep", "--port", "1", "--print"]
    assert main(["serve", *words, "--hf-overrides", '{"head_dim": 8}']) == 0
    words = shlex.split(capsys.readouterr().out)
    given = json.loads(words[words.index("--additional-config") + 1])
    made = {"pretrain_theta": 10000.0, "train_length": 128, "tune_length": 128}
    assert given == {"rope_eval": {"rope_theta": 100000.0, **made}}
    assert words[-5:] == ["--port", "1", "--hf-overrides", '{"head_dim": 8}', "--host=127.0.0.1"]
    assert Path(words[2]).samefile(asset("model_configs") / "lab" / "base-1e5-drop")


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "", "10.0.0.5", "gpu-7", "--trust-remote-code")],
)
def test_a_server_that_others_reach_is_said(
    host: str, is_loopback: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "lab/base-20", f"--host={host}", "--print"]) == 0
    out, err = capsys.readouterr()
    assert shlex.split(out)[-1] == f"--host={host}"
    assert ("whoever reaches this machine" in err) != is_loopback


def test_a_folder_that_is_called_like_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DIR, tmp_path / "--trust-remote-code")
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--print", "--", "--trust-remote-code"]) == 2
    assert "write ./--trust-remote-code" in capsys.readouterr().err
    assert main(["serve", "--print", "./--trust-remote-code"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[2] == "./--trust-remote-code"
    assert "--trust-remote-code" not in words
    assert "--served-model-name=--trust-remote-code" in words
