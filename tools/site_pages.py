"""The pages of the site that lie elsewhere than in docs/: a hook of MkDocs, see mkdocs.yml.

They are the README and other pages of the checkout's root, the notebooks, and the reference of the
package, a page for each of its folders. Links are written for who reads the files themselves; here
they are turned to the pages.
"""

import ast
import pathlib
import posixpath
import re
from collections.abc import Iterator
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "tfinvert"
REFERENCE = "python"
NOTEBOOKS = "notebooks"
EXECUTED = ROOT / "build" / NOTEBOOKS  # by make docs
# What may lie at the root, and what it is on the site.
AT_ROOT = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CITATION.cff": "CITATION.cff",
}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)")


def on_config(config: MkDocsConfig) -> None:
    """Puts the pages made here into the navigation."""
    config.nav = [*_entries(config.nav, [*_sources(), *_packages()])]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds them."""
    pages: dict[str, str | bytes] = {}
    for uri, source in _sources().items():
        if source.endswith(".ipynb"):
            pages |= _notebook(uri, ROOT / source)
        else:
            pages[uri] = (ROOT / source).read_text(encoding="utf-8")
    for uri, name in _packages().items():
        pages[uri] = _reference(name)
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files of the checkout to the pages that they are here."""
    uri = page.file.src_uri
    source = _sources().get(uri, f"docs/{uri}")
    uris = {source: uri for uri, source in _sources().items()}

    def turned(link: re.Match[str]) -> str:
        if "://" in link[0]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        target = uris.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    return LINK.sub(turned, markdown)


def _entries(nav: list[Any], made: list[str]) -> Iterator[Any]:
    """Entries of the navigation, with those of a `NAME/*` and without what is not there."""
    for entry in nav:
        if isinstance(entry, dict):
            ((title, value),) = entry.items()
            if isinstance(value, list):
                yield {title: [*_entries(value, made)]}
            elif value.endswith("/*"):
                yield {title: [x for x in made if posixpath.dirname(x) == value[:-2]]}
            else:
                yield entry
        elif entry in made or entry not in AT_ROOT.values():
            yield entry


def _sources() -> dict[str, str]:
    """Pages by their place on the site, and the files of the checkout that they are."""
    at_root = {uri: name for name, uri in AT_ROOT.items() if (ROOT / name).exists()}
    notebooks = sorted((ROOT / NOTEBOOKS).glob("*.ipynb"))
    return at_root | {f"{NOTEBOOKS}/{x.stem}.md": f"{NOTEBOOKS}/{x.name}" for x in notebooks}


def _notebook(uri: str, path: pathlib.Path) -> dict[str, str | bytes]:
    """The page of a notebook and its pictures, if it was executed."""
    folder = posixpath.dirname(uri)
    executed = EXECUTED / path.name
    notebook = nbformat.read(executed if executed.exists() else path, nbformat.NO_CONVERT)
    for cell in [x for x in notebook.cells if x.cell_type == "code"]:
        # TensorFlow's notes on the machine.
        cell.outputs = [x for x in cell.outputs if x.get("name") != "stderr"]
    given = {"unique_key": path.stem, "output_files_dir": path.stem}
    exporter = MarkdownExporter()
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    page, resources = exporter.from_notebook_node(notebook, given)
    page += f"\nThis page is a notebook: [{path.name}]({path.name}).\n"
    pictures = {f"{folder}/{name}": content for name, content in resources["outputs"].items()}
    return {uri: page, f"{folder}/{path.name}": path.read_bytes()} | pictures


def _packages() -> dict[str, str]:
    """Pages of the reference by their place on the site, and the packages they are of."""
    folders = sorted(path.parent for path in (ROOT / PACKAGE).rglob("__init__.py"))
    names = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
    return {f"{REFERENCE}/{'index' if x == PACKAGE else x.partition('.')[2]}.md": x for x in names}


def _reference(package: str) -> str:
    """The page of a package: what it says of itself, what it exports, its modules."""
    folder = ROOT.joinpath(*package.split("."))
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    parts = [f"# {package}\n\n{ast.get_docstring(tree)}\n"]
    if exported := [*_exported(tree)]:
        parts.append(f"Of the package itself: {', '.join(exported)}.\n")
    if package == PACKAGE:
        parts += _contents()
    modules = sorted(path.stem for path in folder.glob("[!_]*.py"))
    parts += [f"::: {package}.{module}\n" for module in modules]
    return "\n".join(parts)


def _exported(tree: ast.Module) -> Iterator[str]:
    """Links to what a package has from its modules."""
    modules = {
        name.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            for name in ast.literal_eval(node.value):
                # Modules and constants have no place of their own in the reference.
                module = modules.get(name, PACKAGE)
                unplaced = module == PACKAGE or name.isupper() or name.startswith("_")
                yield f"`{name}`" if unplaced else f"[`{name}`][{module}.{name}]"


def _contents() -> Iterator[str]:
    """A table of the packages."""
    yield "| package | what it holds |\n| --- | --- |"
    for uri, name in _packages().items():
        if name != PACKAGE:
            init = ROOT.joinpath(*name.split("."), "__init__.py").read_text(encoding="utf-8")
            first = (ast.get_docstring(ast.parse(init)) or "").partition("\n\n")[0]
            yield f"| [{name}]({posixpath.basename(uri)}) | {' '.join(first.split())} |"
    yield ""
