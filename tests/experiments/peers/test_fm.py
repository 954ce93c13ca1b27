"""myFM: its feature blocks by hand, and its predictions from one whole matrix."""

import importlib.util
import sys

import numpy as np
import pytest
from scipy import sparse

from experiments.peers.recommenders import PEERS
from tests.experiments.peers import recommended

# Not importorskip of myfm, whose own import fails beside a new setuptools.
if importlib.util.find_spec("myfm") is None:
    pytest.skip("myfm is missing: pip install -e '.[peers]'", allow_module_level=True)
from experiments.peers import fm

FMS = [name for name, peer in PEERS.items() if peer.library == "myFM"]


def dense(side, name):
    return fm.blocks(*recommended.world())[side, name].toarray()


def trained_on():
    """Users by items: whether train has the pair."""
    dataset, parts = recommended.world()
    seen = np.zeros((dataset.num_users, dataset.num_items), bool)
    seen[dataset.user[parts.train], dataset.item[parts.train]] = True
    return seen


class TestBlocks:
    def test_ids_are_one_hot(self):
        assert np.array_equal(dense("user", "id"), np.eye(24))
        assert np.array_equal(dense("item", "id"), np.eye(30))

    def test_rated_and_raters_are_train_rows_over_a_root(self):
        seen = trained_on()
        for side, name, table in (("user", "rated", seen), ("item", "raters", seen.T)):
            counts = table.sum(axis=1, keepdims=True)
            expected = np.where(table, 1 / np.sqrt(np.maximum(counts, 1)), 0)
            np.testing.assert_allclose(dense(side, name), expected)
            assert (counts == 0).any()  # of the unknown: zeros, not NaN

    def test_genres_are_shared_out(self):
        dataset, _ = recommended.world()
        genres = dataset.features.genres
        assert np.array_equal(dense("item", "genres"), genres)
        shares = dense("item", "genre_shares")
        assert np.array_equal(shares > 0, genres > 0)
        some = genres.any(axis=1)
        np.testing.assert_allclose(shares.sum(axis=1), some)
        assert not some.all()

    def test_tags_are_the_data_sets(self):
        dataset, _ = recommended.world()
        np.testing.assert_allclose(dense("item", "tags"), dataset.features.tags)

    def test_a_year_is_a_column_and_none_is_one_too(self):
        years = dense("item", "year")
        assert years.shape == (30, 6)
        assert (years.sum(axis=1) == 1).all()
        assert years[:, 0].tolist() == [1] + [0] * 29  # the title without a year
        assert np.array_equal(years[1], years[6])  # (1991) both
        assert not np.array_equal(years[1], years[2])

    @pytest.mark.parametrize(
        ("title", "year"),
        [
            ("Heat (1995)", "1995"),
            ("Heat (1995) ", "1995"),
            ("2001: A Space Odyssey (1968)", "1968"),
            ("(500) Days of Summer (2009)", "2009"),
            ("Babylon 5", ""),
            ("1984 (film)", ""),
        ],
    )
    def test_the_year_stands_at_the_end(self, title, year):
        # Beside one title of the same year and one of another.
        table = fm._years((title, f"Other ({year})" if year else "Other", "A (1900)"))
        first, same, other = table.toarray()
        assert np.array_equal(first, same)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", FMS)
def test_rate_is_the_mean_of_the_samples_by_the_formula(name):
    # An oracle in NumPy: w0 + w x + sum over pairs of features <v_f, v_g> x_f x_g, of
    # each kept sample, on rows written out whole.
    dataset, parts = recommended.world()
    captured = []
    options = dict(PEERS[name].fit.args[3])
    options |= dict(n_iter=20, n_kept_samples=8, rank=3)

    class Spy(fm.myfm.MyFMRegressor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            captured.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fm.myfm, "MyFMRegressor", Spy)
        fitted = fm.fit(dataset, parts, 3, "MyFMRegressor", options)
    [model] = captured
    user, item = recommended.pairs()
    x = np.hstack(
        [dense("user", block)[user] for block in options["user"].split()]
        + [dense("item", block)[item] for block in options["item"].split()]
    )
    assert model.V_samples.shape == (8, x.shape[1], 3)
    total = np.zeros(len(user))
    for w0, w, v in zip(
        model.w0_samples, model.w_samples, model.V_samples, strict=True
    ):
        products = np.triu(v @ v.T, k=1)
        total += w0 + x @ w + np.einsum("nf,fg,ng->n", x, products, x)
    expected = np.clip(total / 8, 0.5, 5)
    np.testing.assert_allclose(fitted.rate(user, item), expected, atol=1e-5)
    catalogue = fitted.catalogue(np.arange(dataset.num_users)).ravel()
    np.testing.assert_allclose(catalogue, expected, atol=1e-5)
    linear = np.clip(np.mean(model.w0_samples) + x @ model.w_samples.mean(0), 0.5, 5)
    assert np.abs(linear - expected).max() > 0.05  # the products matter


def test_relation_blocks_are_the_rows_written_out():
    # The same chain on one plain matrix, as the library's first example has it.
    dataset, parts = recommended.world()
    train, options = dataset.interactions(parts.train), PEERS["myfm"].fit.args[3]
    eyes = np.eye(24), np.eye(30)
    x = np.hstack([eyes[0][train.user], eyes[1][train.item]])
    model = fm.myfm.MyFMRegressor(rank=options["rank"], random_seed=0)
    with fm.contextlib.redirect_stderr(fm.io.StringIO()):
        model.fit(
            sparse.csr_matrix(x),
            train.rating.astype(float),
            n_iter=200,
            n_kept_samples=150,
            group_shapes=[24, 30],
        )
    user, item = recommended.pairs()
    known = (user != recommended.UNKNOWN_USER) & (item != recommended.UNKNOWN_ITEM)
    x = np.hstack([eyes[0][user], eyes[1][item]])
    expected = np.clip(model.predict(sparse.csr_matrix(x)), 0.5, 5)
    # Other draws of one posterior: close, where users or items exchanged are far.
    found = recommended.rated("myfm").ravel()
    close = np.sqrt(np.mean((found - expected)[known] ** 2))
    far = np.sqrt(np.mean((np.roll(found, 30) - expected)[known] ** 2))
    assert close < 0.15
    assert far > 3 * close


def test_myfm_is_loaded_without_leaving_a_stand_in(monkeypatch):
    monkeypatch.delitem(sys.modules, "pkg_resources", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "myfm"]:
        if name != "myfm._myfm":  # an extension module is loaded once a process
            monkeypatch.delitem(sys.modules, name)
    assert fm._load().MyFMRegressor
    assert "pkg_resources" not in sys.modules


def test_a_real_pkg_resources_stays(monkeypatch):
    own = type(sys)("pkg_resources")
    monkeypatch.setitem(sys.modules, "pkg_resources", own)
    fm._load()
    assert sys.modules["pkg_resources"] is own


def test_no_bar_is_printed(capfd):
    PEERS["myfm"].fit(*recommended.world(), 0)
    out, err = capfd.readouterr()
    assert out + err == ""
