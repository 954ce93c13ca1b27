"""How commands speak: aligned text; a progress bar on a terminal, lines elsewhere.

rich honours NO_COLOR and leaves colours out where the output is not a terminal.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncf_jax.options import Options, shown

if TYPE_CHECKING:
    from ncf_jax.fitting import EpochReport


def say(*lines: str) -> None:
    """Prints lines at once, also into a pipe."""
    for line in lines:
        print(line, flush=True)


def mute() -> None:
    """Nothing more is said by this process, which is not the first of several."""
    # For as long as the process lives, so no `with`.
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


class Later:
    """Says what goes on, but only in what takes long: a line every two seconds."""

    SECONDS = 2.0

    def __init__(self) -> None:
        """Starts to wait."""
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        """Prints `line` if nothing was printed for a while."""
        if time.monotonic() - self._last >= self.SECONDS:
            say(line)
            self._last = time.monotonic()


def options(config: Options) -> None:
    """The effective configuration, aligned; `*` marks what is not the default."""
    fields = dataclasses.fields(config)
    width = max(len(field.name) for field in fields)
    for field in fields:
        value = getattr(config, field.name)
        changed = value != field.default
        print(f"  {field.name:<{width}}  {shown(value)}{' *' if changed else ''}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """An aligned table: the first column to the left, figures to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(header):
        left = number == 0 or not _numeric(rows, number)
        out.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        out.add_row(*map(Text, row))  # as it is: a title may look like markup
    # As wide as the table needs: a narrow window may wrap a line, never cut a figure.
    Console(width=10_000).print(out)


def _numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    return all(row[column][:1] in "-–0123456789" for row in rows)


class Progress:
    """Epochs as they go by: a bar on a terminal, a line each elsewhere."""

    def __init__(self, epochs: int, done: int) -> None:
        """Starts at `done` of `epochs`."""
        self._bar: Any = None
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("epoch"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
            )
            self._task = self._bar.add_task("compiling", total=epochs, completed=done)

    def __enter__(self) -> "Progress":
        """Shows the bar."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the terminal as it was."""
        if self._bar:
            self._bar.stop()

    def epoch(self, report: "EpochReport") -> None:
        """One epoch is done."""
        line = (
            f"train loss {report.train_loss.mean():.4f}  valid loss "
            f"{report.valid_loss.mean():.4f}  {report.seconds:.2f} s  "
            f"{report.examples_per_second:,.0f} examples/s"
        )
        if self._bar:
            self._bar.print(f"epoch {report.epoch:3d}  {line}", highlight=False)
            self._bar.update(self._task, advance=1, description="")
        else:
            say(f"epoch {report.epoch:3d}  {line}")


def results(found: dict[str, Any]) -> None:
    """The metrics table and what a reader of it must know."""
    from ncf_jax import results as tables

    say("")
    table(*tables.table_rows(found))
    say("")
    table(*tables.more_rows(found))
    say("", *tables.footnotes(found))
