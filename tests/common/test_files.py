"""Atomic writing of files and directories."""

import json
import os

import pytest

from tfinvert.common.files import (
    atomic_directory,
    atomic_path,
    remove_unfinished,
    write_json,
    write_text,
)


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "a" / "b" / "x.weights.h5"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".weights.h5")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["x.weights.h5"]


def test_an_older_file_is_replaced(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    with atomic_path(str(target)) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, error):
    target = tmp_path / "report.html"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_the_file_has_ordinary_permissions(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.touch()
    assert (tmp_path / "atomic").stat().st_mode == ordinary.stat().st_mode


def test_a_folder_is_rejected(tmp_path):
    with pytest.raises(IsADirectoryError, match="Received"), atomic_path(tmp_path):
        pass


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "nothing"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_directory_appears_only_when_the_block_ends(tmp_path):
    with atomic_directory(tmp_path / "a") as temporary:
        (temporary / "file").touch()
        assert not (tmp_path / "a").exists()
    assert os.listdir(tmp_path) == ["a"]
    with pytest.raises(FileExistsError, match="already exists"), atomic_directory(tmp_path / "a"):
        pass
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "b"):
        raise RuntimeError
    assert os.listdir(tmp_path) == ["a"]


def test_unfinished_files_of_killed_processes_are_removed(tmp_path):
    (tmp_path / ".0123456789ab.file").touch()
    (tmp_path / ".0123456789ab.folder").mkdir()
    (tmp_path / ".hidden").touch()
    remove_unfinished(tmp_path)
    assert os.listdir(tmp_path) == [".hidden"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir(), folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    write_text("~/runs/page.html", "text")
    with atomic_directory("~/model") as temporary:
        (temporary / "file").touch()
    write_text("./~/kept", "text")
    assert (home / "runs" / "page.html").read_text() == "text"
    assert (home / "model" / "file").exists()
    assert os.listdir(folder) == ["~"]
    assert os.listdir(folder / "~") == ["kept"]


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_text(tmp_path / name / "page.md", f"photographs of {name}\n")
    write_json(tmp_path / name / "facts.json", {"data": name})
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    with open(os.path.join(folder, b"page.md"), encoding="utf-8") as page:
        assert page.read() == "photographs of caf\\udce9\n"
    with open(os.path.join(folder, b"facts.json"), encoding="utf-8") as facts:
        assert json.load(facts) == {"data": name}
