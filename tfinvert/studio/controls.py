"""What can be set on the page, without the page: sliders and choices, as text in a link."""

import dataclasses
from collections.abc import Mapping

from tfinvert.errors import InputError

Value = int | str


@dataclasses.dataclass(frozen=True)
class Slider:
    """Whole numbers from `low` to `high`.

    Attributes:
      name: in a link.
      label: on the page.
      low: the smallest value.
      high: the largest value of all; what the other settings leave of it is the tab's to say.
      default: the first value.
      names: of the values, where they have some; in a link, the names stand for them.
    """

    name: str
    label: str
    low: int
    high: int
    default: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> int:
        """The value that a link says.

        Raises:
          InputError: it is none of this slider.
        """
        if self.names:
            return _one_of(self.name, text, self.names)
        try:
            value = int(text)
        except ValueError:
            value = self.low - 1
        if not self.low <= value <= self.high:
            raise InputError(
                f"{self.name} is a whole number from {self.low} to {self.high}. Received: {text!r}"
            )
        return value

    def text(self, value: int) -> str:
        """What a link says of a value."""
        return self.names[value] if self.names else str(value)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few.

    Attributes:
      name: in a link.
      label: on the page.
      options: what the page calls each value.
      default: the first value.
      many: whether they are too many to show side by side.
    """

    name: str
    label: str
    options: Mapping[str, str]
    default: str
    many: bool = False

    def parse(self, text: str) -> str:
        """The value that a link says.

        Raises:
          InputError: it is none of the options.
        """
        _one_of(self.name, text, tuple(self.options))
        return text

    def text(self, value: str) -> str:
        """What a link says of a value."""
        return value


Control = Slider | Choice


def _one_of(name: str, text: str, known: tuple[str, ...]) -> int:
    if text not in known:
        raise InputError(f"{name} is one of {', '.join(known)}. Received: {text!r}")
    return known.index(text)
