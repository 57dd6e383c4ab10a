"""The page in a real browser: what people do, and what they may do wrong."""

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from tfinvert.data.photos import load_photograph
from tfinvert.studio.render import render_view
from tfinvert.studio.state import from_query

SHOWN = "#pictures figcaption span"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A photograph, and what is none, by name."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(load_photograph("astronaut")[:256, 100:356]).save(folder / "face.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (folder / "words.png").write_text("not an image")
    return {path.name: path for path in folder.iterdir()}


def drop(page, file, place="#photograph"):
    page.locator(f"{place} input[type=file]").set_input_files(file)


def caption(page, text):
    """Waits until a picture is called so."""
    page.locator(SHOWN, has_text=text).first.wait_for(timeout=30_000)


def picture(page, index):
    """The pixels of a picture as they are in the page: uint8 `[H, W, 3]`."""
    source = page.locator("#pictures img").nth(index).get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def slide(page, name, value):
    slider = page.locator(f"#slider-{name} input[type=range]")
    slider.fill(str(value))


def tab(page, title):
    page.get_by_role("tab", name=title, exact=True).click()


def link(page, text):
    """Waits until the address says something."""
    page.wait_for_function("text => location.search.includes(text)", arg=text, timeout=30_000)
    assert page.locator("#link textarea, #link input").first.input_value() == page.url


def test_it_begins_with_an_example_and_other_tabs_are_a_click_away(visit):
    page = visit()
    caption(page, "rebuilt from hog")
    np.testing.assert_array_equal(picture(page, 0), load_photograph("chelsea"))
    np.testing.assert_array_equal(picture(page, 1), render_view(from_query("")).pictures[1].pixels)
    link(page, "tab=rebuild")
    page.locator("#examples button").nth(3).click()
    caption(page, "coffee")
    tab(page, "Layers")
    caption(page, "rebuilt from alexnet-conv1-64")
    link(page, "photograph=coffee&set=64&layer=conv1")
    with page.expect_download() as download:
        page.locator("#pictures figcaption a").nth(1).click()
    assert download.value.suggested_filename == "rebuilt-from-alexnet-conv1-64.png"
    saved = np.asarray(Image.open(download.value.path()))
    np.testing.assert_array_equal(saved, picture(page, 1))
    assert 'tfinvert.load("alexnet-conv1-64")' in page.locator("#code").inner_text()


def test_a_slider_changes_the_picture(visit):
    page = visit("?tab=perturb&inverter=alexnet-fc6-64&photograph=rocket&amount=90")
    caption(page, "alexnet-fc6-64, largest 90 % kept")
    before = picture(page, 1)
    for value in (70, 40, 20, 5):  # the last one counts, however many there were
        slide(page, "amount", value)
    caption(page, "alexnet-fc6-64, largest 5 % kept")
    link(page, "amount=5")
    expected = render_view(from_query(page.url.partition("?")[2])).pictures[1].pixels
    np.testing.assert_allclose(picture(page, 1).astype(int), expected, atol=1)
    assert np.abs(picture(page, 1).astype(int) - before).mean() > 1
    page.get_by_label("error map").click()
    caption(page, "error (brightest")


def test_two_photographs_are_mixed(visit, files):
    page = visit()
    caption(page, "rebuilt from hog")
    tab(page, "Mix")
    caption(page, "alexnet-conv5, 50 % and 50 %")
    slide(page, "mix", 80)
    caption(page, "alexnet-conv5, 20 % and 80 %")
    link(page, "mix=80")
    drop(page, files["face.png"], "#second")
    caption(page, "face.png")
    assert "second=" not in page.url
    assert picture(page, 2).shape == (224, 224, 3)


def test_a_link_shows_the_same_to_others(visit):
    page = visit("?tab=units&unit=7&strength=300&inverter=alexnet-fc7-64&map=difference")
    caption(page, "alexnet-fc7-64, unit 7 alone")
    link(page, "unit=7&strength=300")
    again = visit(page.url.partition("/?")[2] and "?" + page.url.partition("?")[2])
    caption(again, "difference")
    np.testing.assert_array_equal(picture(again, 1), picture(page, 1))
    assert again.locator("#slider-unit input[type=range]").input_value() == "7"
    assert again.locator("#slider-unit input[type=range]").get_attribute("max") == "1023"


def test_a_link_to_nothing_says_so(visit):
    page = visit("?tab=perturb&inverter=hog")
    notice = page.get_by_role("alert")
    notice.wait_for(timeout=30_000)
    assert "This link cannot be followed: inverter is one of" in notice.inner_text()
    caption(page, "rebuilt from hog")


def test_what_is_no_photograph_says_so_and_costs_nothing(visit, files):
    page = visit("?inverter=hog-64")
    caption(page, "rebuilt from hog-64")
    drop(page, files["face.png"])
    caption(page, "face.png")
    for name in ("broken.jpg", "words.png"):
        drop(page, files[name])
        notice = page.get_by_role("alert").filter(has_text=f"{name}: not a")
        notice.wait_for(timeout=30_000)
        caption(page, "face.png")


def test_the_camera_takes_a_photograph(visit):
    page = visit("?inverter=hog-64")
    caption(page, "rebuilt from hog-64")
    place = page.locator("#photograph")
    place.get_by_label("Capture from camera").click()
    place.get_by_text("Click to Access Webcam").click()
    # Before it shows something, what it takes is no photograph.
    page.wait_for_function("document.querySelector('#photograph video')?.videoWidth > 0")
    place.get_by_label("capture photo").click()
    page.wait_for_function("!location.search.includes('photograph=')", timeout=30_000)
    assert page.locator(SHOWN).first.inner_text() != "chelsea"
    assert page.locator("#pictures img").count() == 2


def test_two_people_have_their_own_photographs_which_are_not_kept(visit, files, studio):
    first, second = visit("?inverter=hog-64"), visit("?inverter=lbp-64&photograph=rocket")
    caption(first, "rebuilt from hog-64")
    caption(second, "rebuilt from lbp-64")
    drop(first, files["face.png"])
    second.locator("#examples button").nth(6).click()
    caption(second, "flower")
    caption(first, "face.png")
    assert first.locator(SHOWN, has_text="face.png").count() == 1
    assert second.locator(SHOWN, has_text="face.png").count() == 0
    assert "photograph=" not in first.url
    _, folder = studio
    deadline = time.monotonic() + 20
    while found := list(folder.rglob("face*")):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    caption(first, "face.png")
    first.locator("label", has_text="difference").click()
    caption(first, "difference")  # its pixels are there as long as the page


def test_it_fits_on_a_telephone_and_on_a_desk(visit):
    page = visit("?tab=layers&layer=conv3")
    caption(page, "rebuilt from alexnet-conv3-64")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        fits = "width => document.documentElement.scrollWidth <= width"
        page.wait_for_function(fits, arg=width, timeout=10_000)  # once the tabs are laid out anew
        boxes = [page.locator("#pictures img").nth(i).bounding_box() for i in (0, 1)]
        assert boxes[0]["y"] == boxes[1]["y"] and boxes[1]["x"] > boxes[0]["x"]  # beside it
