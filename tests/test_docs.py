"""The documents tell the truth: their programs run, their links and commands exist."""

import dataclasses
import re
from pathlib import Path

import jax
import pytest

import ncf_jax
from ncf_jax.config import CLOSED_FORM_MODELS, GRADIENT_MODELS
from tests.conftest import ROOT

DOCS = [
    "docs/architecture.md",
    "docs/cluster.md",
    "docs/comparison.md",
    "docs/extending.md",
    "docs/metrics.md",
    "docs/performance.md",
    "docs/reliability.md",
    "docs/scaling.md",
]
GAPS = re.compile(r"^[A-Z]{4,}$|TODO|FIXME|XXX", re.MULTILINE)
PAGES = ["README.md", "docs/extending.md"]


@pytest.fixture
def loose_ranks():
    # A reader's own session promotes ranks, as NumPy does.
    with jax.numpy_rank_promotion("allow"):
        yield


def programs(page):
    text = (ROOT / page).read_text()
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_of_a_page_run_from_top_to_bottom(
    page, tmp_path, monkeypatch, capsys, loose_ranks
):
    monkeypatch.chdir(tmp_path)  # the default cache folder is relative
    blocks = programs(page)
    assert blocks, f"{page} has no program"
    namespace = {"__name__": "__page__"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, program {number + 1}", "exec"), namespace)
    assert capsys.readouterr().out, f"the programs of {page} print nothing"


def test_the_readme_shows_what_its_program_prints(
    tmp_path, monkeypatch, capsys, loose_ranks
):
    text = (ROOT / "README.md").read_text()
    program, shown = re.search(
        r"```python\n(.*?)```\n+```text\n(.*?)```", text, flags=re.DOTALL
    ).groups()
    monkeypatch.chdir(tmp_path)
    exec(program, {"__name__": "__page__"})
    printed = capsys.readouterr().out.splitlines()
    shown = shown.splitlines()
    assert len(printed) == len(shown)
    # A version of JAX may move a figure by a little, and the order of titles with it;
    # the form of a line, and that each title is one of the data's, may not change.
    number = re.compile(r"\d\.\d+")
    assert number.sub("#", printed[0]) == number.sub("#", shown[0])
    assert float(number.search(printed[0])[0]) == pytest.approx(
        float(number.search(shown[0])[0]), abs=0.03
    )
    titles = set(ncf_jax.prepare(ncf_jax.Config(cache_dir="")).titles)
    for line in printed[1:] + shown[1:]:
        title, stars = line.rsplit(" ", 1)
        assert title in titles
        assert 0.5 <= float(stars) <= 5.0


def test_the_readme_has_no_gap_to_be_filled():
    words = re.findall(GAPS, (ROOT / "README.md").read_text())
    assert words == []


def test_the_first_program_of_the_readme_is_on_its_first_screen():
    lines = (ROOT / "README.md").read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("```"))
    assert first < 25


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]
)
def test_links_between_files_lead_somewhere(page):
    here = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", here.read_text()):
        assert (here.parent / target).exists(), f"{page} links to {target}"


def test_commands_in_the_readme_exist_and_know_their_flags():
    from experiments import (
        benchmark,
        compare,
        doctor,
        evaluate,
        export,
        flags,
        launch,
        prepare,
        recommend,
    )
    from experiments import report as report_command
    from experiments import sweep as sweep_command
    from experiments.peers.__main__ import PeerOptions
    from ncf_jax.config import Config

    options = {
        "train": Config,
        "prepare": prepare.PrepareOptions,
        "launch": launch.LaunchOptions,
        "evaluate": evaluate.EvaluateOptions,
        "recommend": recommend.RecommendOptions,
        "benchmark": benchmark.BenchmarkOptions,
        "compare": compare.CompareOptions,
        "report": report_command.ReportOptions,
        "peers": PeerOptions,
        "sweep": sweep_command.SweepOptions,
        "doctor": doctor.DoctorOptions,
        "export": export.ExportOptions,
    }
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    found = re.findall(r"python -m experiments\.(\w+) ?([^`\n&#]*)", text)
    assert {name for name, _ in found} >= set(options)
    for name, rest in found:
        if name not in options:
            assert (ROOT / "experiments" / name).exists()
            continue
        own = rest.partition(" -- ")[0]  # what a launcher starts has its own
        for flag in re.findall(r"--(\w+)", own):
            known = set(flags.define(options[name])) | {"flagfile", "help"}
            assert flag in known, f"experiments.{name} has no --{flag}"


# Of absl's own, of drills, pip, SLURM and XLA.
OTHER_FLAGS = {
    *("flagfile", "help", "long", "write", "only", "seed", "target", "require-hashes"),
    *("nodes", "ntasks-per-node", "gpus-per-node", "kill-on-bad-exit", "requeue"),
    *("xla_gpu_deterministic_ops", "xla_force_host_platform_device_count"),
}


@pytest.mark.parametrize("page", ["CHANGELOG.md", *DOCS])
def test_every_flag_that_a_page_names_exists(page):
    from importlib import import_module

    from experiments import flags
    from tests.experiments.conftest import OPTIONS

    known = set(OTHER_FLAGS)
    more = {"benchmark": "BenchmarkOptions", "launch": "LaunchOptions"}
    for name, options in {**OPTIONS, **more}.items():
        module = import_module(f"experiments.{name}")
        known |= set(flags.define(getattr(module, options)))
    text = (ROOT / page).read_text()
    named = set(re.findall(r"(?<![\w-])--([a-z][\w-]+)", text))
    assert {x for x in named if not {x, x.removeprefix("no")} & known} == set()
    assert "compute" not in known  # the control


def test_the_architecture_page_names_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "ncf_jax").rglob("*.py"):
        if path.name != "__init__.py":
            assert path.name in text, f"the page leaves out {path.name}"


def test_the_registries_and_the_options_have_the_same_names():
    from ncf_jax.config import Config
    from ncf_jax.config_data import PUBLISHED_SPLITS
    from ncf_jax.data.splits import LIMITS, SPLITS
    from ncf_jax.judge import CANDIDATES
    from ncf_jax.losses import LOSSES
    from ncf_jax.metrics import CONVENTIONS, TIES
    from ncf_jax.models import MODELS, TITLES
    from ncf_jax.optim import OPTIMIZERS

    choices = {
        field.name: set(field.metadata["choices"])
        for field in dataclasses.fields(Config)
        if field.metadata["choices"]
    }
    assert set(MODELS) == set(TITLES) == choices["model"]
    assert set(MODELS) == set(GRADIENT_MODELS) | set(CLOSED_FORM_MODELS)
    assert set(LOSSES) == choices["loss"]
    assert set(OPTIMIZERS) == choices["optimizer"]
    assert {*SPLITS, *PUBLISHED_SPLITS, "stored"} == set(LIMITS) == choices["split"]
    assert set(CONVENTIONS) == choices["metrics"]
    assert set(CANDIDATES) == choices["candidates"]
    assert set(TIES) == choices["ties"]


def test_no_file_speaks_of_one_machine():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.rglob("*.py")]:
        if any(part.startswith(".") for part in Path(path).relative_to(ROOT).parts):
            continue
        text = path.read_text()
        for word in ("/" + "work/", "/" + "root/", "/" + "tmp/bash"):
            assert word not in text, f"{path} names {word}"
