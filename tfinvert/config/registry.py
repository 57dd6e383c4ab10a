"""Registries of names that import what they name only when it is used."""

import ast
import importlib
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any


class _Experiments(Mapping[str, Any]):
    """Experiments by the names of their files in `tfinvert/analysis/experiments/`."""

    _package = "tfinvert.analysis.experiments"

    def _files(self) -> dict[str, pathlib.Path]:
        package = sys.modules.get(self._package)
        default = [str(pathlib.Path(__file__).parents[1] / "analysis" / "experiments")]
        folders = package.__path__ if package else default
        found = {
            path.stem: path
            for folder in folders
            for path in pathlib.Path(folder).glob("*.py")
            if not path.stem.startswith("_")
        }
        return dict(sorted(found.items()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._files())

    def __len__(self) -> int:
        return len(self._files())

    def __contains__(self, name: object) -> bool:
        return name in self._files()

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return importlib.import_module(f"{self._package}.{name}").EXPERIMENT

    def describe(self, name: str) -> str:
        """The first line of the docstring, without importing the experiment."""
        tree = ast.parse(self._files()[name].read_text(encoding="utf-8"))
        return (ast.get_docstring(tree) or "").partition("\n")[0]


EXPERIMENTS = _Experiments()
