"""MkDocs hook that adds the pages from outside docs/ to the site; see mkdocs.yml.

They are the README and other pages at the root of the checkout, the notebooks, and the API
reference, with one page per package. Links are written for readers of the files themselves; the
hook converts them to links between pages.
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
EXECUTED = ROOT / "build" / NOTEBOOKS  # written by make docs
# Files that may exist at the root, and their URIs on the site.
AT_ROOT = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CITATION.cff": "CITATION.cff",
}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)")


def on_config(config: MkDocsConfig) -> None:
    """Adds the generated pages to the navigation."""
    config.nav = [*_navigation(config.nav, [*_sources(), *_packages()])]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the generated pages to the site."""
    pages: dict[str, str | bytes] = {}
    for uri, source in _sources().items():
        if source.endswith(".ipynb"):
            pages |= _notebook_pages(uri, ROOT / source)
        else:
            pages[uri] = (ROOT / source).read_text(encoding="utf-8")
    for uri, name in _packages().items():
        pages[uri] = _reference_page(name)
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Converts links to files of the checkout into links to pages of the site."""
    uri = page.file.src_uri
    source = _sources().get(uri, f"docs/{uri}")
    uris = {source: uri for uri, source in _sources().items()}

    def convert(link: re.Match[str]) -> str:
        if "://" in link[0]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        target = uris.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    return LINK.sub(convert, markdown)


def _navigation(nav: list[Any], generated: list[str]) -> Iterator[Any]:
    """Expands `NAME/*` entries and omits files of the root that do not exist."""
    for entry in nav:
        if isinstance(entry, dict):
            ((title, value),) = entry.items()
            if isinstance(value, list):
                yield {title: [*_navigation(value, generated)]}
            elif value.endswith("/*"):
                yield {title: [x for x in generated if posixpath.dirname(x) == value[:-2]]}
            else:
                yield entry
        elif entry in generated or entry not in AT_ROOT.values():
            yield entry


def _sources() -> dict[str, str]:
    """Returns the pages from outside docs/: their URIs and their paths in the checkout."""
    at_root = {uri: name for name, uri in AT_ROOT.items() if (ROOT / name).exists()}
    notebooks = sorted((ROOT / NOTEBOOKS).glob("*.ipynb"))
    return at_root | {f"{NOTEBOOKS}/{x.stem}.md": f"{NOTEBOOKS}/{x.name}" for x in notebooks}


def _notebook_pages(uri: str, path: pathlib.Path) -> dict[str, str | bytes]:
    """Returns the page of a notebook, the notebook and, if it was executed, its pictures."""
    folder = posixpath.dirname(uri)
    executed = EXECUTED / path.name
    notebook = nbformat.read(executed if executed.exists() else path, nbformat.NO_CONVERT)
    for cell in [x for x in notebook.cells if x.cell_type == "code"]:
        # TensorFlow's messages about the machine.
        cell.outputs = [x for x in cell.outputs if x.get("name") != "stderr"]
    resources = {"unique_key": path.stem, "output_files_dir": path.stem}
    exporter = MarkdownExporter()
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    page, resources = exporter.from_notebook_node(notebook, resources)
    page += f"\nThis page is a notebook: [{path.name}]({path.name}).\n"
    pictures = {f"{folder}/{name}": content for name, content in resources["outputs"].items()}
    return {uri: page, f"{folder}/{path.name}": path.read_bytes()} | pictures


def _packages() -> dict[str, str]:
    """Returns the packages that the reference documents, by the URIs of their pages."""
    folders = sorted(path.parent for path in (ROOT / PACKAGE).rglob("__init__.py"))
    names = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
    return {f"{REFERENCE}/{'index' if x == PACKAGE else x.partition('.')[2]}.md": x for x in names}


def _reference_page(package: str) -> str:
    """Returns the page of a package: its docstring, its exports and its modules."""
    folder = ROOT.joinpath(*package.split("."))
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    parts = [f"# {package}\n\n{ast.get_docstring(tree)}\n"]
    if exports := [*_export_links(tree)]:
        parts.append(f"Exported by the package: {', '.join(exports)}.\n")
    if package == PACKAGE:
        parts += _package_table()
    modules = sorted(path.stem for path in folder.glob("[!_]*.py"))
    parts += [f"::: {package}.{module}\n" for module in modules]
    return "\n".join(parts)


def _export_links(tree: ast.Module) -> Iterator[str]:
    """Yields links to the objects in the `__all__` of a package."""
    modules = {
        name.name: node.module
        for node in ast.walk(tree)  # also those for type checkers, of what is imported on first use
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            for name in ast.literal_eval(node.value):
                # Modules and constants have no anchor of their own in the reference.
                module = modules.get(name, PACKAGE)
                path = ROOT.joinpath(*module.split("."), name)
                is_module = path.is_dir() or path.with_suffix(".py").is_file()
                no_anchor = module == PACKAGE or is_module or name.isupper() or name.startswith("_")
                yield f"`{name}`" if no_anchor else f"[`{name}`][{module}.{name}]"


def _package_table() -> Iterator[str]:
    """Yields a table of the packages with the first paragraphs of their docstrings."""
    yield "| package | contents |\n| --- | --- |"
    for uri, name in _packages().items():
        if name != PACKAGE:
            init = ROOT.joinpath(*name.split("."), "__init__.py").read_text(encoding="utf-8")
            first = (ast.get_docstring(ast.parse(init)) or "").partition("\n\n")[0]
            yield f"| [{name}]({posixpath.basename(uri)}) | {' '.join(first.split())} |"
    yield ""
