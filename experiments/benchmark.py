"""Measure how fast steps, evaluation, preparation and start-up are, and why.

  python -m experiments.benchmark
  python -m experiments.benchmark --suites=step,scale --dataset=ml-latest-small \\
      --data_dir=../shared/data

Contestants take turns (A B A B ...), each library in a process of its own; PyTorch's
take part where PyTorch is installed: pip install -e '.[peers]'. The table says for each
its median, least and most time, the median of its ratios to the first, and how much it
reaches of what the machine can do at most, measured in the same run. Written to
--workdir: benchmark.json, benchmark.md and benchmark.png.
"""

import dataclasses
import importlib.util
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from experiments import console, flags
from ncf_jax.config import DataConfig, nearest, option
from ncf_jax.errors import ConfigError, RunError

NAMES = ("step", "seeds", "evaluate", "startup", "scale", "prepare", "stream")


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(DataConfig):
    """Options of this command."""

    suites: str = option(
        "step", f"Any of {', '.join(NAMES)}, with commas between; or all."
    )
    repeats: int = option(7, "Turns of each contestant, at most.", minimum=1)
    size: str = option(
        "full",
        "smoke: the same on tiny sizes, to try the plumbing; its figures mean nothing.",
        choices=("full", "smoke"),
    )
    peers: bool = option(True, "Let PyTorch take part where it is installed.")
    target_loss: float = option(
        0.035, "Validation loss to be reached, of ratings / 5.", minimum=0.0
    )
    profile: bool = option(
        False, "Write a JAX profiler trace of an epoch to <workdir>/profile."
    )
    stream_ratings: int = option(
        3_200_020,
        "Rows of the suite stream; as many as MovieLens 32M has are 32000204.",
        minimum=1_000,
    )
    workdir: str = option(
        "", "A new folder; empty: checkpoints/benchmark-<date and time>."
    )

    def chosen(self) -> tuple[str, ...]:
        """The suites by name.

        Raises:
          ConfigError: there is no such suite.
        """
        if self.suites == "all":
            return NAMES
        names = tuple(dict.fromkeys(name.strip() for name in self.suites.split(",")))
        for name in names:
            if name not in NAMES:
                raise ConfigError(
                    f"--suites wants any of {', '.join(NAMES)}, or all; found "
                    f"{name!r}.{nearest(name, NAMES)}"
                )
        if self.profile and "step" not in names:
            raise ConfigError("--profile wants the suite step, whose epoch it records.")
        return names


def main(options: BenchmarkOptions) -> None:
    """Measures, prints and writes."""
    names = options.chosen()
    default = Path("checkpoints") / time.strftime("benchmark-%Y%m%d-%H%M%S")
    workdir = Path(options.workdir or default)
    if workdir.exists() and not (workdir.is_dir() and not any(workdir.iterdir())):
        raise RunError(f"--workdir={workdir} is there already; name a new folder.")
    with_torch = importlib.util.find_spec("torch") is not None
    if options.peers and not with_torch:
        console.say(f"PyTorch is not installed, so it takes no part: {INSTALL}")
    found = measure(options, names, workdir, options.peers and with_torch)
    console.say("", f"written to {workdir}: {', '.join(sorted(write(workdir, found)))}")


def write(workdir: Path, found: dict[str, Any]) -> list[str]:
    """Writes what is known so far; the names of the files."""
    from experiments.bench import results
    from ncf_jax import pictures, report

    files = {
        "benchmark.json": report.dumps(found).encode(),
        "benchmark.md": results.markdown(found).encode(),
    }
    if picture := pictures.benchmark(found["suites"]):
        files["benchmark.png"] = picture
    for name, content in files.items():
        report.write_bytes(workdir / name, content)
    return list(files)


def measure(
    options: BenchmarkOptions, names: tuple[str, ...], workdir: Path, peers: bool
) -> dict[str, Any]:
    """Every section of every suite: what benchmark.json holds, written as it grows."""
    from experiments.bench import results, suites, timing
    from experiments.bench.plan import Plan

    smoke = options.size == "smoke"
    plan = Plan(
        config=DataConfig(**{f.name: getattr(options, f.name) for f in FIELDS}),
        smoke=smoke,
        peers=peers,
        target_loss=options.target_loss,
        profile=str(workdir / "profile") if options.profile else "",
        stream_ratings=options.stream_ratings,
    )
    found: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "experiments.benchmark", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "size": options.size,
        "device": {},
        "suites": {},
    }
    for name in names:
        found["suites"][name] = []
        ceilings = measure_ceilings(smoke)
        found["device"] = higher(found["device"], ceilings)
        console.say("", results.machine({"device": ceilings}))
        for section in suites.SUITES[name](plan):
            console.say("", f"{name}: {section.title}")
            outcomes = timing.compare(
                section.entries,
                repeats=min(options.repeats, section.repeats or options.repeats),
                say=console.say,
            )
            base = next((o for o in outcomes if o.missing is None), None)
            entries = [results.figures(o, base, ceilings) for o in outcomes]
            notes = [section.note] if section.note else []
            notes += results.remarks(entries)
            # Losses of tiny sizes are those of their first draws.
            notes += results.unlike(entries) if section.losses and not smoke else []
            console.table(results.HEADER, [results.row(each) for each in entries])
            console.say(*notes)
            found["suites"][name].append(
                {"title": section.title, "notes": notes, "entries": entries}
            )
            write(workdir, found)
    return found


def measure_ceilings(smoke: bool) -> dict[str, Any]:
    """What the device can do at most, with its name and versions.

    Raises:
      RunError: there is no device that works.
    """
    from experiments.bench import timing
    from experiments.bench.plan import ours

    sizes: dict[str, Any] = {"matrix": 64, "floats": 4096} if smoke else {}
    [outcome] = timing.compare([ours("ceilings", "ceilings", **sizes)], repeats=1)
    if outcome.missing is not None:
        raise RunError(f"Nothing can be measured: {outcome.missing}")
    return outcome.about


def higher(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The device with the better of two measurements of its ceilings."""
    ceilings = ("flops_per_second", "bytes_per_second")
    return {**now, **{key: max(before.get(key, 0), now[key]) for key in ceilings}}


INSTALL = "pip install -e '.[peers]'"
FIELDS = dataclasses.fields(DataConfig)

if __name__ == "__main__":
    flags.run(main, BenchmarkOptions, __doc__)
