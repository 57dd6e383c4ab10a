"""What the page shows, without a page: pictures, figures and lines of Python that run."""

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
from tfinvert.studio.render import normalized_error, render_view
from tfinvert.studio.state import State, from_query
from tfinvert.studio.tabs import TABS
from tfinvert.zoo.registry import shipped

CHECKS = {"perturb": perturb.check, "classes": probabilities.check, "units": units.check}

SHOWN = [
    "inverter=hog",
    "tab=layers&layer=conv3",
    "tab=layers&layer=conv1&set=224&photograph=coffee",
    "tab=perturb&change=binarise",
    "tab=perturb&inverter=alexnet-fc6-64&change=dropout&amount=30",
    "tab=perturb&change=keep&amount=10&inverter=alexnet-conv1-64",
    "tab=perturb&change=noise&amount=40",
    "tab=mix&mix=30",
    "tab=mix&mix=50&path=norm&inverter=hog&second=rocket",
    "tab=classes&classes=remove_top&count=1",
    "tab=classes&inverter=alexnet-fc8-64&classes=keep_top",
    "tab=units&unit=7",
    "tab=units&inverter=alexnet-probabilities-64&unit=3",
    "tab=samples&count=2&seed=5&photograph=chelsea",
    "tab=units&inverter=alexnet-conv3-64&where=middle&with=photograph&unit=9",
]


@pytest.mark.parametrize("query", SHOWN)
def test_the_lines_of_python_give_the_picture(query):
    seen = render_view(from_query(query))
    names = {}
    exec(compile(seen.code, query, "exec"), names)
    difference = to_uint8(names["rebuilt"]).astype(int) - seen.pictures[1].pixels
    assert np.abs(difference).max() <= 1  # of 255
    lines = [line for line in seen.code.splitlines() if line and "import" not in line]
    assert len(lines) <= 6


def test_the_card_is_that_of_the_inverter():
    seen = render_view(from_query("tab=card&inverter=sift-64"))
    names = {}
    exec(seen.code, names)
    assert seen.card == names["card"] == load_inverter("sift-64").card
    assert not seen.pictures
    assert "normalized_error 0." in render.view_html(seen)


@pytest.mark.parametrize("tab", [tab for tab in TABS if tab.name in CHECKS], ids=lambda t: t.name)
def test_a_tab_offers_what_its_experiment_takes(tab):
    offered = next(control for control in tab.controls if control.name == "inverter").options
    for name in shipped():
        if tab.name == "units" and name in ("hog", "hog-adversarial", "hog-perceptual", "lbp"):
            continue  # they fit, and need photographs of one size
        if load_inverter(name).flow:
            continue  # rebuilds as another that is offered
        try:
            CHECKS[tab.name](name, load_inverter(name))
        except InputError:
            assert name not in offered
        else:
            assert name in offered


def test_what_is_offered_says_the_size_of_its_photographs():
    for tab in TABS:
        for control in tab.controls:
            if control.name == "inverter":
                for name, label in control.options.items():
                    size = photographs.required_size(name, load_inverter(name))
                    assert label == f"{name} ({f'{size[0]} pixels' if size else 'any size'})"


def test_a_photograph_keeps_its_size_where_the_inverter_has_none():
    seen = render_view(from_query("inverter=lbp&photograph=chelsea"))
    assert [picture.pixels.shape for picture in seen.pictures] == [(300, 451, 3)] * 2
    np.testing.assert_array_equal(seen.pictures[0].pixels, load_photograph("chelsea"))


def test_maps_and_figures_are_of_the_reconstruction():
    plain = render_view(from_query("inverter=hog-64"))
    photo, rebuilt = (picture.pixels / 255 for picture in plain.pictures)
    error = np.abs(rebuilt - photo)
    assert f"Mean error of a pixel: {error.mean():.3f} of 1" in plain.figures
    difference = render_view(from_query("inverter=hog-64&map=difference")).pictures[-1].pixels
    np.testing.assert_allclose(difference / 255, (rebuilt - photo + 1) / 2, atol=2 / 255)
    bright = (
        render_view(from_query("inverter=hog-64&map=error")).pictures[-1].pixels.sum(-1).astype(int)
    )
    # Inferno grows brighter with the error.
    order = np.argsort(error.mean(-1).ravel())
    assert bright.ravel()[order[-100:]].mean() > 3 * bright.ravel()[order[:100]].mean()


def test_the_map_of_uncertainty_is_what_the_inverter_tells_of_these_features():
    chosen = load_inverter("alexnet-conv5-64")
    seen = render_view(
        from_query("tab=perturb&inverter=alexnet-conv5-64&change=binarise&map=uncertainty")
    )
    binarised = perturbations.binarize(chosen.encode(seen.pictures[0].pixels[np.newaxis] / 255))
    expected = chosen.uncertainty(binarised)[0].mean(-1)
    bright = seen.pictures[-1].pixels.sum(-1).astype(int)
    order = np.argsort(expected.ravel())
    assert bright.ravel()[order[-100:]].min() > bright.ravel()[order[:100]].max()
    without = render_view(from_query("inverter=lbp-64&map=uncertainty"))
    assert len(without.pictures) == 2
    assert without.figures.endswith("lbp-64 does not tell its uncertainty.")


def test_the_normalised_error_is_that_of_the_card_on_average(photos):
    chosen = load_inverter("hog-64")
    rebuilt = chosen.reconstruct(photos)
    errors = [normalized_error(chosen, *pair) for pair in zip(photos, rebuilt, strict=True)]
    scale = chosen.card["metrics"]["mean_pairwise_distance"]
    expected = np.linalg.norm((photos - rebuilt).reshape(len(photos), -1), axis=1) / scale
    np.testing.assert_allclose(errors, expected, rtol=1e-4)
    assert (
        normalized_error(
            tfinvert.Inverter(chosen.feature, chosen.standardization, chosen.network),
            photos[0],
            rebuilt[0],
        )
        is None
    )


def test_a_unit_that_there_is_not_is_said():
    with pytest.raises(InputError, match="unit goes up to 199 here. Received: 200"):
        render_view(from_query("tab=units&unit=200"))


def test_a_layer_that_does_not_ship_is_said():
    with pytest.raises(InputError, match="layer goes up to conv5 here. Received: fc6"):
        render_view(from_query("tab=layers&layer=fc6&set=224"))


def test_a_photograph_that_is_given_is_what_is_shown(tmp_path, monkeypatch):
    Image.fromarray(load_photograph("rocket")[:200, :301]).save(tmp_path / "it's mine.png")
    given = read_photograph(tmp_path / "it's mine.png")
    seen = render_view(State(photograph=""), given)
    assert seen.pictures[0].caption == "it's mine.png"
    assert seen.pictures[1].pixels.shape == (200, 301, 3)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(seen.code, names)
    np.testing.assert_allclose(names["rebuilt"] * 255, seen.pictures[1].pixels, atol=1)


def test_a_large_photograph_is_reduced_and_so_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "MAX_PIXELS", 10_000)
    Image.fromarray(load_photograph("rocket")).save(tmp_path / "large.png")
    given = read_photograph(tmp_path / "large.png")
    assert given.pixels.shape == (81, 122, 3)
    assert given.note == "large.png has 640×427 pixels; the page works on 122×81 of them."
    seen = render_view(State(photograph=""), given)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(seen.code, names)
    np.testing.assert_allclose(names["rebuilt"] * 255, seen.pictures[1].pixels, atol=1)
    assert given.note in render.view_html(seen, (given.note,))


def test_what_is_no_photograph_is_a_line_without_its_folder(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(InputError, match="^broken.png: not a") as raised:
        read_photograph(tmp_path / "broken.png")
    assert str(tmp_path) not in str(raised.value)
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(InputError, match="^page.jpg: not a JPEG or PNG image"):
        read_photograph(tmp_path / "page.jpg")


def test_a_photograph_smaller_than_a_cell_is_said(tmp_path):
    Image.fromarray(load_photograph("rocket")[:3, :3]).save(tmp_path / "tiny.png")
    with pytest.raises(InputError, match="at least 8×8 pixels"):
        render_view(State(photograph=""), read_photograph(tmp_path / "tiny.png"))


def test_names_of_files_are_text_on_the_page(tmp_path):
    Image.fromarray(load_photograph("rocket")[:64, :64]).save(tmp_path / "<b>&'\".png")
    seen = render_view(from_query("tab=layers"), read_photograph(tmp_path / "<b>&'\".png"))
    assert "<b>" not in render.view_html(seen)
    assert "<b>" not in render.notice_html("<b>: not an image")
