"""What the page shows, as a link says it."""

import dataclasses
import urllib.parse
from collections.abc import Mapping

from tfinvert.errors import InputError
from tfinvert.studio.controls import Choice, Control
from tfinvert.studio.photographs import EXAMPLES
from tfinvert.studio.tabs import MIX, TABS, TABS_BY_NAME, Tab, Values

MAPS = Choice(
    "map",
    "Beside it",
    {
        "none": "nothing more",
        "difference": "difference",
        "error": "error map",
        "uncertainty": "uncertainty",
    },
    "none",
)
# A photograph that was uploaded has no name, and is in no link.
UPLOADED = ""


@dataclasses.dataclass(frozen=True)
class State:
    """What is shown.

    Attributes:
      tab: the tab's name.
      values: of the tab's controls.
      photograph: the example, or `UPLOADED`.
      second: likewise, of the photograph to mix with.
      map: a key of `MAPS.options`.
    """

    tab: str = TABS[0].name
    values: Values = dataclasses.field(default_factory=lambda: TABS[0].defaults)
    photograph: str = EXAMPLES[0]
    second: str = EXAMPLES[-1]
    map: str = MAPS.default

    def query(self) -> str:
        """The part of a link behind the question mark."""
        tab = TABS_BY_NAME[self.tab]
        said = {"tab": self.tab}
        if tab.make:
            said |= {"photograph": self.photograph}
        if tab.name == MIX:
            said |= {"second": self.second}
        said |= {control.name: control.text(self.values[control.name]) for control in tab.controls}
        if tab.make and self.map != MAPS.default:
            said |= {"map": self.map}
        return urllib.parse.urlencode({key: text for key, text in said.items() if text})


def from_query(query: str) -> State:
    """The state that a link says; what it leaves out is as at the beginning.

    Args:
      query: the part behind the question mark, with or without it.

    Raises:
      InputError: it names something that there is not.
    """
    said = dict(urllib.parse.parse_qsl(query.removeprefix("?")))
    names = Choice("tab", "", {tab.name: tab.title for tab in TABS}, TABS[0].name)
    tab = TABS_BY_NAME[_value(names, said)]
    controls = _controls(tab)
    if unknown := said.keys() - {*controls, "tab"}:
        raise InputError(
            f"the tab {tab.name} has no {', '.join(sorted(unknown))}; a link to it says "
            f"{', '.join(controls)}"
        )
    values = {name: _value(control, said) for name, control in controls.items()}
    outer = {name: values.pop(name) for name in ("photograph", "second", "map")}
    return State(tab.name, values, **outer)


def _controls(tab: Tab) -> dict[str, Control]:
    photographs = {name: name for name in EXAMPLES}
    outer = (
        Choice("photograph", "", photographs, EXAMPLES[0]),
        Choice("second", "", photographs, EXAMPLES[-1]),
        MAPS,
    )
    return {control.name: control for control in (*outer, *tab.controls)}


def _value(control: Control, said: Mapping[str, str]):
    return control.parse(said[control.name]) if control.name in said else control.default
