"""Write the page of a finished run, or one page that compares several.

  python -m experiments.report checkpoints/<run>
  python -m experiments.report checkpoints/<run> checkpoints/<another> --output=two.html

One run: report.html in its folder, made anew. Several: comparison.html in the current
folder, the others tested against the first. A page is one file that needs no network.
"""

import dataclasses
from pathlib import Path

from experiments import console, flags
from ncf_jax.config import Options, option
from ncf_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ReportOptions(Options):
    """Options of this command."""

    POSITIONAL = "runs"

    runs: tuple = option((), "Run folders, given without a flag or between commas.")
    output: str = option(
        "",
        "File to write; by default report.html in the folder of a single run, "
        "comparison.html in the current folder for several.",
    )
    against: str = option(
        "first",
        "Test the other runs against the first, the best (lowest RMSE), or all pairs.",
        choices=("first", "best", "all"),
    )


def main(options: ReportOptions) -> None:
    """Makes the page and writes it."""
    if not options.runs:
        raise ConfigError(
            "Name one run folder or several: python -m experiments.report "
            "checkpoints/<run>."
        )
    if options.output and Path(options.output).is_dir():
        raise ConfigError(f"--output={options.output} is a folder; name a file.")
    from ncf_jax import locks, pages, report

    if len(options.runs) == 1:
        folder = options.runs[0]
        path = Path(options.output or Path(folder) / "report.html")
        page = pages.of_folder(folder)
    else:
        path = Path(options.output or "comparison.html")
        page = pages.of_folders(options.runs, against=options.against)
    content = page.encode()
    with locks.hold(path.parent):
        report.write_bytes(path, content)
    console.say(f"written to {path} ({len(content) / 1e3:,.0f} kB)")


if __name__ == "__main__":
    flags.run(main, ReportOptions, __doc__)
