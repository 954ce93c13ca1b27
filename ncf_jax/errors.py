"""Errors a user can cause and mend: what was wanted, what was found, what to do.

Each is one sentence. A command prints it without a traceback and exits with the
class's `exit_code`; from Python it is an ordinary exception.
"""


class NcfError(Exception):
    """The base of every error this package raises on purpose."""

    exit_code = 2


class ConfigError(NcfError):
    """An option has an impossible, unknown or contradictory value (exit code 2)."""


class DataError(NcfError):
    """A data file is missing, malformed or not the one named (exit code 3)."""

    exit_code = 3


class RunError(NcfError):
    """A run folder or checkpoint is missing, damaged or another run's (exit code 4)."""

    exit_code = 4


class NonFiniteLossError(NcfError):
    """The training loss became NaN or infinite (exit code 5)."""

    exit_code = 5
