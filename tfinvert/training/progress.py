"""The progress bar of training."""

import sys
import warnings
from typing import Any


def make_progress_bar(done: int, steps: int, hidden: bool = False) -> Any:
    """Creates a progress bar: a widget in a notebook, otherwise a line on standard error.

    Unless that is a terminal, it is updated rarely.

    Args:
      done: completed steps.
      steps: all steps.
      hidden: whether to show nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets, a notebook gets the line as well
        from tqdm.auto import tqdm

    # The widget draws its own bar in place of {bar}, and takes {bar:20} for text.
    bar = "{bar}" if tqdm.__mro__[1].__module__ == "tqdm.notebook" else "{bar:20}"
    interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        initial=done,
        total=steps,
        disable=hidden,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5 if interactive else 30.0,
        bar_format=f"{{desc}}{{n_fmt}}/{{total_fmt}} steps |{bar}| {{postfix}}, {{remaining}} left",
    )
