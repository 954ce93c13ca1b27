"""What the command tests share: commands run in this process, and one trained run."""

import contextlib
import io
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from experiments import flags
from ncf_jax import Config

WORLD = dict(
    dataset="synthetic",
    synthetic_users=40,
    synthetic_items=60,
    synthetic_ratings_per_user=25,
)
TINY = dict(**WORLD, epochs=3, batch_size=64, embedding_dim=8)
OPTIONS = {
    "train": "Config",
    "prepare": "PrepareOptions",
    "evaluate": "EvaluateOptions",
    "recommend": "RecommendOptions",
    "export": "ExportOptions",
    "compare": "CompareOptions",
    "report": "ReportOptions",
    "peers.__main__": "PeerOptions",
    "sweep": "SweepOptions",
    "doctor": "DoctorOptions",
}
CACHE = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    # Twenty tiny runs compile the same programs; the cache is put back afterwards so
    # that tests elsewhere see JAX as it is.
    cache = {
        "jax_compilation_cache_dir": str(tmp_path_factory.getbasetemp() / "xla"),
        **CACHE,
    }
    before = {name: getattr(jax.config, name) for name in cache}
    for values in (cache, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is cache:
            yield


class Outcome(NamedTuple):
    """What a command did: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    def sentence(self, code: int) -> str:
        """The one line on standard error that a refused command leaves."""
        assert self.code == code, f"exit code {self.code}, wanted {code}: {self.err}"
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, f"not one line: {self.err!r}"
        assert self.err.endswith("\n")
        assert "Traceback" not in self.out + self.err
        return self.err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs a command as its `python -m experiments.<name>` does, in this process."""

    def run(name: str, *arguments: str) -> Outcome:
        module = import_module(f"experiments.{name}")
        options = getattr(module, OPTIONS[name])
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            flags.run(module.main, options, module.__doc__)
        except SystemExit as stop:
            code = stop.code
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """Prepared tiny worlds, shared by all commands."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(cache_dir):
    """The flags of a run that trains in a second, with changes."""

    def arguments(workdir: Path, **changes) -> list[str]:
        values = dict(**TINY, cache_dir=cache_dir, workdir=workdir) | changes
        return [f"--{name}={value}" for name, value in values.items()]

    return arguments


class Finished(NamedTuple):
    """A run that is done, and what it printed."""

    workdir: Path
    config: Config
    out: str


def train_quietly(workdir: Path, cache: Path, **changes) -> Finished:
    train = import_module("experiments.train")
    values = dict(**TINY, workdir=str(workdir), cache_dir=str(cache)) | changes
    config, out = Config(**values), io.StringIO()
    with contextlib.redirect_stdout(out):
        train.main(config)
    return Finished(workdir, config, out.getvalue())


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cache_dir):
    """One seed of the tiny network, trained to the end; never to be changed."""
    return train_quietly(tmp_path_factory.mktemp("finished") / "run", cache_dir)


@pytest.fixture(scope="session")
def two_seeds(tmp_path_factory, cache_dir):
    """Two seeds of the tiny network in one vmap; never to be changed."""
    folder = tmp_path_factory.mktemp("two") / "run"
    return train_quietly(folder, cache_dir, num_seeds=2, epochs=2)


@pytest.fixture
def interrupt_after(monkeypatch):
    """Makes the next runs stop as by Ctrl-C once an epoch is saved."""
    console = import_module("experiments.console")

    def arrange(epoch: int) -> None:
        def stop(self, report):
            if report.epoch == epoch:
                raise KeyboardInterrupt

        monkeypatch.setattr(console.Progress, "epoch", stop)

    return arrange


@pytest.fixture(scope="session")
def content():
    """A folder's files by relative name, for byte-by-byte comparison."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read
