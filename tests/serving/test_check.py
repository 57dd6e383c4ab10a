import pytest
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.serving import check_savedmodel

FLOATS = tf.TensorSpec((None, 3), tf.float32, name="x")


def saved(function, path, spec=FLOATS):
    module = tf.Module()
    module.served = tf.function(function, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, str(path), signatures=module.served)
    return path


def test_plain_ops_pass(tmp_path):
    path = saved(lambda x: {"y": x + 1}, tmp_path)
    assert check_savedmodel(path) == {
        "serving_default": ["input x: float32 [?, 3]", "output y: float32 [?, 3]"]
    }


def through_py_function(x):
    return {"y": tf.ensure_shape(tf.py_function(lambda v: v, [x], tf.float32), (None, 3))}


def through_numpy_function(x):
    return {"y": tf.ensure_shape(tf.numpy_function(lambda v: v, [x], tf.float32), (None, 3))}


def through_a_branch(x):
    return {"y": tf.cond(tf.size(x) > 3, lambda: through_py_function(x)["y"], lambda: x)}


def through_a_map(x):
    return {"y": tf.map_fn(lambda row: tf.py_function(lambda v: v, [row], tf.float32), x)}


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (through_py_function, "EagerPyFunc"),
        (through_numpy_function, "PyFunc"),
        (through_a_branch, "EagerPyFunc"),
        (through_a_map, "EagerPyFunc"),
    ],
)
def test_python_ops_are_rejected_in_every_function(tmp_path, function, op):
    with pytest.raises(InputError, match=rf"{op} '[\w/]+' in the function '\w+' runs Python"):
        check_savedmodel(saved(function, tmp_path))


def test_unknown_sizes_are_rejected(tmp_path):
    path = saved(lambda x: {"y": x}, tmp_path, tf.TensorSpec((None, None, 3), name="x"))
    with pytest.raises(InputError, match=r"'x' of the signature 'serving_default'.*\[\?, \?, 3\]"):
        check_savedmodel(path)


def test_an_unknown_rank_is_rejected(tmp_path):
    path = saved(lambda x: {"y": tf.reshape(x, tf.shape(x)[:1])}, tmp_path)
    assert check_savedmodel(path)
    path = saved(lambda x: {"y": x}, tmp_path / "other", tf.TensorSpec(None, name="x"))
    with pytest.raises(InputError, match="beside the batch: unknown rank"):
        check_savedmodel(path)


def test_a_model_without_signatures_is_rejected(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(InputError, match="no signature"):
        check_savedmodel(tmp_path)


def test_other_directories_are_rejected(tmp_path):
    with pytest.raises(InputError, match="no SavedModel at"):
        check_savedmodel(tmp_path / "nowhere")
    (tmp_path / "saved_model.pb").write_bytes(b"\x0a\xffnonsense")
    with pytest.raises(InputError, match="damaged"):
        check_savedmodel(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="no graph has the tag 'serve'"):
        check_savedmodel(tmp_path)
