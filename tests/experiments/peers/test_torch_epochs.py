"""Contestants train on the same rows to the same weights, each by its own means."""

from itertools import chain

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from experiments.peers import torch_epochs, torch_steps  # noqa: E402 (needs torch)
from experiments.peers.torch_epochs import KINDS, contestant  # noqa: E402
from tests.experiments.peers import worlds  # noqa: E402

# PyTorch's compiler warns of PyTorch's own use of what it deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script_method:DeprecationWarning"
)
# Kinds that compute what the plain one computes, rounding apart; and "compile".
SAME = ("foreach", "fused", "dense")


@pytest.fixture(autouse=True)
def _no_program_is_left():
    yield
    torch.compiler.reset()


def needs_a_compiler(kind):
    if kind == "compile":
        try:
            torch_steps.require_compiler()
        except RuntimeError as error:
            pytest.skip(str(error))


def losses(kind, rows, *, runs=3, **options):
    options = {
        "batch_size": 16,
        "dropout": 0.0,
        "initial": worlds.weights_of(),
        **options,
    }
    run = contestant(kind, rows, **options)
    return [run() for _ in range(runs)]


def numbered(count):
    """Rows whose user tells which row it is."""
    rows = worlds.rows_of(count)
    return rows._replace(user=np.arange(count), num_users=count)


def seen_in_batches(rows, batch_size, used, runs):
    """The rows of each run, batch by batch, of the tuned kinds."""
    batches = []

    def step(user, *_):
        batches.append(user.tolist())
        return torch.zeros(())

    draws = torch.Generator().manual_seed(0)
    run = torch_epochs.in_batches(step, rows, batch_size, used, draws)
    return record(run, batches, runs)


def seen_one_by_one(rows, batch_size, used, runs):
    """The same of the plain kind."""
    batches = []

    class Spy(torch.nn.Linear):
        def forward(self, user, *_):
            batches.append(user.tolist())
            return super().forward(user[:, None].float())[:, 0]

    draws, spy = torch.Generator().manual_seed(0), Spy(1, 1)
    optimizer = torch.optim.SGD(spy.parameters(), lr=0.0)
    run, _ = torch_epochs.one_by_one(spy, optimizer, rows, batch_size, used, draws)
    return record(run, batches, runs)


def record(run, batches, runs):
    seen = []
    for _ in range(runs):
        batches.clear()
        run()
        seen.append(list(batches))
    return seen


@pytest.mark.parametrize("seen", [seen_in_batches, seen_one_by_one])
def test_an_epoch_sees_each_row_once_and_keeps_the_short_batch(seen):
    epochs = seen(numbered(103), 10, 103, 2)
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [10] * 10 + [3]
        assert sorted(chain(*epoch)) == list(range(103))
    assert epochs[0] != epochs[1], "not reshuffled"


@pytest.mark.parametrize("seen", [seen_in_batches, seen_one_by_one])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_steps_are_full_batches_of_different_rows(seen, steps):
    one, two = seen(numbered(100), 10, steps * 10, 2)
    for run in (one, two):
        assert [len(batch) for batch in run] == [10] * steps
        assert len(set(chain(*run))) == steps * 10
    assert one != two


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_loss_is_that_of_the_weights_given(kind):
    """Nothing of the warm-up is left, and the loss is of rating / 5."""
    needs_a_compiler(kind)
    rows, weights = worlds.rows_of(32), worlds.weights_of()
    error = worlds.predicted_by_numpy(weights, rows) - rows.rating / 5
    options = {"batch_size": 32, "steps": 1, "initial": weights}
    first, second = losses(kind, rows, runs=2, **options)
    assert first == pytest.approx((error**2).mean(), rel=1e-5)
    assert second < first


def test_kinds_that_compute_the_same_agree():
    rows = worlds.rows_of(150)
    plain = losses("per_example", rows, runs=1)
    for kind in SAME:
        assert losses(kind, rows, runs=1) == pytest.approx(plain, rel=1e-5), kind
    # Controls: a tenth of the rate, another order, other tables.
    for kind, option in (
        ("fused", {"rate": 5e-5}),
        ("fused", {"seed": 1}),
        ("sparse", {}),
    ):
        other = losses(kind, rows, runs=1, **option)
        assert other != pytest.approx(plain, rel=1e-4), (kind, option)


def test_the_compiled_one_agrees_and_is_compiled_twice_only():
    needs_a_compiler("compile")
    rows = worlds.rows_of(150)  # 9 batches of 16 and one of 6
    expected = losses("fused", rows)
    counters = torch._dynamo.utils.counters
    counters.clear()
    run = contestant(
        "compile", rows, batch_size=16, dropout=0.0, initial=worlds.weights_of()
    )
    assert counters["stats"]["unique_graphs"] == 2, "full and short batches"
    assert [run() for _ in range(3)] == pytest.approx(expected, rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 2, "a run has compiled again"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "compile"])
def test_every_kind_learns_and_a_seed_repeats_it(kind):
    rows = worlds.rows_of(400)
    options = {"initial": None, "dropout": 0.3, "runs": 4, "rate": 5e-3}
    one = losses(kind, rows, **options)
    assert one[-1] < one[0] / 2
    assert losses(kind, rows, **options) == pytest.approx(one, rel=1e-6)
    assert losses(kind, rows, seed=1, **options) != pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("kind", ["per_example", "fused", "sparse"])
def test_what_is_given_is_not_written_to_and_may_be_read_only(kind):
    rows, weights = worlds.rows_of(64), worlds.weights_of()
    expected = losses(kind, rows, initial=weights)
    for name, value in worlds.weights_of().items():
        np.testing.assert_array_equal(weights[name], value)
    for array in (*rows[:5], *weights.values()):
        array.setflags(write=False)  # as JAX's are
    assert losses(kind, rows, initial=weights) == pytest.approx(expected, rel=1e-6)


def test_an_unknown_kind_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"No contestant 'jax'.*per_example.*dense"):
        contestant("jax", worlds.rows_of(8), batch_size=4)


@pytest.mark.parametrize("steps", [0, 3])
def test_steps_that_the_rows_do_not_hold_are_refused(steps):
    with pytest.raises(ValueError, match="cannot be drawn from 8"):
        contestant("fused", worlds.rows_of(8), batch_size=4, steps=steps)


def test_without_a_compiler_the_contestant_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"needs a C\+\+ compiler"):
        contestant("compile", worlds.rows_of(8), batch_size=4)


def test_a_compiler_that_fails_is_one_sentence_too(monkeypatch):
    needs_a_compiler("compile")

    class Failed(torch._dynamo.exc.BackendCompilerFailed):
        def __init__(self):  # its own arguments differ between releases
            RuntimeError.__init__(self, "a\nlong\ntale")

    def fails(*_):
        raise Failed

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    with pytest.raises(RuntimeError, match=r"C\+\+ compiler that works.*\.$") as raised:
        contestant("compile", worlds.rows_of(8), batch_size=4)
    assert "\n" not in str(raised.value)


def test_versions_name_what_times_depend_on():
    versions = torch_epochs.versions()
    assert versions["torch"] == torch.__version__
    assert versions["threads"] == torch.get_num_threads()
