"""What all tests share: a strict JAX, a tiny world, and the real data where it is."""

import os
import signal
import tempfile
from pathlib import Path

import jax
import pytest

from ncf_jax import Config, prepare, split
from ncf_jax.config import DataConfig

# [B] against [B, 1] must raise, not broadcast: the classic silent bug of rating losses.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Eight devices, for what is spread over several; all else uses the first.
jax.config.update("jax_num_cpu_devices", 8)

# Many tests train the same tiny model anew; a program is compiled once a session.
_compiled = tempfile.TemporaryDirectory()
jax.config.update("jax_compilation_cache_dir", _compiled.name)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name  # of commands that tests run
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# A shell's background job ignores Ctrl-C, and so would each command that tests run.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = dict(
    dataset="synthetic",
    synthetic_users=40,
    synthetic_items=60,
    synthetic_ratings_per_user=25,
    cache_dir="",
)
RELEASE = "ml-latest-small"
ROOT = Path(__file__).parents[1]
MISSING = "the real MovieLens data is not here"
NO_BROWSER = "no Chromium"


def find_real_data() -> Path | None:
    """The folder that holds ml-latest-small/, or None."""
    candidates = [
        os.environ.get("NCF_JAX_DATA_DIR"),
        ROOT.parent / "shared" / "data",
        ROOT / "data",
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / RELEASE / "ratings.csv").is_file():
            return Path(candidate).resolve()
    return None


@pytest.fixture
def real_data_dir():
    """The folder of the real data; the test is skipped, loudly, where it is not."""
    found = find_real_data()
    if found is None:
        pytest.skip(MISSING)  # told loudly in the summary
    return found


def pytest_terminal_summary(terminalreporter):
    """Says loudly which claims went untested."""
    remedies = {
        MISSING: "tests on the real MovieLens data did NOT run. Set $NCF_JAX_DATA_DIR "
        f"to a folder that holds {RELEASE}/ to run them:",
        NO_BROWSER: "tests of report.html in a browser did NOT run. Install Chromium "
        "(Debian's package is chromium) to run them:",
    }
    for reason, remedy in remedies.items():
        skipped = [
            report.nodeid
            for report in terminalreporter.stats.get("skipped", [])
            if reason in str(report.longrepr)
        ]
        if skipped:
            terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
            terminalreporter.line(f"{len(skipped)} {remedy}")
            for name in skipped:
                terminalreporter.line(f"  {name}")


@pytest.fixture(scope="session")
def tiny_config():
    """A configuration that trains in a second."""
    return Config(**TINY, epochs=3, batch_size=64, embedding_dim=8)


@pytest.fixture(scope="session")
def tiny_dataset():
    """40 users, at most 60 items, about 1,000 ratings; synthetic."""
    return prepare(DataConfig(**TINY))


@pytest.fixture(scope="session")
def tiny_split(tiny_dataset):
    """70/15/15 of the tiny world."""
    return split(tiny_dataset, DataConfig(**TINY))
