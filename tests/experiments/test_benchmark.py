"""The benchmark's plumbing on tiny sizes. No test here asserts a time."""

import json

import pytest

from experiments import benchmark, flags
from experiments.bench import suites, timing
from experiments.bench.plan import Plan
from experiments.benchmark import NAMES, BenchmarkOptions
from ncf_jax.errors import ConfigError, RunError

TINY = dict(
    size="smoke",
    repeats=2,
    peers=False,
    synthetic_users=40,
    synthetic_items=60,
    synthetic_ratings_per_user=20,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a whole smoke run of the suites that train and evaluate."""
    folder = tmp_path_factory.mktemp("benchmark")
    options = BenchmarkOptions(
        suites="step,evaluate,prepare,stream",
        workdir=str(folder / "out"),
        cache_dir=str(folder / "cache"),
        profile=True,
        **TINY,
    )
    benchmark.main(options)
    return folder / "out"


@pytest.fixture(scope="module")
def found(written):
    return json.loads((written / "benchmark.json").read_text())


def entries(found):
    return [
        entry
        for sections in found["suites"].values()
        for section in sections
        for entry in section["entries"]
    ]


class TestWritten:
    def test_it_names_device_threads_and_versions(self, found):
        device = found["device"]
        assert device["platform"]
        assert device["threads"] >= 1
        assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= set(device["versions"])
        assert device["flops_per_second"] > 0

    def test_every_contestant_took_every_turn(self, found):
        assert {len(entry["seconds"]) for entry in entries(found)} == {2}
        assert all(entry["missing"] is None for entry in entries(found))

    def test_compilation_is_apart_from_steps(self, found):
        [dense, *_] = found["suites"]["step"][0]["entries"]
        assert dense["about"]["compile_seconds"] > 0
        assert dense["about"]["init_seconds"] > 0
        assert dense["about"]["flops"] > 0
        assert dense["about"]["xla_flops"] > 0
        assert dense["flops_share"] > 0

    def test_row_wise_and_dense_do_the_same_work(self, found):
        losses = [e["losses"][-1] for e in found["suites"]["step"][0]["entries"]]
        assert losses == pytest.approx([losses[0]] * 3, rel=0.02)
        assert losses[0] < found["suites"]["step"][0]["entries"][0]["losses"][0]

    def test_streamed_rows_are_those_on_the_device(self, found):
        on_device, streamed = found["suites"]["stream"][0]["entries"]
        assert streamed["losses"] == pytest.approx(on_device["losses"], rel=1e-5)
        assert streamed["about"]["examples"] == on_device["about"]["examples"] > 6_000
        assert streamed["about"]["steps"] == on_device["about"]["steps"]

    def test_the_three_ways_to_score_agree(self, found):
        halves, _, pairs = found["suites"]["evaluate"][1]["entries"]
        assert halves["losses"] == pytest.approx(pairs["losses"], rel=1e-5)

    def test_the_page_and_the_picture_are_there(self, written):
        page = (written / "benchmark.md").read_text()
        assert all(f"## {suite}" in page for suite in ("step", "stream", "prepare"))
        assert (written / "benchmark.png").read_bytes().startswith(b"\x89PNG")

    def test_the_profile_is_a_trace(self, written):
        assert list((written / "profile").rglob("*.xplane.pb"))


def test_startup_runs_whole_commands(tmp_path, capsys):
    options = BenchmarkOptions(
        suites="startup", workdir=str(tmp_path / "out"), **{**TINY, "repeats": 1}
    )
    benchmark.main(options)
    out = capsys.readouterr().out
    assert "train --help" in out
    found = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert all(entry["missing"] is None for entry in entries(found))


def test_every_suite_has_sections_and_unlike_names():
    config = BenchmarkOptions(**TINY)
    assert set(suites.SUITES) == set(NAMES)
    for name in set(NAMES) - {"prepare", "stream"}:  # which write files first
        plan = Plan(config, True, True, 0.03, "")
        for section in suites.SUITES[name](plan):
            names = [entry.name for entry in section.entries]
            assert len(set(names)) == len(names)


def test_peers_take_part_only_when_asked():
    config = BenchmarkOptions(**TINY)
    for peers in (True, False):
        plan = Plan(config, True, peers, 0.03, "")
        names = [e.name for section in suites.step(plan) for e in section.entries]
        assert any("PyTorch" in name for name in names) == peers


class TestMistakes:
    def test_an_unknown_suite(self):
        with pytest.raises(ConfigError, match="Did you mean 'scale'"):
            BenchmarkOptions(suites="step,scal").chosen()

    def test_all_is_all(self):
        assert BenchmarkOptions(suites="all").chosen() == NAMES

    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path):
        (tmp_path / "mine").write_text("precious")
        with pytest.raises(RunError, match="there already"):
            benchmark.main(BenchmarkOptions(workdir=str(tmp_path)))
        assert (tmp_path / "mine").read_text() == "precious"

    def test_nothing_can_be_measured(self, monkeypatch, tmp_path):
        gone = timing.Outcome("ceilings", [], [], 0.0, {}, "no device")
        monkeypatch.setattr(timing, "compare", lambda *_, **__: [gone])
        with pytest.raises(RunError, match="no device"):
            benchmark.main(BenchmarkOptions(workdir=str(tmp_path / "x"), **TINY))
        assert not (tmp_path / "x").exists()

    def test_a_profile_of_nothing(self):
        with pytest.raises(ConfigError, match="wants the suite step"):
            BenchmarkOptions(suites="seeds", profile=True).chosen()

    def test_a_suite_named_twice_runs_once(self):
        assert BenchmarkOptions(suites="seeds, step,seeds").chosen() == (
            "seeds",
            "step",
        )

    def test_without_a_cache_folder_there_is_nowhere_to_prepare(self):
        plan = Plan(BenchmarkOptions(cache_dir=""), True, False, 0.03, "")
        with pytest.raises(ConfigError, match="--cache_dir"):
            suites.prepare(plan)
        with pytest.raises(ConfigError, match="--cache_dir"):
            suites.stream(plan)

    def test_flags_become_options(self):
        options = flags.parse(BenchmarkOptions, ["--suites=all", "--nopeers"])
        assert (options.suites, options.peers) == ("all", False)
