"""report.html: a run, or several side by side, as one self-contained page.

  gather.py      what a page needs, from run folders
  page.py        the pages, as text: `run_page`, `comparison_page`
  words.py       questions and answers in sentences
  tables.py      metrics, definitions, options
  breakdown.py   error of groups of rows, calibration, residuals: pure NumPy
  sections.py    those, drawn and explained
  sureness.py    an ensemble's spread beside its error
  embedding.py   the map of item vectors
  figures.py     drawings by matplotlib
  svg.py         a drawing made fit for a page: light, dark, print
  templates/     the pages by Jinja2, their style and the one script

Nothing here writes a file. matplotlib, Jinja2 and scikit-learn are imported when a page
is made, not before.
"""

from collections.abc import Sequence
from typing import Any


def of_run(*args: Any, **kwargs: Any) -> str:
    """The page of a run that has just ended; see `gather.of_run` for its arguments."""
    from ncf_jax.pages import gather

    return of_inputs(gather.of_run(*args, **kwargs))


def of_folder(folder: str) -> str:
    """The page of the finished run in `folder`.

    Raises:
      RunError: it is no finished run, or a file is damaged or of another run.
    """
    from ncf_jax.pages import gather

    return of_inputs(gather.load(folder))


def of_inputs(inputs: Any) -> str:
    """The page of what `gather` found."""
    from ncf_jax.pages import page

    return page.run_page(**inputs._asdict())


def of_folders(folders: Sequence[str], *, against: str = "first") -> str:
    """One page that compares the finished runs in `folders`.

    Args:
      folders: two or more.
      against: `first`, `best` or `all`, see `compare.compare`.

    Raises:
      RunError: one is no finished run, or they cannot be compared.
    """
    from pathlib import Path

    from ncf_jax.compare import compare
    from ncf_jax.pages import gather, page
    from ncf_jax.runs import load_finished

    runs = [load_finished(folder) for folder in folders]
    texts = [gather.flags_of(Path(folder)) for folder in folders]
    return page.comparison_page(runs, compare(runs, against=against), flags=texts)
