"""The site, built as `make docs` does it, but for the outputs of the notebooks."""

import ast
import os
import pathlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.documents import DOCUMENTS

ROOT = pathlib.Path(__file__).parents[1]
# Where a page names what a browser fetches for it; of a link only some kinds are that.
FETCHED = {"src", "srcset", "data", "poster", "xlink:href"}
NOT_FETCHED = {"canonical", "next", "prev", "alternate"}


class Html(HTMLParser):
    """What a page fetches, where it leads, the places in it, and its sentences."""

    def __init__(self, path):
        super().__init__()
        self.fetched, self.links, self.ids, self.text = [], [], set(), []
        self._tag = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._tag = tag
        self.ids |= {given[x] for x in ("id", "name") if given.get(x)}
        self.fetched += [given[x] for x in FETCHED & given.keys() if given[x]]
        if tag == "link" and given.get("rel") not in NOT_FETCHED:
            self.fetched.append(given["href"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])

    def handle_data(self, data):
        self.text.append((self._tag, data))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder, by MkDocs in strict mode: a broken link, or a page without a place, ends it."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={place}"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Html(path) for path in site.rglob("*.html")}


def test_every_document_and_notebook_is_a_page(pages):
    expected = {"index" if path.stem == "README" else path.stem.lower() for path in DOCUMENTS}
    expected |= {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {f"{name}.html" for name in expected} <= pages.keys()


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for name, page in pages.items():
        for link in page.fetched:
            assert not urlsplit(link).netloc, f"{name}: {link}"
            assert urlsplit(link).scheme in ("", "data"), f"{name}: {link}"
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//", path.read_text("utf-8"))


def test_what_pages_name_is_there(site, pages):
    pages = {site / name: page for name, page in pages.items() if name != "404.html"}
    for path, page in pages.items():
        for link in page.fetched + page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.relative_to(site)}: {link}"
            if target in pages and parts.fragment:
                assert unquote(parts.fragment) in pages[target].ids, f"{path.name}: {link}"


def test_the_reference_has_every_public_class_and_function(pages):
    there = set().union(*(page.ids for name, page in pages.items() if name.startswith("python/")))
    missing = []
    for path in (ROOT / "tfinvert").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and path.stem[0] != "_":
                name = f"{module}.{node.name}"
                missing += [name] if node.name[0] != "_" and name not in there else []
    assert not missing


def test_docstrings_are_understood(pages):
    """Their sections are lists of names, and not sentences."""
    for name, page in pages.items():
        said = [x for tag, text in page.text for x in text.splitlines() if tag == "p"]
        assert not [x for x in said if re.match(r"(Args|Attributes|Raises|Returns):", x)], name


def test_the_search_needs_no_server(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ") and "normalised reconstruction error" in index
