"""The state of the page, and its conversion to and from a link's query string."""

import dataclasses
import urllib.parse
from collections.abc import Mapping

from tfinvert.errors import InputError
from tfinvert.studio.controls import Choice, Control, Value
from tfinvert.studio.photographs import EXAMPLES
from tfinvert.studio.tabs import MIX, TABS, TABS_BY_NAME, Tab, Values

MAPS = Choice(
    "map",
    "Map",
    {
        "none": "none",
        "difference": "difference",
        "error": "absolute error",
        "uncertainty": "uncertainty",
    },
    "none",
)
# Stands for an uploaded photograph, which has no name and is in no link.
UPLOADED = ""


@dataclasses.dataclass(frozen=True)
class State:
    """The settings of the page.

    Attributes:
      tab: the tab's name.
      values: control name → value, for the tab's controls.
      photograph: name of the example, or `UPLOADED`.
      second: name of the second example (tab "mix"), or `UPLOADED`.
      map: a key of `MAPS.options`.
    """

    tab: str = TABS[0].name
    values: Values = dataclasses.field(default_factory=lambda: TABS[0].defaults)
    photograph: str = EXAMPLES[0]
    second: str = EXAMPLES[-1]
    map: str = MAPS.default

    def query(self) -> str:
        """Formats the state as a query string, without the question mark."""
        tab = TABS_BY_NAME[self.tab]
        parameters = {"tab": self.tab}
        if tab.compute:
            parameters |= {"photograph": self.photograph}
        if tab.name == MIX:
            parameters |= {"second": self.second}
        parameters |= {each.name: each.text(self.values[each.name]) for each in tab.controls}
        if tab.compute and self.map != MAPS.default:
            parameters |= {"map": self.map}
        return urllib.parse.urlencode({key: text for key, text in parameters.items() if text})


def from_query(query: str) -> State:
    """Parses a query string; parameters that it omits have their defaults.

    Args:
      query: the query string, with or without the question mark.

    Raises:
      InputError: a parameter is unknown, or its value is invalid.
    """
    parameters = dict(urllib.parse.parse_qsl(query.removeprefix("?")))
    tabs = Choice("tab", "", {tab.name: tab.title for tab in TABS}, TABS[0].name)
    tab = TABS_BY_NAME[_value(tabs, parameters)]
    controls = _controls(tab)
    if unknown := parameters.keys() - {*controls, "tab"}:
        raise InputError(
            f"the tab {tab.name} has no parameter {', '.join(sorted(unknown))}; use "
            f"{', '.join(controls)}"
        )
    values = {name: _value(control, parameters) for name, control in controls.items()}
    common = {name: values.pop(name) for name in ("photograph", "second", "map")}
    return State(tab.name, values, **common)


def _controls(tab: Tab) -> dict[str, Control]:
    photographs = {name: name for name in EXAMPLES}
    common = (
        Choice("photograph", "", photographs, EXAMPLES[0]),
        Choice("second", "", photographs, EXAMPLES[-1]),
        MAPS,
    )
    return {control.name: control for control in (*common, *tab.controls)}


def _value(control: Control, parameters: Mapping[str, str]) -> Value:
    if control.name not in parameters:
        return control.default
    return control.parse(parameters[control.name])
