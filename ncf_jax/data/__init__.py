"""From files to arrays, on the host: the only folder with pandas and scikit-learn."""

from collections.abc import Callable

Tell = Callable[[str], None]  # is told, in a line each, what a long preparation does


def silent(line: str) -> None:
    """Tells nobody."""
