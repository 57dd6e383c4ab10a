"""How often a training looks up."""

import dataclasses

from tfinvert.errors import InputError


@dataclasses.dataclass(frozen=True)
class Pace:
    """How often the loop stops to look; has no part in what is learnt.

    Attributes:
      log: steps between entries of the history and of TensorBoard's scalars.
      validate: steps between validations and image summaries.
      checkpoint: steps between checkpoints.
    """

    log: int = 50
    validate: int = 1000
    checkpoint: int = 1000

    def __post_init__(self) -> None:
        if min(self.log, self.validate, self.checkpoint) < 1:
            raise InputError(f"log, validate and checkpoint must be positive. Received: {self}")


PACE = Pace()
