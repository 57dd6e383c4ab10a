"""Lazy registry: names, one-line descriptions and import targets, without TensorFlow."""

import ast
import functools
import importlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class ModuleRegistry(Mapping[str, Any]):
    """A registry of the modules of a package, which declare themselves.

    A module's name, with hyphens for underscores, is the registered name, the first line of its
    docstring the description, and its attribute the object. Modules without the attribute are left
    out. Names are ordered by the integer `order` that the object is constructed with. Nothing but
    the package itself is imported before an object is looked up.

    Args:
      package: import path of the package.
      attribute: the attribute's name, for example "EXPERIMENT".
    """

    def __init__(self, package: str, attribute: str):
        self._package, self._attribute = package, attribute

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        module = importlib.import_module(f"{self._package}.{name.replace('-', '_')}")
        return getattr(module, self._attribute)

    def __iter__(self) -> Iterator[str]:
        declared = self._declarations()
        return iter(sorted(declared, key=lambda name: (declared[name].order, name)))

    def __len__(self) -> int:
        return len(self._declarations())

    def __contains__(self, name: object) -> bool:
        return name in self._declarations()

    def describe(self, name: str) -> str:
        """The one-line description of a name."""
        return self._declarations()[name].description

    def _declarations(self) -> dict[str, "_Declaration"]:
        found = {}
        for path in importlib.import_module(self._package).__path__:
            for file in pathlib.Path(path).glob("[!_]*.py"):
                declaration = _read_declaration(file, file.stat().st_mtime_ns, self._attribute)
                if declaration is not None:
                    found[file.stem.replace("_", "-")] = declaration
        return found


class _Declaration(NamedTuple):
    description: str
    order: int


@functools.cache
def _read_declaration(file: pathlib.Path, modified: int, attribute: str) -> _Declaration | None:
    """The declaration in a source file, which is not imported; None where there is none."""
    del modified  # part of the cache's key
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if [getattr(target, "id", None) for target in node.targets] == [attribute]:
            arguments = {keyword.arg: keyword.value for keyword in node.value.keywords}
            order = arguments.get("order", ast.Constant(0))
            line = (ast.get_docstring(tree) or "").partition("\n")[0]
            return _Declaration(line, ast.literal_eval(order))
    return None


EXPERIMENTS = ModuleRegistry("tfinvert.analysis.experiments", "EXPERIMENT")
