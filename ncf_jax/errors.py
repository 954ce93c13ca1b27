"""Errors a user can cause and mend: what was wanted, what was found, what to do.

Each is one sentence. A command prints it without a traceback and exits with the
class's `exit_code`; from Python it is an ordinary exception.
"""

LONGEST = 640  # characters of a sentence


def one_line(text: str, longest: int = LONGEST) -> str:
    """A text that fits on a terminal: what is not printable escaped, the middle cut.

    Example:
      >>> one_line("no line\\nends")
      'no line\\\\nends'
    """
    text = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - end - 3]} … {text[len(text) - end :]}"


class NcfError(Exception):
    """The base of every error this package raises on purpose.

    Whatever a file or a command line put into its sentence, that is one line.
    """

    exit_code = 2

    def __init__(self, sentence: str = "") -> None:
        """Of one sentence."""
        super().__init__(one_line(sentence))


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
