"""Test runs leave nothing in the temporary folder, whatever single tests leave."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Leaves a folder, as TFDS does, AutoGraph's file in a worker, and a file of a killed program.
LEAVES = """
import pathlib, signal, subprocess, sys, tempfile
import tensorflow as tf

KILLED = "import os, tempfile; tempfile.mkstemp('killed'); os.kill(os.getpid(), 9)"

@tf.function
def absolute(x):
    if x < 0:
        x = -x
    return x

def test_leaves_files(tmp_path):
    tempfile.mkdtemp("tfds")
    assert absolute(tf.constant(-1)) == 1
    assert subprocess.run([sys.executable, "-c", KILLED]).returncode == -signal.SIGKILL
    left = [path.name for path in pathlib.Path(tempfile.gettempdir()).iterdir()]
    for kind in ("tfds", "killed", "__autograph_generated_file"):
        assert any(kind in name for name in left), (kind, left)
    (tmp_path / "file").touch()
"""


def test_temporary_files_lie_in_a_folder_of_this_run(tmp_path):
    folder = pathlib.Path(tempfile.gettempdir())
    assert folder.name.startswith("tfinvert-tests-")
    assert os.environ["TMPDIR"] == str(folder)  # for programs that tests start
    with tempfile.NamedTemporaryFile() as file:
        assert folder in pathlib.Path(file.name).parents
    # An xdist worker's folder lies inside its controller's, which also has pytest's own folders.
    assert {folder, folder.parent} & {*tmp_path.parents}


@pytest.mark.slow
def test_nothing_is_left(tmp_path):
    (tmp_path / "test_leaves.py").write_text(LEAVES, encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "pytest", f"--rootdir={ROOT}", "-c", ROOT / "pyproject.toml"]
    command += ["-p", "tests.conftest", "-pno:cacheprovider", "-n1", "-q", "."]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
    assert [path.name for path in temporary.iterdir()] == []
