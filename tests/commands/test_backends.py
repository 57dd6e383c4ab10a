"""The commands on another Keras backend than TensorFlow."""

import importlib.util
import json

import pytest
import skimage.data
from PIL import Image

from tests.programs import run_on_jax
from tfinvert.config.registry import COMMANDS

# Not imported here, which would take seconds.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)

ARGUMENTS = {
    "analyze": ["--experiment=layers", "--workdir=run"],
    "evaluate": ["--inverter=hog-64"],
    "export": ["--inverter=hog-64", "--output=model"],
    "reconstruct": ["--inverter=alexnet-conv5-64", "--output=grid.png", "photo.png"],
    "serve-check": ["--model=model"],
    "studio": [],
}

# All commands in one process, without TensorFlow.
PROGRAM = """
import json, sys
import absl.app  # whose flags would end with the first program otherwise
sys.modules["tensorflow"] = None
from tests.programs import run
finished = {}
for name, arguments in json.loads(sys.argv[1]).items():
    process = run("tfinvert", name, *arguments)
    finished[name] = process.returncode, process.stdout, process.stderr
print(json.dumps(finished))
"""


@pytest.mark.slow
def test_commands_on_jax_work_or_require_tensorflow(tmp_path):
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "photo.png")
    finished = run_on_jax("-c", PROGRAM, json.dumps(ARGUMENTS), cwd=tmp_path)
    outcomes = json.loads(finished.stdout.splitlines()[-1])
    for name, (status, _, stderr) in outcomes.items():
        if COMMANDS[name].any_backend:
            assert status == 0, stderr
        else:
            assert status == 2
            assert stderr == (
                f"error: tfinvert {name} requires the TensorFlow backend; unset KERAS_BACKEND or "
                "set it to tensorflow. Received: KERAS_BACKEND=jax\n"
            )
    # tests/training/test_backends.py trains.
    assert {name for name in COMMANDS if not COMMANDS[name].quick} == {*ARGUMENTS, "train"}
    with Image.open(tmp_path / "grid.png") as grid:
        assert min(grid.size) >= 128
