"""Runs drills and prints what they found; see docs/reliability.md."""

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.drills import children, crashes, damage, fuzz, places, promises, table
from tests.drills.tries import Found

Drill = Callable[[Path, int, int], Found]


def fuzzed(scratch: Path, count: int, seed: int) -> Found:
    """R9: so many files and flags, changed at random, for every reader."""
    began = time.monotonic()
    failures, counts = fuzz.run(count, seed, lambda line: None, processes=2)
    said = tuple(f"{x.target}, number {x.number}: {x.what}" for x in failures)
    what = f"files and flags changed at random, for {len(counts)} readers"
    seconds = time.monotonic() - began
    return Found("R9", what, count, said, seconds, "--only=fuzz")


# name -> (drill, tries in the short form, tries in the long one)
DRILLS: dict[str, tuple[Drill, int, int]] = {
    **{
        kind.name: (functools.partial(crashes.drill, kind), 2, 30)
        for kind in crashes.KINDS
    },
    "download": (crashes.download, 5, 40),
    "terms": (places.terms, 2, 20),
    "others": (places.others, 1, 5),
    "clocks": (places.clocks, 2, 10),
    "disks": (places.disks, 1, 15),
    "damage": (damage.drill, 1, 10),
    "fuzz": (fuzzed, 1_500, 100_000),
    # In the short form these are left to the test suite.
    **{
        promise.number: (functools.partial(promises.run, promise), 0, 1)
        for promise in promises.PROMISES
    },
    "oldest": (promises.oldest, 0, 1),
}


def main() -> int:
    """The command; its exit code is 1 where a drill has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--long", action="store_true", help="many more tries")
    parser.add_argument("--only", default="", help=f"some of {', '.join(DRILLS)}")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument(
        "--write",
        action="store_true",
        help="rows into docs/reliability.md; with --long",
    )
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(DRILLS)
    if unknown := set(chosen) - set(DRILLS):
        parser.error(f"--only={','.join(unknown)}: wants some of {', '.join(DRILLS)}")
    if options.write and not options.long:
        parser.error("--write wants --long: the page shows the long form")
    failed = False
    with tempfile.TemporaryDirectory(prefix="drills-") as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{folder}/xla")
        children.begin()
        counts = {name: DRILLS[name][2 if options.long else 1] for name in chosen}

        def tried(name: str) -> Found:
            return DRILLS[name][0](Path(folder) / name, counts[name], options.seed)

        # In the short form one drill prepares its own while another tries.
        pool = ThreadPoolExecutor(1 if options.long else 2)
        for found in pool.map(tried, [name for name in chosen if counts[name]]):
            print(found.line(), *found.failures, sep="\n  ", flush=True)
            failed |= bool(found.failures)
            if options.write:
                table.PAGE.write_text(table.written(table.PAGE.read_text(), [found]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
