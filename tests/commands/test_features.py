"""`tfinvert features` lists the features, and the tensors of an ONNX model."""

import json

import pytest

from tests.programs import error_line, run
from tfinvert.config.registry import FEATURE_FAMILIES, FEATURES


def test_features_are_listed():
    finished = run("tfinvert", "features")
    names = [line.split()[0] for line in finished.stdout.splitlines()]
    assert names == [*FEATURES, *(f"{family}/LAYER" for family in FEATURE_FAMILIES)]
    assert json.loads(run("tfinvert", "features", "--json").stdout)["hog"] == FEATURES.describe(
        "hog"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    onnx = pytest.importorskip("onnx")
    from tests.onnx_models import build_network, node

    folder = tmp_path_factory.mktemp("models")
    swirl = node("Swirl", "relu", "swirled", domain="my.company")
    onnx.save(build_network(sides=("H", "W"), extra=[swirl]), folder / "network.onnx")
    # ONNX does not know the shape of an operator of ONNX Runtime's own.
    gelu = node("Gelu", "relu", "gelu", domain="com.microsoft")
    onnx.save(build_network(extra=[gelu]), folder / "gelu.onnx")
    (folder / "text.onnx").write_text("a text", encoding="utf-8")
    return folder


def test_tensors_are_listed(folder):
    finished = run("tfinvert", "features", "network.onnx", "--size=32", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[1].split() == ["probabilities", "[B,", "6]", "vector", "output", "Softmax"]
    relu, tokens = (
        next(x for x in lines if x.startswith(f"{name} ")) for name in ("relu", "tokens")
    )
    assert "[B, 4, 16, 16]" in relu and " grid " in relu and relu.endswith("inner tensor  Relu")
    assert "[B, 17, 5]" in tokens and " tokens " in tokens
    assert not [x for x in lines if x.startswith(("constant ", "blocks ", "scalar "))]
    assert "?" not in finished.stdout
    unknown = run("tfinvert", "features", "network.onnx", cwd=folder).stdout
    assert "[B, 4, ?, ?]" in unknown and "--size=224" in unknown


def test_shapes_that_only_running_the_model_gives(folder):
    pytest.importorskip("onnxruntime")
    lines = run("tfinvert", "features", "gelu.onnx", cwd=folder).stdout.splitlines()
    (gelu,) = [line for line in lines if line.startswith("gelu ")]
    assert gelu.split() == ["gelu", "[B,", "4,", "16,", "16]", "grid", "inner", "tensor", "Gelu"]


def test_all_tensors_as_json(folder):
    finished = run(
        "tfinvert", "features", "network.onnx", "--size=32", "--all", "--json", cwd=folder
    )
    tensors = {each["name"]: each for each in json.loads(finished.stdout)}
    assert "constant" not in tensors
    assert tensors["blocks"]["shape"] == [None, 2, 2, 16, 16] and tensors["blocks"]["kind"] == ""
    assert tensors["swirled"]["shape"] is None and tensors["swirled"]["operator"] == "Swirl"
    assert tensors["logits"]["kind"] == "vector" and not tensors["logits"]["output"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text.onnx"], "not an ONNX file"),
        (["none.onnx"], "no such ONNX file"),
        (["a.onnx", "b.onnx"], "at most one argument"),
    ],
)
def test_wrong_input_is_one_line(folder, arguments, message):
    assert message in error_line(run("tfinvert", "features", *arguments, cwd=folder))
