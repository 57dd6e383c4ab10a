"""Sliders and choices of the page as data, and their values as text in links."""

import dataclasses
from collections.abc import Mapping

from tfinvert.errors import InputError

Value = int | str


@dataclasses.dataclass(frozen=True)
class Slider:
    """A slider for integers.

    Attributes:
      name: parameter name in links.
      label: label on the page.
      low: minimum.
      high: maximum; `Tab.slider_limit` may lower it, depending on the other settings.
      default: initial value.
      names: names of the values 0, 1, …, which stand for the values in links; may be empty.
    """

    name: str
    label: str
    low: int
    high: int
    default: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> int:
        """Parses a link's text.

        Raises:
          InputError: the text is not a value of this slider.
        """
        if self.names:
            return _index(self.name, text, self.names)
        try:
            value = int(text)
        except ValueError:
            value = self.low - 1
        if not self.low <= value <= self.high:
            raise InputError(
                f"{self.name} must be an integer from {self.low} to {self.high}. Received: {text!r}"
            )
        return value

    def text(self, value: int) -> str:
        """Formats a value for links."""
        return self.names[value] if self.names else str(value)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A choice of one option among several.

    Attributes:
      name: parameter name in links.
      label: label on the page.
      options: value → label on the page.
      default: initial value.
      dropdown: whether the page has a dropdown in place of radio buttons.
    """

    name: str
    label: str
    options: Mapping[str, str]
    default: str
    dropdown: bool = False

    def parse(self, text: str) -> str:
        """Parses a link's text.

        Raises:
          InputError: the text is not an option.
        """
        _index(self.name, text, tuple(self.options))
        return text

    def text(self, value: str) -> str:
        """Formats a value for links."""
        return value


Control = Slider | Choice


def _index(name: str, text: str, options: tuple[str, ...]) -> int:
    if text not in options:
        raise InputError(f"{name} must be one of {', '.join(options)}. Received: {text!r}")
    return options.index(text)
