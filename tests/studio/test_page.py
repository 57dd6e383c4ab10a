"""The page in Chromium: uploads, settings, links, and invalid input."""

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from tests.studio.conftest import visitor
from tfinvert.data.photos import load_photograph
from tfinvert.studio.app import serve
from tfinvert.studio.render import render_view
from tfinvert.studio.state import from_query

slow = pytest.mark.slow

CAPTIONS = "#pictures figcaption span"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A photograph and two invalid files, by name."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(load_photograph("astronaut")[:256, 100:356]).save(folder / "face.png")
    Image.fromarray(load_photograph("astronaut")).save(folder / "broken.jpg")
    (folder / "broken.jpg").write_bytes((folder / "broken.jpg").read_bytes()[:5000])
    (folder / "words.png").write_text("not an image")
    return {path.name: path for path in folder.iterdir()}


def upload(page, file, place="#photograph"):
    page.locator(f"{place} input[type=file]").set_input_files(file)


def wait_for_caption(page, text):
    """Waits until a picture has this text in its caption."""
    page.locator(CAPTIONS, has_text=text).first.wait_for(timeout=30_000)


def picture(page, index):
    """Returns the pixels of a picture on the page: uint8 `[H, W, 3]`."""
    source = page.locator("#pictures img").nth(index).get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def set_slider(page, name, value):
    slider = page.locator(f"#slider-{name} input[type=range]")
    slider.fill(str(value))


def select_tab(page, title):
    page.get_by_role("tab", name=title, exact=True).click()


def wait_for_link(page, text):
    """Waits until the address contains this text."""
    page.wait_for_function("text => location.search.includes(text)", arg=text, timeout=30_000)
    assert page.locator("#link textarea, #link input").first.input_value() == page.url


def test_page_opens_with_an_example(browser, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nothing listens
    with serve("0.0.0.0", file_seconds=6) as url, visitor(url, browser) as visit:
        page = visit()
        wait_for_caption(page, "reconstruction from hog")
        np.testing.assert_array_equal(picture(page, 0), load_photograph("chelsea"))
        expected = render_view(from_query("")).pictures[1].pixels
        np.testing.assert_array_equal(picture(page, 1), expected)
        wait_for_link(page, "tab=rebuild")


@slow
def test_examples_tabs_and_downloads(visit):
    page = visit()
    wait_for_caption(page, "reconstruction from hog")
    np.testing.assert_array_equal(picture(page, 0), load_photograph("chelsea"))
    # Two processes may round differently.
    expected = render_view(from_query("")).pictures[1].pixels.astype(int)
    np.testing.assert_allclose(picture(page, 1), expected, atol=1)
    wait_for_link(page, "tab=rebuild")
    page.locator("#examples button").nth(3).click()
    wait_for_caption(page, "coffee")
    select_tab(page, "Layers")
    wait_for_caption(page, "reconstruction from alexnet-conv1-64")
    wait_for_link(page, "photograph=coffee&set=64&layer=conv1")
    with page.expect_download() as download:
        page.locator("#pictures figcaption a").nth(1).click()
    assert download.value.suggested_filename == "reconstruction-from-alexnet-conv1-64.png"
    saved = np.asarray(Image.open(download.value.path()))
    np.testing.assert_array_equal(saved, picture(page, 1))
    assert 'tfinvert.load("alexnet-conv1-64")' in page.locator("#code").inner_text()


@slow
def test_slider_changes_the_picture(visit):
    page = visit("?tab=perturb&inverter=alexnet-fc6-64&photograph=rocket&amount=90")
    wait_for_caption(page, "alexnet-fc6-64, largest 90 % kept")
    before = picture(page, 1)
    for value in (70, 40, 20, 5):  # only the last value counts
        set_slider(page, "amount", value)
    wait_for_caption(page, "alexnet-fc6-64, largest 5 % kept")
    wait_for_link(page, "amount=5")
    expected = render_view(from_query(page.url.partition("?")[2])).pictures[1].pixels
    np.testing.assert_allclose(picture(page, 1).astype(int), expected, atol=1)
    assert np.abs(picture(page, 1).astype(int) - before).mean() > 1
    page.get_by_label("absolute error").click()
    wait_for_caption(page, "absolute error (brightest")


@slow
def test_two_photographs_are_mixed(visit, files):
    page = visit()
    wait_for_caption(page, "reconstruction from hog")
    select_tab(page, "Mix")
    wait_for_caption(page, "alexnet-conv5, 50 % and 50 %")
    set_slider(page, "mix", 80)
    wait_for_caption(page, "alexnet-conv5, 20 % and 80 %")
    wait_for_link(page, "mix=80")
    upload(page, files["face.png"], "#second")
    wait_for_caption(page, "face.png")
    assert "second=" not in page.url
    assert picture(page, 2).shape == (224, 224, 3)


@slow
def test_link_restores_the_page(visit):
    page = visit("?tab=units&unit=7&strength=300&inverter=alexnet-fc7-64&map=difference")
    wait_for_caption(page, "alexnet-fc7-64, unit 7 only")
    wait_for_link(page, "unit=7&strength=300")
    again = visit(page.url.partition("/?")[2] and "?" + page.url.partition("?")[2])
    wait_for_caption(again, "difference")
    np.testing.assert_array_equal(picture(again, 1), picture(page, 1))
    assert again.locator("#slider-unit input[type=range]").input_value() == "7"
    assert again.locator("#slider-unit input[type=range]").get_attribute("max") == "1023"


@slow
def test_invalid_link(visit):
    page = visit("?tab=perturb&inverter=hog")
    notice = page.get_by_role("alert")
    notice.wait_for(timeout=30_000)
    assert "Invalid link: inverter must be one of" in notice.inner_text()
    wait_for_caption(page, "reconstruction from hog")


@slow
def test_invalid_files_leave_the_page_unchanged(visit, files):
    page = visit("?inverter=hog-64")
    wait_for_caption(page, "reconstruction from hog-64")
    upload(page, files["face.png"])
    wait_for_caption(page, "face.png")
    problems = {"broken.jpg": "truncated or damaged", "words.png": "not a JPEG or PNG"}
    for name, problem in problems.items():
        upload(page, files[name])
        notice = page.get_by_role("alert").filter(has_text=f"{name}: {problem}")
        notice.wait_for(timeout=30_000)
        wait_for_caption(page, "face.png")


@slow
def test_camera_takes_a_photograph(visit):
    page = visit("?inverter=hog-64")
    wait_for_caption(page, "reconstruction from hog-64")
    camera = page.locator("#photograph")
    camera.get_by_label("Capture from camera").click()
    camera.get_by_text("Click to Access Webcam").click()
    # A photograph taken before the camera delivers images would be empty.
    page.wait_for_function("document.querySelector('#photograph video')?.videoWidth > 0")
    camera.get_by_label("capture photo").click()
    page.wait_for_function("!location.search.includes('photograph=')", timeout=30_000)
    assert page.locator(CAPTIONS).first.inner_text() != "chelsea"
    assert page.locator("#pictures img").count() == 2


@slow
def test_sessions_are_separate_and_files_are_deleted(visit, files, studio):
    first, second = visit("?inverter=hog-64"), visit("?inverter=lbp-64&photograph=rocket")
    wait_for_caption(first, "reconstruction from hog-64")
    wait_for_caption(second, "reconstruction from lbp-64")
    upload(first, files["face.png"])
    second.locator("#examples button").nth(6).click()
    wait_for_caption(second, "flower")
    wait_for_caption(first, "face.png")
    assert first.locator(CAPTIONS, has_text="face.png").count() == 1
    assert second.locator(CAPTIONS, has_text="face.png").count() == 0
    assert "photograph=" not in first.url
    _, folder = studio
    deadline = time.monotonic() + 20
    while files_left := list(folder.rglob("face*")):
        assert time.monotonic() < deadline, files_left
        time.sleep(0.2)
    wait_for_caption(first, "face.png")
    first.locator("label", has_text="difference").click()
    wait_for_caption(first, "difference")  # the pixels stay in memory


@slow
def test_layout_fits_phones_and_desktops(visit):
    page = visit("?tab=layers&layer=conv3")
    wait_for_caption(page, "reconstruction from alexnet-conv3-64")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        fits = "width => document.documentElement.scrollWidth <= width"
        page.wait_for_function(fits, arg=width, timeout=10_000)  # after the tabs are laid out again
        boxes = [page.locator("#pictures img").nth(i).bounding_box() for i in (0, 1)]
        assert boxes[0]["y"] == boxes[1]["y"] and boxes[1]["x"] > boxes[0]["x"]  # side by side
