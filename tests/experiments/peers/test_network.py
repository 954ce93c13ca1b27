"""The peer's network is the reference's."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from experiments.peers.network import Network, Ratings  # noqa: E402 (needs torch)
from tests.experiments.peers import worlds  # noqa: E402


def test_it_has_the_references_number_of_parameters():
    network = Network(610, 2269, 20)
    tables = (610 + 2269) * 64
    towers = (20 + 1) * 32 + (32 + 1) * 16
    head = (176 + 1) * 128 + (128 + 1) * 64 + (64 + 1)
    counted = sum(weight.numel() for weight in network.parameters())
    assert counted == tables + towers + head == 216_433


def test_its_forward_pass_is_the_one_in_numpy():
    rows, weights = worlds.rows_of(50), worlds.weights_of()
    network = Network(worlds.USERS, worlds.ITEMS, worlds.GENRES, worlds.TAGS).eval()
    inputs = [
        torch.as_tensor(value)
        for value in (
            rows.user,
            rows.item,
            rows.genres[rows.item],
            rows.tags[rows.item],
        )
    ]
    network.load_state_dict({k: torch.as_tensor(v) for k, v in weights.items()})
    expected = worlds.predicted_by_numpy(weights, rows)
    np.testing.assert_allclose(network(*inputs).detach(), expected, atol=1e-5)
    other = worlds.predicted_by_numpy(worlds.weights_of(1), rows)
    assert np.abs(other - expected).max() > 1e-2


def test_factors_given_by_the_caller_replace_its_own_dropout():
    rows = worlds.rows_of(8)
    network = Network(worlds.USERS, worlds.ITEMS, worlds.GENRES, worlds.TAGS)
    inputs = [
        torch.as_tensor(value)
        for value in (
            rows.user,
            rows.item,
            rows.genres[rows.item],
            rows.tags[rows.item],
        )
    ]
    kept = torch.ones(8, 128), torch.ones(8, 64)
    trained = network.train()(*inputs, kept)
    assert torch.equal(trained, network.eval()(*inputs))
    dropped = network.train()(*inputs, (kept[0], 0 * kept[1]))
    assert torch.equal(dropped, network.output_layer.bias.expand(8))


def test_a_row_is_five_tensors_of_the_columns():
    columns = [3, 5], [7, 9], [[0, 1], [1, 0]], [[0.5], [0.25]], [0.8, 0.6]
    examples = Ratings(columns)
    assert len(examples) == 2
    user, item, genres, tags, rating = examples[1]
    assert (user.item(), item.item()) == (5, 9)
    assert genres.tolist() == [1, 0]
    assert tags.tolist() == [0.25]
    assert rating.item() == pytest.approx(0.6)
    assert user.dtype == torch.long
    assert rating.dtype == torch.float32
