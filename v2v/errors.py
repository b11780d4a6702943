"""The one error class that means "the person can fix this": the command line turns it into one line and exit code 2."""


class InputError(ValueError):
    """Bad input. The message is one line that says what and where, what was expected, what came, and the remedy."""
