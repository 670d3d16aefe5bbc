"""How a command says that it cannot do what was asked."""


class CommandFailed(Exception):
    """The message says why and what to do; the command line shows it alone and ends with status 2."""
