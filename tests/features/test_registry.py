"""Building features by name, with options as on the command line."""

import numpy as np
import pytest

import tfinvert
from tfinvert import features
from tfinvert.features import HostFeature


def mean_of_rows(image_shape=(64, 64, 3)):
    return HostFeature(
        lambda image: np.mean(image, 1),
        (image_shape[0], 3),
        name="mean_of_rows",
        image_shape=image_shape,
    )


def refusal(name, **config):
    with pytest.raises(tfinvert.InputError) as error:
        features.get(name, **config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_options_follow_the_name():
    feature = features.get("hog:cell_size=4,color=true", image_shape=(32, 48, 3))
    assert feature.get_config() == {"image_shape": [32, 48, 3], "cell_size": 4, "color": True}
    assert feature.name == "hog"
    assert features.get("lbp:cell_size=8").spec.shape == (8, 8, 58)
    assert features.get("skimage_lbp:cell_size=8").spec.shape == (8, 8, 59)


@pytest.mark.parametrize("name", ["hog", "hog:", "hog:,"])
def test_no_options(name):
    assert features.get(name).get_config() == features.get("hog").get_config()


def test_arguments_take_precedence_over_options():
    assert features.get("lbp:cell_size=8", cell_size=4).cell_size == 4
    assert features.get("hog:cell_size=4", color=True).get_config() == {
        "image_shape": [64, 64, 3],
        "cell_size": 4,
        "color": True,
    }


def from_file(path, image_shape=(64, 64, 3), output="", size=0):
    feature = HostFeature(lambda image: np.mean(image, 1), (64, 3), name="from_file")
    feature.options = path, output, size
    return feature


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("model.onnx", ("model.onnx", "", 0)),
        ("model.onnx,output=last,size=224", ("model.onnx", "last", 224)),
        ("path=model.onnx,size=224", ("model.onnx", "", 224)),
        ("size=224,path=model.onnx", ("model.onnx", "", 224)),
        ('"a,b=c.onnx",output="x,y"', ("a,b=c.onnx", "x,y", 0)),
        ('path="a,b.onnx"', ("a,b.onnx", "", 0)),
        ('"say \\"hi\\".onnx"', ('say "hi".onnx', "", 0)),
        ("a:b.py:encode", ("a:b.py:encode", "", 0)),
        ("7", ("7", "", 0)),
    ],
)
def test_an_argument_without_a_default_needs_no_name(options, expected):
    features.register("from_file", from_file)
    assert features.get(f"from_file:{options}").options == expected
    assert features.get("from_file", path=expected[0]).options[0] == expected[0]


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ("", "nothing"),
        ("size=3", "size"),
        ("output=x,model.onnx", "model.onnx"),
        ('"model.onnx', '"model.onnx'),
        ('"a"b', '"a"b'),
        ("a=b.onnx", "a=b.onnx"),
    ],
)
def test_invalid_options_with_an_unnamed_one(options, received):
    features.register("from_file", from_file)
    message = refusal(f"from_file:{options}")
    assert 'the options are from_file:PATH,output="",size=0' in message
    assert message.endswith(f"Received: {received}")


def test_a_comma_in_a_value(tmp_path):
    path = tmp_path / "a,b.npz"
    message = refusal(f"alexnet/conv1:weights={path},raw=true")
    assert 'put a value with a comma in double quotes, as in weights="a,b"' in message
    assert message.endswith("Received: b.npz")
    assert "no such AlexNet weights" in refusal(f'alexnet/conv1:weights="{path}",raw=true')
    assert "double quotes" not in refusal("hog:cell_size=4,color")


def test_description_round_trip():
    feature = features.get("hog:cell_size=4")
    again = features.from_description(features.describe(feature))
    assert again.get_config() == feature.get_config()


@pytest.mark.parametrize(
    "option", ["cells=8", "8", "=", "cell_size", "image_shape=8", "color=true"]
)
def test_unknown_option(option):
    assert (
        refusal(f"lbp:{option}")
        == f"invalid options of lbp; the options are lbp:cell_size=16. Received: {option}"
    )


@pytest.mark.parametrize("feature", ["hog", "lbp", "skimage_hog", "skimage_lbp"])
@pytest.mark.parametrize(
    "value", ["big", '"x"', "null", "7.5", "8.0", "true", "[8]", "{}", "", "8=9", "NaN", "1e999"]
)
def test_option_of_another_type(feature, value):
    message = refusal(f"{feature}:cell_size={value}")
    assert f"invalid options of {feature}; the options are {feature}:cell_size=" in message
    assert "Received: cell_size" in message


@pytest.mark.parametrize("value", ["yes", "1", "0", '"true"', "null"])
def test_invalid_boolean_option(value):
    assert "the options are hog:cell_size=8,color=false. Received: color=" in refusal(
        f"hog:color={value}"
    )


@pytest.mark.parametrize("value", [-8, 0, 1, 10**30])
@pytest.mark.parametrize("feature", ["hog", "lbp", "skimage_hog"])
def test_option_out_of_range(feature, value):
    assert str(value) in refusal(f"{feature}:cell_size={value}")


def test_invalid_arguments():
    expected = "invalid options of hog; the options are hog:cell_size=8,color=false. Received: "
    assert refusal("hog", cell_size="4") == f"{expected}cell_size='4'"
    assert refusal("hog", cells=4) == f"{expected}cells"
    assert features.get("hog", cell_size=np.int64(4)).cell_size == 4


def test_unknown_name():
    message = refusal("hgo:cell_size=4")
    assert message.startswith("unknown feature 'hgo'; choose one of ")
    assert {"hog", "lbp", "skimage_hog", "skimage_lbp"} <= {*features.names()}
    assert ", ".join(features.names()) in message


def test_host_feature_without_options():
    features.register("mean_of_rows", mean_of_rows)
    assert features.get("mean_of_rows", image_shape=(32, 64, 3)).spec.shape == (32, 3)
    assert refusal("mean_of_rows:cell_size=8") == (
        "invalid options of mean_of_rows; it has no options. Received: cell_size=8"
    )


def test_factory_with_keyword_arguments():
    def color_hog(**config):
        return features.get("hog", color=True, **config)

    features.register("color_hog", color_hog)
    assert features.get("color_hog", cell_size=4).color
    assert refusal("color_hog", cells=4).startswith("invalid options of hog")


def test_name_with_a_colon():
    with pytest.raises(tfinvert.InputError, match="must not contain a colon"):
        features.register("my:hog", mean_of_rows)
