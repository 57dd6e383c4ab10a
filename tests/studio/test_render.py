"""The pictures, figures and Python code of the page, without a browser."""

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tfinvert.analysis import perturbations
from tfinvert.analysis.experiments import perturb, probabilities, units
from tfinvert.data.photos import load_photograph
from tfinvert.errors import InputError
from tfinvert.reporting.grids import to_uint8
from tfinvert.studio import photographs, render
from tfinvert.studio.photographs import load_inverter, read_photograph
from tfinvert.studio.render import render_view
from tfinvert.studio.state import State, from_query
from tfinvert.studio.tabs import TABS
from tfinvert.zoo.registry import shipped

CHECKS = {"perturb": perturb.check, "classes": probabilities.check, "units": units.check}

slow = pytest.mark.slow

QUERIES = [
    pytest.param("inverter=hog", marks=slow),
    "tab=layers&layer=conv3",
    pytest.param("tab=layers&layer=conv1&set=224&photograph=coffee", marks=slow),
    pytest.param("tab=perturb&change=binarise", marks=slow),
    "tab=perturb&inverter=alexnet-fc6-64&change=dropout&amount=30",
    pytest.param("tab=perturb&change=keep&amount=10&inverter=alexnet-conv1-64", marks=slow),
    pytest.param("tab=perturb&change=noise&amount=40", marks=slow),
    "tab=perturb&change=keep&amount=40&inverter=alexnet-fc6-64",
    "tab=perturb&change=noise&amount=40&inverter=alexnet-fc6-64",
    "tab=perturb&change=binarise&inverter=alexnet-fc6-64",
    "tab=mix&mix=30&inverter=alexnet-fc6-64",
    "tab=mix&mix=50&path=norm&inverter=lbp&second=rocket",
    pytest.param("tab=mix&mix=30", marks=slow),
    pytest.param("tab=mix&mix=50&path=norm&inverter=hog&second=rocket", marks=slow),
    "tab=classes&classes=remove_top&count=1",
    "tab=classes&inverter=alexnet-fc8-64&classes=keep_top",
    "tab=units&unit=7",
    "tab=units&inverter=alexnet-probabilities-64&unit=3",
    pytest.param("tab=samples&count=2&seed=5&photograph=chelsea", marks=slow),
    "tab=units&inverter=alexnet-conv3-64&where=middle&with=photograph&unit=9",
]


@pytest.mark.parametrize("query", QUERIES)
def test_python_code_computes_the_reconstruction(query, monkeypatch):
    monkeypatch.setattr(tfinvert, "load", load_inverter)  # does not load and trace again
    view = render_view(from_query(query))
    names = {}
    exec(compile(view.code, query, "exec"), names)
    difference = to_uint8(names["reconstruction"]).astype(int) - view.pictures[1].pixels
    assert np.abs(difference).max() <= 1  # of 255
    lines = [line for line in view.code.splitlines() if line and "import" not in line]
    assert len(lines) <= 6


def test_samples_tab(monkeypatch):
    def sample(self, features, count, seed):
        return np.random.default_rng(seed).random((len(features), count, 64, 64, 3), np.float32)

    monkeypatch.setattr(tfinvert.Inverter, "sample", sample)
    monkeypatch.setattr(tfinvert, "load", load_inverter)
    view = render_view(from_query("tab=samples&count=3&seed=5"))
    captions = [picture.caption for picture in view.pictures]
    assert captions == ["chelsea", "sample 1", "sample 2", "sample 3", "reconstruction"]
    names = {}
    exec(view.code, names)
    expected = np.random.default_rng(5).random((3, 64, 64, 3), np.float32)
    np.testing.assert_array_equal(names["reconstruction"], expected[0])
    np.testing.assert_array_equal(view.pictures[2].pixels, to_uint8(expected[1]))


def test_card_tab():
    view = render_view(from_query("tab=card&inverter=sift-64"))
    names = {}
    exec(view.code, names)
    assert view.card == names["card"] == load_inverter("sift-64").card
    assert not view.pictures
    assert "normalized_error 0." in render.view_html(view)


@slow  # loads all inverters
@pytest.mark.parametrize("tab", [tab for tab in TABS if tab.name in CHECKS], ids=lambda t: t.name)
def test_tabs_offer_the_inverters_that_their_experiments_accept(tab):
    options = next(control for control in tab.controls if control.name == "inverter").options
    for name in shipped():
        if tab.name == "units" and name in ("hog", "hog-adversarial", "hog-perceptual", "lbp"):
            continue  # these are accepted, but need photographs of one size
        if load_inverter(name).flow:
            continue  # has the same reconstructions as another one
        try:
            CHECKS[tab.name](name, load_inverter(name))
        except InputError:
            assert name not in options
        else:
            assert name in options


@slow  # loads all inverters
def test_options_state_the_size_of_the_photographs():
    for tab in TABS:
        for control in tab.controls:
            if control.name == "inverter":
                for name, label in control.options.items():
                    size = photographs.required_size(name, load_inverter(name))
                    assert label == f"{name} ({f'{size[0]} pixels' if size else 'any size'})"


def test_inverter_for_any_size_keeps_the_size():
    view = render_view(from_query("inverter=lbp&photograph=chelsea"))
    assert [picture.pixels.shape for picture in view.pictures] == [(300, 451, 3)] * 2
    np.testing.assert_array_equal(view.pictures[0].pixels, load_photograph("chelsea"))


def test_maps_and_figures():
    plain = render_view(from_query("inverter=hog-64"))
    photo, reconstruction = (picture.pixels / 255 for picture in plain.pictures)
    error = np.abs(reconstruction - photo)
    assert f"Mean absolute error: {error.mean():.3f} (range 0 to 1)" in plain.figures
    difference = render_view(from_query("inverter=hog-64&map=difference")).pictures[-1].pixels
    np.testing.assert_allclose(difference / 255, (reconstruction - photo + 1) / 2, atol=2 / 255)
    error_map = render_view(from_query("inverter=hog-64&map=error")).pictures[-1].pixels
    brightness = error_map.sum(-1).astype(int)
    # The colormap's brightness increases with the error.
    order = np.argsort(error.mean(-1).ravel())
    assert brightness.ravel()[order[-100:]].mean() > 3 * brightness.ravel()[order[:100]].mean()


@pytest.mark.slow
def test_uncertainty_map_belongs_to_the_inverted_features():
    inverter = load_inverter("alexnet-conv5-64")
    view = render_view(
        from_query("tab=perturb&inverter=alexnet-conv5-64&change=binarise&map=uncertainty")
    )
    binarised = perturbations.binarize(inverter.encode(view.pictures[0].pixels[np.newaxis] / 255))
    expected = inverter.uncertainty(binarised)[0].mean(-1)
    brightness = view.pictures[-1].pixels.sum(-1).astype(int)
    order = np.argsort(expected.ravel())
    assert brightness.ravel()[order[-100:]].min() > brightness.ravel()[order[:100]].max()
    without = render_view(from_query("inverter=lbp-64&map=uncertainty"))
    assert len(without.pictures) == 2
    assert without.figures.endswith("lbp-64 does not predict uncertainty.")


def test_unit_out_of_range():
    with pytest.raises(InputError, match="unit must be at most 199 .* Received: 200"):
        render_view(from_query("tab=units&unit=200"))


def test_layer_without_a_shipped_inverter():
    with pytest.raises(InputError, match="layer must be at most conv5 .* Received: fc6"):
        render_view(from_query("tab=layers&layer=fc6&set=224"))


def test_uploaded_photograph(tmp_path, monkeypatch):
    Image.fromarray(load_photograph("rocket")[:200, :301]).save(tmp_path / "it's mine.png")
    uploaded = read_photograph(tmp_path / "it's mine.png")
    view = render_view(State(photograph=""), uploaded)
    assert view.pictures[0].caption == "it's mine.png"
    assert view.pictures[1].pixels.shape == (200, 301, 3)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(view.code, names)
    np.testing.assert_allclose(names["reconstruction"] * 255, view.pictures[1].pixels, atol=1)


def test_large_photograph_is_reduced_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(tfinvert, "load", load_inverter)
    Image.fromarray(load_photograph("rocket")).save(tmp_path / "large.png")
    uploaded = read_photograph(tmp_path / "large.png")
    assert uploaded.pixels.shape == (81, 122, 3)
    assert uploaded.note == "large.png was reduced from 640×427 to 122×81 pixels."
    view = render_view(State(photograph=""), uploaded)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(view.code, names)
    np.testing.assert_allclose(names["reconstruction"] * 255, view.pictures[1].pixels, atol=1)
    assert uploaded.note in render.view_html(view, (uploaded.note,))


def test_unreadable_photographs_are_named_without_their_folder(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(InputError, match="^broken.png: not a") as raised:
        read_photograph(tmp_path / "broken.png")
    assert str(tmp_path) not in str(raised.value)
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(InputError, match="^page.jpg: not a JPEG or PNG image"):
        read_photograph(tmp_path / "page.jpg")


def test_photograph_smaller_than_a_cell(tmp_path):
    Image.fromarray(load_photograph("rocket")[:3, :3]).save(tmp_path / "tiny.png")
    with pytest.raises(InputError, match="at least 8×8 pixels"):
        render_view(State(photograph=""), read_photograph(tmp_path / "tiny.png"))


def test_file_names_are_escaped(tmp_path):
    Image.fromarray(load_photograph("rocket")[:64, :64]).save(tmp_path / "<b>&'\".png")
    view = render_view(from_query("tab=layers"), read_photograph(tmp_path / "<b>&'\".png"))
    assert "<b>" not in render.view_html(view)
    assert "<b>" not in render.notice_html("<b>: not an image")
