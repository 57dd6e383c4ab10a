"""The exception that means "the user's input is wrong", as opposed to a defect of ours."""


class InputError(ValueError):
    """Wrong input: one line that says what was given and what is accepted.

    The command line programs print it and end with exit status 2; in Python it is a ValueError.
    """
