"""Evaluation gives the figures that a slow, independent one gives: predictions are the
model's own in stars, whatever the block; every metric equals pandas and scikit-learn
on each user and in total (R4), the interval a plain bootstrap; users left out are
counted (R8); what cannot be evaluated is one clear error."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import ncf_jax
from ncf_jax import (
    Bias,
    RunError,
    evaluate,
    evaluate_scores,
    predict,
    score_catalogue,
)
from ncf_jax.catalogue import scorer
from ncf_jax.evaluate import mean_loss
from ncf_jax.losses import huber, mae, mse
from ncf_jax.metrics import CONVENTIONS, DEFINITIONS, ranking, summary
from tests.metrics.oracles import by_loop

SEEDS = 2
RATING = ["rmse", "mae", "r2"]
# The reference experiment's reading of its three ranking metrics.
REFERENCE = {
    name: CONVENTIONS["reference"][name] for name in ("precision", "ndcg", "recall")
}


def small_ncf(dataset):
    return ncf_jax.NCF(
        num_users=dataset.num_users,
        num_items=dataset.num_items,
        num_genres=dataset.features.genres.shape[1],
        num_tags=dataset.features.tags.shape[1],
        embedding_dim=4,
        genre_dim=3,
        tag_dim=2,
        fc1_dim=32,  # wide enough that no two predictions are tied
        fc2_dim=16,
    )


def first_params(model, dataset, seeds=SEEDS):
    """Parameters as a new model has them: [seeds, ...]."""
    zero = jnp.zeros(1, jnp.int32)
    features = jax.tree.map(lambda x: jnp.asarray(x[:1]), dataset.features)
    keys = jax.random.split(jax.random.key(0), seeds)
    return jax.vmap(lambda key: model.init(key, zero, zero, features)["params"])(keys)


def bias_params(dataset, *, mean=0.7, users=0.0, items=0.0):
    """Hand-set biases of one seed: [1, ...], as rating / 5."""
    return {
        "mean": jnp.full(1, mean),
        "user_bias": jnp.broadcast_to(users, (1, dataset.num_users)),
        "item_bias": jnp.broadcast_to(items, (1, dataset.num_items)),
    }


def one_seed(params, seed=0):
    return jax.tree.map(lambda x: x[seed], params)


@pytest.fixture(scope="module")
def ncf(tiny_dataset):
    return small_ncf(tiny_dataset)


@pytest.fixture(scope="module")
def params(ncf, tiny_dataset):
    return first_params(ncf, tiny_dataset)


@pytest.fixture(scope="module")
def bias(tiny_dataset):
    return Bias(num_users=tiny_dataset.num_users, num_items=tiny_dataset.num_items)


@pytest.fixture(scope="module")
def evaluation(ncf, params, tiny_dataset, tiny_split):
    return by_reference(ncf, params, tiny_dataset, tiny_split.test)


def by_reference(model, params, dataset, rows, **how):
    """Only the reference experiment's metrics: fewer compile faster."""
    return evaluate(model, params, dataset, rows, ranking=REFERENCE, **how)


class TestPredict:
    def test_each_value_is_the_models_own_times_five(self, ncf, params, tiny_dataset):
        user, item = tiny_dataset.user[:9], tiny_dataset.item[:9]
        out = predict(ncf, params, user, item, tiny_dataset.features)
        assert out.shape == (SEEDS, 9)
        assert out.dtype == np.float32
        for seed in range(SEEDS):
            for row in range(9):
                direct = ncf.apply(
                    {"params": one_seed(params, seed)},
                    user[row],
                    item[row],
                    tiny_dataset.features.rows(item[row]),
                )
                np.testing.assert_allclose(out[seed, row], 5 * direct, rtol=1e-5)
        assert len(np.unique(out)) == out.size, "rows and seeds must differ"

    @pytest.mark.parametrize("block", [1, 7, 100, 101])
    def test_the_block_changes_no_value(
        self, ncf, params, tiny_dataset, tiny_split, block
    ):
        rows = tiny_split.test[:100]
        args = tiny_dataset.user[rows], tiny_dataset.item[rows], tiny_dataset.features
        whole = predict(ncf, params, *args)
        np.testing.assert_allclose(
            predict(ncf, params, *args, block=block), whole, rtol=1e-5, atol=1e-6
        )

    def test_a_row_does_not_depend_on_its_neighbours(self, ncf, params, tiny_dataset):
        user, item = tiny_dataset.user[:20], tiny_dataset.item[:20].copy()
        before = predict(ncf, params, user, item, tiny_dataset.features)
        item[3] = (item[3] + 1) % tiny_dataset.num_items
        after = predict(ncf, params, user, item, tiny_dataset.features)
        changed = (before != after).any(axis=0)
        assert np.flatnonzero(changed).tolist() == [3]

    def test_predictions_are_not_clipped(self, bias, tiny_dataset):
        for mean in (1.5, -0.5):
            params = bias_params(tiny_dataset, mean=mean)
            zero = np.zeros(1, np.int32)
            out = predict(bias, params, zero, zero, tiny_dataset.features)
            np.testing.assert_allclose(out, [[5 * mean]])

    def test_no_rows_give_no_predictions(self, ncf, params, tiny_dataset):
        nothing = np.zeros(0, np.int32)
        out = predict(ncf, params, nothing, nothing, tiny_dataset.features)
        assert out.shape == (SEEDS, 0)


class TestScoreCatalogue:
    def test_it_equals_predict_on_every_pair(self, ncf, params, tiny_dataset):
        users, items = np.array([3, 0, 17]), np.arange(tiny_dataset.num_items)
        pairs = np.repeat(users, len(items)), np.tile(items, len(users))
        features = jax.tree.map(jnp.asarray, tiny_dataset.features)
        out = score_catalogue(ncf, params, jnp.asarray(users), features)
        assert out.shape == (SEEDS, 3, len(items))
        expected = predict(ncf, params, *pairs, tiny_dataset.features)
        np.testing.assert_allclose(
            out, expected.reshape(out.shape), rtol=1e-5, atol=1e-6
        )
        assert (out[:, 0] != out[:, 1]).any(), "users must differ"


class TestMeanLoss:
    @pytest.mark.parametrize("loss", [mse, mae, huber])
    @pytest.mark.parametrize("block", [16, 8192])
    def test_it_is_the_mean_over_rows_of_the_loss_on_ratings_over_five(
        self, ncf, params, tiny_dataset, tiny_split, loss, block
    ):
        data = tiny_dataset.interactions(tiny_split.valid)
        assert len(data.user) % 16, "the last block must be a short one"
        prediction = predict(ncf, params, data.user, data.item, data.features)[1] / 5
        error = np.abs(prediction - data.rating / 5)
        by_hand = {
            mse: error**2,
            mae: error,
            huber: np.where(error < 0.2, error**2 / 2, 0.2 * (error - 0.1)),
        }[loss]
        out = mean_loss(ncf, loss, one_seed(params, 1), data, block=block)
        assert out.shape == ()
        np.testing.assert_allclose(out, by_hand.mean(), rtol=1e-5)
        assert not np.isclose(by_hand[:16].mean(), by_hand.mean(), rtol=1e-3)

    def test_no_rows_give_nan(self, ncf, params, tiny_dataset):
        data = tiny_dataset.interactions(np.zeros(0, np.int64))
        assert np.isnan(mean_loss(ncf, mse, one_seed(params), data))


def slow_table(model, params, dataset, rows, seed):
    """One line per interaction: user, rating, prediction in stars."""
    prediction = predict(
        model, params, dataset.user[rows], dataset.item[rows], dataset.features
    )
    assert len(np.unique(prediction[seed])) == len(rows), "ties need another oracle"
    return pd.DataFrame(
        {
            "user": dataset.user[rows],
            "rating": dataset.rating[rows].astype(float),
            "prediction": prediction[seed].astype(float),
        }
    )


def slow_user(lines, k, threshold):
    """The reference's figures of one user, on the user's rated rows."""
    truth, prediction = lines["rating"].to_numpy(), lines["prediction"].to_numpy()
    ordered = lines.sort_values("prediction", ascending=False)
    hits = [float(stars >= threshold) for stars in ordered["rating"]]
    dcg = sum(hit / np.log2(n + 1) for n, hit in enumerate(hits[:k], 1))
    best = sorted(hits[:k], reverse=True)
    ideal = sum(hit / np.log2(n + 1) for n, hit in enumerate(best, 1))
    first = hits.index(1) + 1 if sum(hits) else np.nan
    at_hits = [sum(hits[:n]) / n for n, hit in enumerate(hits[:k], 1) if hit]
    return pd.Series(
        {
            "rmse": mean_squared_error(truth, prediction) ** 0.5,
            "mae": mean_absolute_error(truth, prediction),
            "r2": r2_score(truth, prediction) if truth.std() else np.nan,
            f"precision@{k}": sum(hits[:k]) / k,
            f"ndcg@{k}": dcg / ideal if ideal else 0.0,
            f"recall@{k}": sum(hits[:k]) / sum(hits) if sum(hits) else np.nan,
            f"hit_rate@{k}": float(first <= k) if sum(hits) else np.nan,
            f"mrr@{k}": (first <= k) / first if sum(hits) else np.nan,
            f"map@{k}": sum(at_hits) / sum(hits) if sum(hits) else np.nan,
            f"tied_cutoffs@{k}": 0.0,
        }
    )


def slow_evaluation(model, params, dataset, rows, k=10, threshold=4.0):
    """(figures by name and seed, per-user values by name and seed)."""
    figures, users = [], []
    for seed in range(len(jax.tree.leaves(params)[0])):
        table = slow_table(model, params, dataset, rows, seed)
        lines = [slow_user(group, k, threshold) for _, group in table.groupby("user")]
        per_user = pd.DataFrame(lines)
        truth, prediction = table["rating"], table["prediction"]
        total = per_user.mean()  # pandas leaves NaN out
        total["rmse"] = mean_squared_error(truth, prediction) ** 0.5
        total["mae"] = mean_absolute_error(truth, prediction)
        total["r2"] = r2_score(truth, prediction)
        figures.append(total)
        users.append(per_user)
    return figures, users


def draws(users):
    """How often each resample drew each user: [B, U]."""
    return summary.bootstrap(np.eye(users)[None])[:, 0]


class TestEvaluate:
    @pytest.mark.parametrize(("k", "threshold"), [(10, 4.0), (2, 3.5)])
    def test_every_figure_equals_a_slow_evaluation(
        self, ncf, params, tiny_dataset, tiny_split, k, threshold
    ):
        out = evaluate(
            ncf,
            params,
            tiny_dataset,
            tiny_split.test,
            metrics="reference",
            k=k,
            threshold=threshold,
        )
        figures, users = slow_evaluation(
            ncf, params, tiny_dataset, tiny_split.test, k, threshold
        )
        # Novelty and popularity want train rows, which are not given.
        assert set(out.metrics) == set(out.per_user) == set(figures[0].index)
        for name, found in out.metrics.items():
            expected = [each[name] for each in figures]
            np.testing.assert_allclose(found.values, expected, rtol=1e-5, err_msg=name)
            np.testing.assert_allclose(found.mean, np.mean(expected), rtol=1e-5)
            sd = np.std(expected, ddof=1)
            np.testing.assert_allclose(found.sd, sd, rtol=1e-3, atol=1e-6)
            for seed in range(SEEDS):
                np.testing.assert_allclose(
                    out.per_user[name][seed],
                    users[seed][name],
                    rtol=1e-4,
                    atol=1e-5,
                    err_msg=f"{name}, seed {seed}",
                )

    def test_other_rows_another_cut_off_or_threshold_give_other_figures(
        self, ncf, params, tiny_dataset, tiny_split, evaluation
    ):
        def figure(rows=tiny_split.test, name="precision@10", **options):
            out = by_reference(ncf, params, tiny_dataset, rows, **options)
            return out.metrics[name].mean

        plain = evaluation.metrics["precision@10"].mean
        assert figure() == plain
        assert figure(rows=tiny_split.valid) != plain
        assert figure(name="precision@2", k=2) != plain
        assert figure(threshold=3.0) > plain

    def test_users_are_those_with_rows_and_rows_are_counted(
        self, ncf, params, tiny_dataset
    ):
        chosen = np.flatnonzero(np.isin(tiny_dataset.user, [4, 9, 30]))[:-2]
        out = by_reference(ncf, params, tiny_dataset, chosen)
        users, counts = np.unique(tiny_dataset.user[chosen], return_counts=True)
        assert out.user.tolist() == users.tolist()
        assert out.rows.tolist() == counts.tolist()
        assert all(v.shape == (SEEDS, len(users)) for v in out.per_user.values())
        assert out.metrics["rmse"].n_used == len(chosen)
        assert out.metrics["ndcg@10"].n_used == len(users)

    def test_the_order_of_the_rows_changes_nothing(
        self, ncf, params, tiny_dataset, tiny_split, evaluation
    ):
        mixed = np.random.default_rng(0).permutation(tiny_split.test)
        out = by_reference(ncf, params, tiny_dataset, mixed)
        for name, found in out.metrics.items():
            expected = evaluation.metrics[name]
            np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)
            np.testing.assert_allclose(
                out.per_user[name], evaluation.per_user[name], rtol=1e-4, atol=1e-5
            )

    def test_a_seed_has_the_same_figures_alone(
        self, ncf, params, tiny_dataset, tiny_split, evaluation
    ):
        second = jax.tree.map(lambda x: x[1:], params)
        out = by_reference(ncf, second, tiny_dataset, tiny_split.test)
        for name, found in out.metrics.items():
            assert found.sd is None
            np.testing.assert_allclose(
                found.mean, evaluation.metrics[name].values[1], rtol=1e-5
            )

    def test_the_interval_of_a_ranking_metric_is_a_bootstrap_of_users_values(
        self, evaluation
    ):
        counts = draws(len(evaluation.user))
        for name in ("precision@10", "ndcg@10", "recall@10"):
            values = evaluation.per_user[name]
            some = ~np.isnan(values[0])
            drawn = (
                counts[:, some] @ values[:, some].T / counts[:, some].sum(1)[:, None]
            )
            expected = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
            np.testing.assert_allclose(
                evaluation.metrics[name].ci95, expected, rtol=1e-5
            )

    def test_the_interval_of_rmse_adds_squares_over_drawn_users_before_the_root(
        self, evaluation
    ):
        counts = draws(len(evaluation.user))
        squares = evaluation.per_user["rmse"] ** 2 * evaluation.rows
        drawn = (counts @ squares.T / (counts @ evaluation.rows)[:, None]) ** 0.5
        expected = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
        np.testing.assert_allclose(evaluation.metrics["rmse"].ci95, expected, rtol=1e-5)

    def test_a_definition_says_cut_off_and_threshold_in_words(
        self, ncf, params, tiny_dataset, tiny_split
    ):
        out = evaluate(
            ncf,
            params,
            tiny_dataset,
            tiny_split.test,
            metrics="reference",
            k=2,
            threshold=3.5,
        )
        for name, found in out.metrics.items():
            assert "{" not in found.definition
            if name in RATING:
                words = DEFINITIONS[name].format(clipped="not clipped")
                assert found.definition == words
            elif name != "tied_cutoffs@2":
                assert "3.5 stars" in found.definition
                assert "ties by expectation" in found.definition
        assert "first 2" in out.metrics["precision@2"].definition

    def test_json_of_the_figures_is_strict_json(self, evaluation):
        for found in evaluation.metrics.values():
            text = json.dumps(summary.to_json(found), allow_nan=False)
            assert json.loads(text)["mean"] == found.mean


class TestLeftOut:
    def test_users_without_a_relevant_item_are_counted(
        self, ncf, params, tiny_dataset, tiny_split
    ):
        out = by_reference(ncf, params, tiny_dataset, tiny_split.test, threshold=5.0)
        rated = pd.Series(tiny_dataset.rating[tiny_split.test])
        best = rated.groupby(tiny_dataset.user[tiny_split.test]).max()
        without = int((best < 5).sum())
        assert without > 0, "the tiny world must have such users"
        recall, ndcg = out.metrics["recall@10"], out.metrics["ndcg@10"]
        assert (recall.n_used, recall.n_left_out) == (len(best) - without, without)
        assert (ndcg.n_used, ndcg.n_left_out) == (len(best), 0)
        left_out = np.isnan(out.per_user["recall@10"])
        assert (left_out == (best < 5).to_numpy()).all()
        # The standard NDCG leaves them out as well.
        out = evaluate(
            ncf,
            params,
            tiny_dataset,
            tiny_split.test,
            threshold=5.0,
            ranking={"ndcg": ranking.ndcg},
        )
        ndcg = out.metrics["ndcg@10"]
        assert (ndcg.n_used, ndcg.n_left_out) == (len(best) - without, without)

    def test_a_metric_that_nobody_has_is_nan_counted_and_null_in_json(
        self, ncf, params, tiny_dataset, tiny_split
    ):
        # No rating reaches 5.5 stars; and no warning may reach the reader.
        out = by_reference(ncf, params, tiny_dataset, tiny_split.test, threshold=5.5)
        recall = out.metrics["recall@10"]
        assert np.isnan(recall.mean)
        assert (recall.n_used, recall.n_left_out) == (0, len(out.user))
        text = json.dumps(summary.to_json(recall), allow_nan=False)
        assert json.loads(text)["mean"] is None
        assert out.metrics["precision@10"].mean == 0

    def test_a_single_row_has_no_r2_and_all_other_figures(
        self, ncf, params, tiny_dataset
    ):
        out = by_reference(ncf, params, tiny_dataset, np.array([5]))
        r2 = out.metrics["r2"]
        assert np.isnan(r2.mean), f"R² of one row is not defined, found {r2.mean}"
        text = json.dumps(summary.to_json(r2), allow_nan=False)
        assert json.loads(text)["ci95"] == [None, None]
        prediction = predict(
            ncf,
            params,
            tiny_dataset.user[[5]],
            tiny_dataset.item[[5]],
            tiny_dataset.features,
        )[:, 0]
        error = np.abs(prediction - tiny_dataset.rating[5])
        np.testing.assert_allclose(out.metrics["mae"].values, error, rtol=1e-5)

    def test_r2_of_a_user_whose_ratings_are_all_equal_is_nan(
        self, ncf, params, tiny_dataset
    ):
        user, rating = tiny_dataset.user, tiny_dataset.rating
        stars = np.bincount((2 * rating[user == 0]).astype(int)).argmax() / 2
        equal = np.flatnonzero((user == 0) & (rating == stars))
        assert len(equal) > 1
        out = by_reference(
            ncf, params, tiny_dataset, np.append(equal, np.flatnonzero(user == 1))
        )
        found = out.per_user["r2"]
        assert np.isnan(found[:, 0]).all(), f"not defined, found {found[:, 0]}"
        assert np.isfinite(found[:, 1]).all()


class TestKnownAnswers:
    def test_a_constant_scorer_gets_chance_and_not_more(
        self, bias, tiny_dataset, tiny_split
    ):
        rows = tiny_split.test
        out = by_reference(bias, bias_params(tiny_dataset), tiny_dataset, rows, k=2)
        relevant = pd.Series(tiny_dataset.rating[rows] >= 4)
        share = relevant.groupby(tiny_dataset.user[rows]).mean().to_numpy()
        assert (out.rows >= 2).all()
        # Every pair of places is a random draw of two: hits / 2 = the user's share.
        np.testing.assert_allclose(out.per_user["precision@2"][0], share, atol=1e-6)
        recall = (2 / out.rows)[share > 0]
        found = out.per_user["recall@2"][0][share > 0]
        np.testing.assert_allclose(found, recall, atol=1e-6)

    def test_the_truth_as_prediction_is_perfect(self, bias, tiny_dataset, tiny_split):
        # One row a user, and the user's bias is that very rating.
        user = tiny_dataset.user[tiny_split.test]
        rows = tiny_split.test[np.unique(user, return_index=True)[1]]
        users = np.zeros(tiny_dataset.num_users, np.float32)
        users[tiny_dataset.user[rows]] = tiny_dataset.rating[rows] / 5
        params = bias_params(tiny_dataset, mean=0.0, users=jnp.asarray(users))
        out = by_reference(bias, params, tiny_dataset, rows).metrics
        assert out["rmse"].mean == pytest.approx(0, abs=1e-6)
        assert out["r2"].mean == pytest.approx(1)
        assert out["recall@10"].mean == 1
        relevant = (tiny_dataset.rating[rows] >= 4).mean()
        assert out["precision@10"].mean == pytest.approx(relevant / 10)
        assert out["ndcg@10"].mean == pytest.approx(relevant)
        standard = {"ndcg": ranking.ndcg}
        out = evaluate(bias, params, tiny_dataset, rows, ranking=standard).metrics
        assert out["ndcg@10"].mean == 1, "users without a relevant row are left out"

    def test_a_constant_error_is_the_rmse_and_the_mae(
        self, bias, tiny_dataset, tiny_split
    ):
        rows = tiny_split.test
        mean = float(tiny_dataset.rating[rows].mean(dtype=np.float64))
        out = by_reference(
            bias, bias_params(tiny_dataset, mean=mean / 5), tiny_dataset, rows
        ).metrics
        assert out["rmse"].mean == pytest.approx(tiny_dataset.rating[rows].std(), 1e-5)
        assert out["r2"].mean == pytest.approx(0, abs=1e-5)


def slow_catalogue(model, params, dataset, split, reading, k, threshold=4.0):
    """A metric's values [R, U'], each user's unseen items scored by `predict`."""
    users = np.unique(dataset.user[split.test])
    found = np.zeros((SEEDS, len(users)))
    rated = dict(
        zip(
            zip(dataset.user[split.test], dataset.item[split.test], strict=True),
            dataset.rating[split.test],
            strict=True,
        )
    )
    for place, user in enumerate(users):
        seen = dataset.item[split.train[dataset.user[split.train] == user]]
        items = np.setdiff1d(np.arange(dataset.num_items), seen)
        scores = predict(
            model, params, np.full(len(items), user), items, dataset.features, block=64
        )
        for seed in range(SEEDS):
            order = items[np.argsort(-scores[seed])]
            hits = [float(rated.get((user, item), 0) >= threshold) for item in order]
            found[seed, place] = by_loop(reading, hits, k)
    return found


class TestCatalogue:
    @pytest.fixture
    def found(self, ncf, params, tiny_dataset, tiny_split):
        return evaluate(
            ncf,
            params,
            tiny_dataset,
            tiny_split.test,
            train=tiny_split.train,
            candidates="catalogue",
            metrics="lenskit",
            k=(5, 2),
        )

    def test_all_unseen_items_are_ranked_by_the_models_own_scores(
        self, ncf, params, tiny_dataset, tiny_split, found
    ):
        for name in ("precision", "ndcg", "recall", "map"):
            expected = slow_catalogue(
                ncf, params, tiny_dataset, tiny_split, f"lenskit/{name}", 5
            )
            np.testing.assert_allclose(
                found.per_user[f"{name}@5"], expected, atol=1e-5, err_msg=name
            )
        assert 0 < found.metrics["coverage@2"].mean < found.metrics["coverage@5"].mean

    def test_rating_metrics_are_those_of_the_rows_all_the_same(self, evaluation, found):
        for name in RATING:
            assert found.metrics[name].values == evaluation.metrics[name].values
        np.testing.assert_array_equal(found.prediction, evaluation.prediction)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_convention_is_handed_on_and_told(
    ncf, params, tiny_dataset, tiny_split, convention
):
    out = evaluate(ncf, params, tiny_dataset, tiny_split.test, k=2, metrics=convention)
    metric = CONVENTIONS[convention]["ndcg"]
    assert out.metrics["ndcg@2"].convention == convention
    assert out.metrics["ndcg@2"].definition.startswith(metric.definition.format(k=2))


def hit_at_one(scores, relevance, *, where, k):
    """A metric of the reader's own: whether the best-scored candidate is relevant."""
    best = jnp.argmax(jnp.where(where, scores, -jnp.inf), axis=-1, keepdims=True)
    hit = jnp.take_along_axis(relevance, best, axis=-1)[..., 0]
    return jnp.where(where.any(axis=-1), hit, jnp.nan)


class TestOwnMetric:
    def test_it_is_computed_per_user_and_in_the_mean(
        self, ncf, params, tiny_dataset, tiny_split, evaluation
    ):
        out = evaluate(
            ncf,
            params,
            tiny_dataset,
            tiny_split.test,
            k=1,
            ranking=REFERENCE | {"hit": hit_at_one},
        )
        assert "hit@1" in out.metrics
        np.testing.assert_allclose(
            out.per_user["hit@1"], out.per_user["precision@1"], atol=1e-6
        )
        assert out.metrics["hit@1"].values == out.metrics["precision@1"].values
        assert out.metrics["hit@1"].n_used == len(out.user)
        assert out.metrics["hit@1"].definition.startswith(
            hit_at_one.__doc__.splitlines()[0].rstrip(".")
        )

    def test_it_may_be_the_only_one(self, ncf, params, tiny_dataset, tiny_split):
        out = evaluate(
            ncf,
            params,
            tiny_dataset,
            tiny_split.test,
            ranking={"order": ranking.ndcg},
        )
        assert list(out.metrics) == [*RATING, "order@10"]

    def test_users_for_whom_it_is_nan_are_left_out_and_counted(
        self, ncf, params, tiny_dataset, tiny_split
    ):
        def long_lists(scores, relevance, *, where, k):
            length = where.sum(axis=-1)
            return jnp.where(length > 3, 1.0 * length, jnp.nan)

        out = evaluate(
            ncf,
            params,
            tiny_dataset,
            tiny_split.test,
            ranking={"length": long_lists},
        )
        found, long = out.metrics["length@10"], out.rows > 3
        assert 0 < long.sum() < len(out.rows), "both kinds of users are needed"
        assert (found.n_used, found.n_left_out) == (long.sum(), (~long).sum())
        assert found.mean == pytest.approx(out.rows[long].mean())


class TestErrors:
    def test_no_rows_are_an_error(self, ncf, params, tiny_dataset):
        with pytest.raises(RunError, match="no rows to evaluate"):
            evaluate(ncf, params, tiny_dataset, np.zeros(0, np.int64))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_prediction_that_is_no_number_is_an_error_that_counts_them(
        self, bias, tiny_dataset, tiny_split, value
    ):
        rows = tiny_split.test
        users = jnp.zeros(tiny_dataset.num_users).at[2].set(value)
        params = bias_params(tiny_dataset, users=users)
        bad = int((tiny_dataset.user[rows] == 2).sum())
        assert bad > 0
        with pytest.raises(RunError, match=rf"^{bad} of {len(rows)} predictions"):
            evaluate(bias, params, tiny_dataset, rows)
        # Control: without that user's rows there is nothing wrong.
        others = rows[tiny_dataset.user[rows] != 2]
        assert by_reference(bias, params, tiny_dataset, others).metrics["rmse"].mean > 0


ENSEMBLES, MEMBERS = 2, 3


@pytest.fixture(scope="module")
def members(ncf, tiny_dataset):
    return first_params(ncf, tiny_dataset, ENSEMBLES * MEMBERS)


@pytest.fixture(scope="module")
def each(ncf, members, tiny_dataset, tiny_split):
    data = tiny_dataset.interactions(tiny_split.test)
    averaged = predict(ncf, members, data.user, data.item, data.features)
    return averaged.astype(np.float64).reshape(ENSEMBLES, MEMBERS, -1)


@pytest.fixture(scope="module")
def averaged(ncf, members, tiny_dataset, tiny_split):
    return evaluate(ncf, members, tiny_dataset, tiny_split.test, ensemble=MEMBERS)


class TestEnsemble:
    """Each M parameters are one model, whose predictions are their mean."""

    def test_a_prediction_is_the_mean_of_consecutive_members(self, averaged, each):
        assert averaged.prediction.shape == (ENSEMBLES, each.shape[-1])
        np.testing.assert_allclose(averaged.prediction, each.mean(axis=1), rtol=1e-5)
        other = each.reshape(MEMBERS, ENSEMBLES, -1).mean(axis=0)
        assert not np.allclose(averaged.prediction, other, rtol=1e-5), "control"

    def test_figures_are_those_of_the_means(
        self, averaged, each, tiny_dataset, tiny_split
    ):
        error = each.mean(axis=1) - tiny_dataset.rating[tiny_split.test]
        wanted = np.sqrt((error**2).mean(axis=1))
        np.testing.assert_allclose(averaged.metrics["rmse"].values, wanted, rtol=1e-5)
        alone = each - tiny_dataset.rating[tiny_split.test]
        means = np.sqrt((alone**2).mean(axis=2)).mean(axis=1)
        assert (wanted < means).all(), "the mean is better than its members (control)"

    def test_the_spread_is_the_standard_deviation_of_a_sample(self, averaged, each):
        np.testing.assert_allclose(
            averaged.spread, each.std(axis=1, ddof=1), rtol=1e-3, atol=1e-5
        )
        assert not np.allclose(averaged.spread, each.std(axis=1), rtol=1e-2), "control"

    def test_one_model_has_no_spread(self, evaluation, ncf, params, tiny_dataset):
        assert evaluation.spread is None
        alone = evaluate(ncf, params, tiny_dataset, np.arange(99), ensemble=1)
        assert alone.spread is None
        np.testing.assert_array_equal(
            alone.prediction,
            evaluate(ncf, params, tiny_dataset, np.arange(99)).prediction,
        )

    def test_a_catalogue_is_ranked_by_the_means_too(self, ncf, members, tiny_dataset):
        user = jnp.arange(5)
        alone = np.asarray(score_catalogue(ncf, members, user, tiny_dataset.features))
        score = scorer(ncf, members, tiny_dataset.features, ensemble=MEMBERS)
        wanted = alone.reshape(ENSEMBLES, MEMBERS, *alone.shape[1:]).mean(axis=1)
        np.testing.assert_allclose(score(user), wanted, rtol=1e-5)
        single = scorer(ncf, members, tiny_dataset.features)(user)
        np.testing.assert_array_equal(single, alone)


@pytest.fixture(scope="module")
def extreme(bias, tiny_dataset):
    """Biases so large that most predictions are off the scale, none tied."""
    users = jnp.linspace(-1.0, 1.0, tiny_dataset.num_users)
    items = jnp.linspace(-0.9, 0.9, tiny_dataset.num_items)
    return bias_params(tiny_dataset, users=users, items=items)


@pytest.fixture(scope="module")
def both(bias, extreme, tiny_dataset, tiny_split):
    arguments = bias, extreme, tiny_dataset, tiny_split.test
    return [evaluate(*arguments, clip=clip) for clip in (False, True)]


class TestClip:
    """`clip=True`: errors are of clipped predictions, rankings are not."""

    def test_rating_metrics_are_of_clipped_predictions(
        self, both, tiny_dataset, tiny_split
    ):
        plain, clipped = both
        np.testing.assert_array_equal(plain.prediction, clipped.prediction)
        assert (plain.prediction > 5).any()
        assert (plain.prediction < 0.5).any()
        within = np.clip(plain.prediction[0], 0.5, 5.0)
        truth = tiny_dataset.rating[tiny_split.test]
        for name, of in [
            ("rmse", lambda t, p: mean_squared_error(t, p) ** 0.5),
            ("mae", mean_absolute_error),
            ("r2", r2_score),
        ]:
            assert clipped.metrics[name].mean == pytest.approx(of(truth, within))
            wanted = of(truth, plain.prediction[0])
            assert plain.metrics[name].mean == pytest.approx(wanted)
            assert clipped.metrics[name].mean != pytest.approx(wanted), "control"

    def test_rankings_are_by_predictions_as_they_are(self, both, tiny_dataset):
        plain, clipped = both
        assert plain.per_user.keys() == clipped.per_user.keys() != set()
        for name, value in plain.per_user.items():
            if name not in RATING:
                np.testing.assert_array_equal(clipped.per_user[name], value)

    def test_clipped_scores_would_have_ranked_otherwise(
        self, both, tiny_dataset, tiny_split
    ):
        # The control: ties at the ends of the scale change the lists.
        within = np.clip(both[0].prediction, 0.5, 5.0)
        other = evaluate_scores(within, tiny_dataset, tiny_split.test)
        name = "ndcg@10"
        assert other.metrics[name].mean != pytest.approx(both[0].metrics[name].mean)

    def test_the_definition_says_so(self, both):
        for evaluation, words in zip(
            both, ("not clipped", "clipped to 0.5-5"), strict=True
        ):
            for name in RATING:
                assert words in evaluation.metrics[name].definition
        assert "not clipped" not in both[1].metrics["rmse"].definition
