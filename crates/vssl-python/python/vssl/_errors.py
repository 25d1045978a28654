"""The exceptions of vssl."""


class Error(Exception):
    """vssl could not do what it was asked for. The message is the one of the command."""


class UsageError(Error, ValueError):
    """What was asked for makes no sense: wrong arguments or a wrong recipe. The command ends with exit code 2."""


class Note(UserWarning):
    """What was taken for what, and what was left out: a note of the command."""


class ImageWarning(UserWarning):
    """Images were left out or replaced, because they cannot be read."""
