"""What holds of every model of another library, and the spec's figures for it."""

import dataclasses
import sys

import numpy as np
import pytest

from experiments.peers.recommenders import (
    PEERS,
    RATING_MIN,
    Fitted,
    Peer,
    by_user,
    to_stars,
)
from ncf_jax import Config, prepare, split
from ncf_jax.errors import RunError
from ncf_jax.types import RATING_MAX
from tests.experiments.peers import recommended
from tests.experiments.peers.recommended import UNKNOWN_ITEM, UNKNOWN_USER, needs

STARS = [name for name, peer in PEERS.items() if peer.stars]
every_peer = pytest.mark.parametrize("name", PEERS)
# RMSE and MAE of the reference's test rows, from the specification of the experiment.
# One seed of SVD, SVD++ and myFM is some 0.002 from the next.
FIGURES = {
    "surprise-baseline": (0.8578, 0.6607),
    "surprise-svd": (0.8385, 0.6431),
    "surprise-knn": (0.8387, 0.6385),
    "surprise-svdpp": (0.8476, 0.6481),
    "myfm": (0.8374, 0.6380),
    "myfm-side": (0.8216, 0.6249),
    "myfm-flipped": (0.8192, 0.6227),
    "myfm-year": (0.8134, 0.6190),
}


@every_peer
def test_no_validation_or_test_row_is_seen(name):
    dataset, parts = recommended.world()
    before = recommended.rated(name)
    held_out = recommended.changed(np.concatenate([parts.valid, parts.test]))
    after = PEERS[name].fit(held_out, parts, 0).rate(*recommended.pairs())
    assert np.array_equal(before.ravel(), after)
    # The control: other stars in train rows are seen, by all who read stars.
    trained = recommended.changed(parts.train, stars_only=True)
    users = np.delete(np.arange(dataset.num_users), UNKNOWN_USER)
    seen = PEERS[name].fit(trained, parts, 0).catalogue(users)
    assert (np.abs(before[users] - seen).max() > 0.1) == PEERS[name].stars


@every_peer
def test_the_catalogue_holds_what_rate_says_of_every_pair(name):
    dataset, _ = recommended.world()
    users = np.arange(dataset.num_users)
    scores = recommended.fitted(name).catalogue(users)
    assert scores.shape == (dataset.num_users, dataset.num_items)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, recommended.rated(name), atol=2e-6)
    # The control: users or items in another order are far from it.
    assert np.abs(scores[::-1] - recommended.rated(name)).max() > 0.05
    assert np.abs(scores[:, ::-1] - recommended.rated(name)).max() > 0.05


@every_peer
def test_users_and_pairs_may_come_in_any_order_and_twice(name):
    fitted, expected = recommended.fitted(name), recommended.rated(name)
    user, item = np.array([5, 0, 5, UNKNOWN_USER, 5]), np.array([2, 9, 2, 3, 0])
    got = fitted.rate(user, item)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected[user, item], atol=2e-6)
    some = np.array([9, 2, 9])
    np.testing.assert_allclose(fitted.catalogue(some), expected[some], atol=2e-6)


@every_peer
def test_no_rows_give_no_scores(name):
    dataset, _ = recommended.world()
    none = np.zeros(0, np.int32)
    assert recommended.fitted(name).rate(none, none).shape == (0,)
    assert recommended.fitted(name).catalogue(none).shape == (0, dataset.num_items)


@every_peer
def test_the_same_seed_gives_the_same_bits(name):
    first = recommended.rated(name)
    again = PEERS[name].fit(*recommended.world(), 0).rate(*recommended.pairs())
    assert np.array_equal(again, first.ravel())
    other = recommended.rated(name, seed=1)
    same = np.array_equal(other, first)
    assert same is not PEERS[name].seeded


@every_peer
def test_stars_are_finite_and_on_the_scale(name):
    scores = recommended.rated(name)
    assert np.isfinite(scores).all()
    on_scale = scores.min() >= RATING_MIN and scores.max() <= RATING_MAX
    assert on_scale or not PEERS[name].stars
    assert np.ptp(scores) > 0.1  # not one number for all


@pytest.mark.parametrize("name", STARS)
def test_indices_are_ours_loved_items_are_found(name):
    # Without the right index of each item the correlation would be about zero.
    dataset, parts = recommended.world()
    train = dataset.interactions(parts.train)
    count = np.bincount(train.item, minlength=dataset.num_items)
    total = np.bincount(train.item, train.rating, minlength=dataset.num_items)
    known = np.flatnonzero(count > 5)
    mean = total[known] / count[known]
    scores = recommended.rated(name)[:, known].mean(axis=0)
    assert np.corrcoef(scores, mean)[0, 1] > 0.7
    assert abs(np.corrcoef(scores, np.roll(mean, 1))[0, 1]) < 0.7  # one item aside


@pytest.mark.parametrize("name", STARS)
def test_the_unknown_get_a_rating_that_train_could_give(name):
    dataset, parts = recommended.world()
    scores, train = recommended.rated(name), dataset.rating[parts.train]
    assert not np.isin(UNKNOWN_USER, dataset.user[parts.train])
    assert not np.isin(UNKNOWN_ITEM, dataset.item[parts.train])
    # myFM knows genres and tags of an item without raters, and draws what it does not.
    assert abs(scores[UNKNOWN_USER].mean() - train.mean()) < 1.2
    assert abs(scores[:, UNKNOWN_ITEM].mean() - train.mean()) < 1.2


def test_a_constant_helps_no_one_to_pass():
    # The controls above reject a peer that says the same of all.
    def rate(user, item):
        return to_stars(np.full(len(user), 3.0))

    constant = Fitted(rate, lambda user: to_stars(np.full((len(user), 30), 3.0)))
    scores = constant.rate(*recommended.pairs())
    assert np.ptp(scores) == 0
    assert constant.catalogue(np.arange(2)).shape == (2, 30)


@every_peer
def test_a_peer_says_what_it_is(name):
    peer = PEERS[name]
    assert isinstance(peer, Peer)
    assert peer.title.endswith(f"({peer.library})")
    assert peer.package in recommended.MODULES
    assert "=" in peer.settings
    assert name.split("-")[0] in peer.package + peer.library.lower()


def test_titles_are_told_apart():
    assert len({peer.title for peer in PEERS.values()}) == len(PEERS)
    assert [name for name, peer in PEERS.items() if not peer.stars] == ["cornac-bpr"]


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("surprise-svd", "surprise"),
        ("myfm", "myfm"),
        ("lenskit-bias", "lenskit"),
        ("cornac-mf", "cornac"),
    ],
)
def test_a_missing_library_is_one_sentence(name, module, monkeypatch):
    for loaded in list(sys.modules):
        if loaded.split(".")[0] == module:
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    adapter = PEERS[name].fit.args[0]
    monkeypatch.delitem(sys.modules, f"experiments.peers.{adapter}", raising=False)
    with pytest.raises(RunError) as error:
        PEERS[name].fit(*recommended.world(), 0)
    sentence = str(error.value)
    assert f"'{module}" in sentence
    assert PEERS[name].library in sentence
    assert sentence.endswith("pip install -e '.[peers]' brings it.")
    assert "\n" not in sentence


def test_a_mistake_of_ours_is_not_taken_for_a_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "experiments.peers.surprise", None)
    with pytest.raises(ModuleNotFoundError, match=r"experiments\.peers\.surprise"):
        PEERS["surprise-svd"].fit(*recommended.world(), 0)


def test_a_split_without_train_rows_is_one_sentence():
    dataset, parts = recommended.world()
    empty = dataclasses.replace(parts, train=parts.train[:0])
    with pytest.raises(RunError, match="wants rows to train on, but the split has no"):
        PEERS["myfm"].fit(dataset, empty, 0)


def test_stars_are_clipped_to_the_scale():
    assert to_stars(np.array([-3, 0.4, 2.25, 5.1])).tolist() == [0.5, 0.5, 2.25, 5]


def test_pairs_are_asked_for_user_by_user_and_put_back():
    asked = []

    def score(user, items):
        asked.append((user, items.tolist()))
        return 100 * user + items

    got = by_user(np.array([2, 0, 2]), np.array([7, 8, 9]), score)
    assert got.tolist() == [207, 8, 209]
    assert asked == [(0, [8]), (2, [7, 9])]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Makes the real data set and the reference's split, once."""
    made = []

    def make(folder):
        if not made:
            cache = str(tmp_path_factory.mktemp("cache"))
            config = Config(
                dataset="ml-latest-small", data_dir=str(folder), cache_dir=cache
            )
            dataset = prepare(config)
            made.extend([dataset, split(dataset, config)])
        return made

    return make


@pytest.mark.parametrize("name", FIGURES)
def test_a_peer_has_the_figures_of_the_specification(name, real, real_data_dir):
    needs(PEERS[name].package)
    dataset, parts = real(real_data_dir)
    test = dataset.interactions(parts.test)
    fitted = PEERS[name].fit(dataset, parts, 0)
    error = fitted.rate(test.user, test.item) - test.rating.astype(float)
    found = (np.sqrt(np.mean(error**2)), np.mean(np.abs(error)))
    assert found == pytest.approx(FIGURES[name], abs=0.003)
    # The control: predictions of the wrong users are as far off as a stranger's.
    wrong = fitted.rate(np.roll(test.user, 5_000), test.item) - test.rating
    assert np.sqrt(np.mean(wrong**2)) > FIGURES[name][0] + 0.03
