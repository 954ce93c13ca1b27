"""A step of each optimizer against its formula; dropout by random words."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from experiments.peers import torch_steps  # noqa: E402 (needs torch)
from experiments.peers.network import Network  # noqa: E402
from experiments.peers.torch_epochs import optimizers  # noqa: E402
from tests.experiments.peers import worlds  # noqa: E402

RATE, DECAY, B1, B2, EPS = 5e-4, 1e-5, 0.9, 0.999, 1e-8
TABLES = ("user_embedding.weight", "item_embedding.weight")


def loss_of(rows, weights, *, sparse=False):
    network = Network(
        worlds.USERS, worlds.ITEMS, worlds.GENRES, worlds.TAGS, sparse=sparse
    )
    network.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    return torch_steps.Loss(network, rows.genres, rows.tags)


def batches_of(rows, size, count):
    for start in range(0, size * count, size):
        part = slice(start, start + size)
        yield (
            torch.as_tensor(rows.user[part]),
            torch.as_tensor(rows.item[part]),
            torch.as_tensor(rows.rating[part]) / 5,
            *torch_steps.factors(size, 0.0, torch.Generator()),
        )


def gradients_at(weights, rows, batch):
    loss = loss_of(rows, {k: v.astype(np.float32) for k, v in weights.items()})
    loss(*batch).backward()
    return {k: p.grad.numpy() for k, p in loss.network.named_parameters()}


def by_formula(weights, rows, batches, *, sparse, decay=DECAY):
    """Adam with L2 in the gradient; `sparse`: tables by rows, as SparseAdam says."""
    weights = {k: v.astype(np.float64) for k, v in weights.items()}
    m = {k: np.zeros_like(v) for k, v in weights.items()}
    v = {k: np.zeros_like(value) for k, value in weights.items()}
    for t, batch in enumerate(batches, start=1):
        gradients = gradients_at(weights, rows, batch)
        for name, weight in weights.items():
            g, at = gradients[name], slice(None)
            if sparse and name in TABLES:
                at = np.unique(batch[TABLES.index(name)])
                g = g[at]
            else:
                g = g + decay * weight
            m[name][at] = B1 * m[name][at] + (1 - B1) * g
            v[name][at] = B2 * v[name][at] + (1 - B2) * g**2
            first, second = m[name][at] / (1 - B1**t), v[name][at] / (1 - B2**t)
            if sparse and name in TABLES:  # its epsilon comes before the correction
                root = np.sqrt(second) + EPS / np.sqrt(1 - B2**t)
            else:
                root = np.sqrt(second) + EPS
            weight[at] -= RATE * first / root
    return weights


def trained(kind, weights, rows, batches):
    loss = loss_of(rows, weights, sparse=kind == "sparse")
    step, _ = torch_steps.eager(loss, optimizers(kind, loss.network, RATE))
    for batch in batches:
        step(*batch)
    return {k: p.detach().numpy() for k, p in loss.network.named_parameters()}


def distance(one, other):
    return max(np.abs(one[name] - other[name]).max() for name in one)


@pytest.mark.parametrize("kind", ["foreach", "fused", "dense", "sparse"])
def test_three_steps_are_the_formulas(kind):
    rows, weights = worlds.rows_of(24), worlds.weights_of()
    batches = list(batches_of(rows, 8, 3))
    after = trained(kind, weights, rows, batches)
    expected = by_formula(weights, rows, batches, sparse=kind == "sparse")
    # Adam's first steps are ±rate, so that an error of a sign would be 1e-3.
    assert distance(after, expected) < 2e-6
    control = by_formula(weights, rows, batches, sparse=kind != "sparse")
    assert distance(after, control) > 1e-4


def test_sparse_leaves_rows_alone_that_no_batch_holds():
    rows, weights = worlds.rows_of(8), worlds.weights_of()
    after = trained("sparse", weights, rows, batches_of(rows, 8, 1))
    for name, index in zip(TABLES, (rows.user, rows.item), strict=True):
        moved = np.flatnonzero((after[name] != weights[name]).any(axis=1))
        assert moved.tolist() == np.unique(index).tolist()
    dense = trained("dense", weights, rows, batches_of(rows, 8, 1))
    assert (dense[TABLES[0]] != weights[TABLES[0]]).any(axis=1).all()


@pytest.mark.parametrize("kind", ["fused", "sparse"])
def test_what_forgot_its_warm_up_trains_as_what_had_none(kind):
    rows, weights = worlds.rows_of(16), worlds.weights_of()
    warm_up, batch = batches_of(rows, 8, 2)
    loss = loss_of(rows, weights, sparse=kind == "sparse")
    step, forget = torch_steps.eager(loss, optimizers(kind, loss.network, RATE))
    step(*warm_up)
    initial = {k: torch.tensor(v) for k, v in weights.items()}
    loss.network.load_state_dict(initial)
    forget()
    step(*batch)
    after = {k: p.detach().numpy() for k, p in loss.network.named_parameters()}
    assert distance(after, trained(kind, weights, rows, [batch])) == 0
    loss.network.load_state_dict(initial)
    step(*batch)  # moments kept: another step
    remembered = {k: p.detach().numpy() for k, p in loss.network.named_parameters()}
    assert distance(remembered, trained(kind, weights, rows, [batch])) > 0


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.05])
def test_units_are_dropped_at_their_rate(rate):
    first, second = torch_steps.factors(2000, rate, torch.Generator().manual_seed(0))
    assert first.shape == (2000, 128)
    assert second.shape == (2000, 64)
    for drawn in (first, second):
        assert drawn.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
        # Six standard deviations, in all and in each quarter of the drawn words.
        for part in (drawn, *(drawn.flatten()[lane::4] for lane in range(4))):
            share = (part == 0).double().mean().item()
            assert abs(share - rate) < 6 * (rate * (1 - rate) / part.numel()) ** 0.5


def test_draws_of_dropout_follow_the_generator():
    one, two, other = (
        torch_steps.factors(4, 0.3, torch.Generator().manual_seed(seed))[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_without_dropout_nothing_is_drawn():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    for drawn in torch_steps.factors(3, 0.0, generator):
        assert (drawn == 1).all()
    assert torch.equal(generator.get_state(), before)


def test_no_compiler_is_one_clear_sentence(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"needs a C\+\+ compiler.*no-such-compil"):
        torch_steps.require_compiler()
