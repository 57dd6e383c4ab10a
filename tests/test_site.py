"""The documentation site, built as by `make docs` but without the outputs of the notebooks."""

import ast
import os
import pathlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.documents import DOCUMENTS, relative_path

ROOT = pathlib.Path(__file__).parents[1]
# Attributes that name what a browser fetches for a page; for links, that depends on their kind.
FETCHED = {"src", "srcset", "data", "poster", "xlink:href"}
NOT_FETCHED = {"canonical", "next", "prev", "alternate"}


class PageParser(HTMLParser):
    """The resources, links, anchors and text of a page.

    Attributes:
      fetched: URLs that a browser fetches for the page.
      links: targets of its links.
      ids: its anchors.
      text: pairs of a tag and its text.
    """

    def __init__(self, path):
        super().__init__()
        self.fetched, self.links, self.ids, self.text = [], [], set(), []
        self._tag = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self._tag = tag
        self.ids |= {attributes[x] for x in ("id", "name") if attributes.get(x)}
        self.fetched += [attributes[x] for x in FETCHED & attributes.keys() if attributes[x]]
        if tag == "link" and attributes.get("rel") not in NOT_FETCHED:
            self.fetched.append(attributes["href"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])

    def handle_data(self, data):
        self.text.append((self._tag, data))


pytestmark = pytest.mark.slow  # the site is built, which takes half a minute


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a strict build, which rejects broken links and unlisted pages."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={folder}"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): PageParser(path) for path in site.rglob("*.html")}


def page_of(document):
    """Returns the page of a document, relative to the site."""
    if document.parent == ROOT:
        return "index" if document.stem == "README" else document.stem.lower()
    return relative_path(document.with_suffix("")).removeprefix("docs/")


def test_every_document_and_notebook_has_a_page(pages):
    expected = {page_of(document) for document in DOCUMENTS}
    expected |= {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {f"{name}.html" for name in expected} <= pages.keys()


def test_nothing_is_fetched_from_other_hosts(site, pages):
    for name, page in pages.items():
        for link in page.fetched:
            assert not urlsplit(link).netloc, f"{name}: {link}"
            assert urlsplit(link).scheme in ("", "data"), f"{name}: {link}"
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//", path.read_text("utf-8"))


def test_links_and_anchors_exist(site, pages):
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


def test_reference_contains_every_public_class_and_function(pages):
    ids = set().union(*(page.ids for name, page in pages.items() if name.startswith("python/")))
    missing = []
    for path in (ROOT / "tfinvert").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and path.stem[0] != "_":
                name = f"{module}.{node.name}"
                missing += [name] if node.name[0] != "_" and name not in ids else []
    assert not missing


def test_docstring_sections_are_parsed(pages):
    """Sections such as `Args:` become lists, not paragraphs."""
    for name, page in pages.items():
        lines = [x for tag, text in page.text for x in text.splitlines() if tag == "p"]
        assert not [x for x in lines if re.match(r"(Args|Attributes|Raises|Returns):", x)], name


def test_search_works_without_a_server(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ") and "normalised reconstruction error" in index
