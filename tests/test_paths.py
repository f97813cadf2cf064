"""Files written for other programs: whole, once, and each content in its own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_eval.errors import StoreError
from rope_eval.paths import cached, write_whole

FILES = {"models/a.py": "a = 1\n", "b.yaml": "é: 2\n"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def texts(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_folder_holds_the_files_and_nothing_else(cache: Path) -> None:
    folder = cached("kind", FILES)
    assert folder.parent == cache / "rope-eval" and folder.name.startswith("kind-")
    assert texts(folder) == FILES


def test_a_second_call_writes_nothing_but_what_is_missing_or_changed() -> None:
    folder = cached("kind", FILES)
    whole = (folder / "b.yaml").stat().st_mtime_ns
    (folder / "models" / "a.py").write_text("a =")
    assert cached("kind", dict(reversed(FILES.items()))) == folder
    assert texts(folder) == FILES
    assert (folder / "b.yaml").stat().st_mtime_ns == whole
    (folder / "models" / "a.py").unlink()
    assert texts(cached("kind", FILES)) == FILES


def test_other_content_is_another_folder() -> None:
    others = (FILES | {"b.yaml": "é: 3\n"}, FILES | {"c": ""}, {"b.yaml": FILES["b.yaml"]})
    folders = {cached("kind", files) for files in (FILES, *others)} | {cached("other", FILES)}
    assert len(folders) == 5
    assert texts(cached("kind", FILES)) == FILES


def test_a_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    (cache / "rope-eval").write_text("a file")
    with pytest.raises(StoreError, match=r"kind-.* cannot be written: "):
        cached("kind", FILES)


def test_a_write_that_fails_leaves_what_was_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = cache / "a" / "b.json"
    write_whole(file, "one")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(StoreError, match=r"b\.json cannot be written: full"):
            write_whole(file, "two")
    assert texts(cache / "a") == {"b.json": "one"}
