"""The exception that means "the user's input is wrong", and what is said of others' errors."""


class InputError(ValueError):
    """Wrong input: one line that says what was given and what is accepted.

    The command line programs print it and end with exit status 2; in Python it is a ValueError.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or, if it says nothing, what it is."""
    return (str(error).strip().splitlines() or [repr(error)])[0]
