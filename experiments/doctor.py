"""See what this machine has and whether it computes as it should.

  python -m experiments.doctor
  python -m experiments.doctor --data_dir=../shared/data --format=json

Prints a line for each thing that was looked at: ok, warning or FAILED, and then what
to do. A self-test trains a tiny model in a temporary folder, stops it, goes on, and
damages a checkpoint. The output is what a bug report contains. The exit code is 4 if
anything FAILED, and otherwise 0. Nothing stays behind but what XLA compiled, in its
cache.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from functools import partial

from experiments import checkup, console, copies, flags, selftest
from experiments.checkup import FAILED, WARNING, Line, Probe
from ncf_jax.config import DataConfig
from ncf_jax.errors import RunError
from ncf_jax.options import Options, option

NOTE = (
    "A bug report wants all of this. Your home folder is shown as ~, your user name in "
    "a path as <user>; a variable that looks like a secret is not shown."
)
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class DoctorOptions(Options):
    """Options of this command."""

    workdir: str = option(
        "checkpoints", "Folder that a run, or the folders of runs, are to be in."
    )
    data_dir: str = option(
        DataConfig.data_dir,
        "Folder that holds release folders such as ml-latest-small/ "
        "(on the command line $NCF_JAX_DATA_DIR, if set, is the default).",
    )
    cache_dir: str = option(
        DataConfig.cache_dir, "Folder for prepared arrays; empty: none."
    )
    format: str = option("table", "How to print.", choices=("table", "json"))


DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(DoctorOptions)
    if field.name != "format"
}


def main(options: DoctorOptions) -> None:
    """Looks, prints, and ends with exit code 4 if anything failed.

    Raises:
      RunError: something failed.
    """
    table = options.format == "table"
    found: dict[str, list[Line]] = {}
    for part, name, probe in probes(options):
        if part not in found and table:
            console.say(*[""] * bool(found), part)
        for line in checkup.guarded(name, probe):
            found.setdefault(part, []).append(line)
            if table:  # at once: what comes next may take a while, or end the process
                console.say(text(line))
    lines = [line for each in found.values() for line in each]
    failed = [line.name for line in lines if line.status == FAILED]
    warnings = sum(line.status == WARNING for line in lines)
    if table:
        counts = f"{len(lines)} lines, {warnings} warnings, {len(failed)} FAILED"
        console.say("", counts, NOTE)
    else:
        told = {
            "format": FORMAT,
            "lines": [
                {"part": part, **line._asdict()}
                for part, each in found.items()
                for line in each
            ],
            "warnings": warnings,
            "failed": len(failed),
            "exit_code": RunError.exit_code if failed else 0,
            "note": NOTE,
        }
        console.say(json.dumps(told, indent=2))
    if failed:
        raise RunError(
            f"FAILED: {', '.join(failed)}. Do what is said there, and run this again; "
            f"if it stays, report it with this output."
        )


def text(line: Line) -> str:
    """A line as it is printed.

    Example:
      >>> text(Line("git", "ok", "not a checkout"))
      'ok       git               not a checkout'
    """
    todo = f". {line.todo}" if line.todo else ""
    return f"{line.status:<8} {line.name:<17} {line.found}{todo}"


def probes(options: DoctorOptions) -> Iterator[tuple[str, str, Probe]]:
    """Part and name of each thing that is looked at, and the probe that does."""
    here = {
        name: (getattr(options, name), getattr(options, name) != default)
        for name, default in DEFAULTS.items()
    }
    yield "versions", "versions", checkup.versions
    yield "versions", "git", checkup.commit
    yield "machine", "device", checkup.devices
    yield "machine", "host", checkup.host
    yield "environment", "variables", partial(checkup.environment, os.environ)
    for name, (value, named) in here.items():
        if value:
            flag = f"--{name}"
            yield "folders", flag, partial(checkup.folder, flag, value, named=named)
    yield "folders", "XLA cache", partial(checkup.compiled, os.environ)
    value, named = here["data_dir"]
    yield "data", "releases", partial(copies.data, value, named=named)
    yield "self-test", "self-test", selftest.run


if __name__ == "__main__":
    flags.run(main, DoctorOptions, __doc__)
