"""Losses are elementwise, equal their formula, and never broadcast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error

from ncf_jax.losses import LOSSES, huber, mae, mse, per_example

PREDICTION = np.array([0.1, 0.5, 0.9, 1.2], np.float32)
TARGET = np.array([0.2, 0.5, 0.4, 0.2], np.float32)


@pytest.mark.parametrize(
    ("loss", "oracle"), [(mse, mean_squared_error), (mae, mean_absolute_error)]
)
def test_the_mean_equals_scikit_learn(loss, oracle):
    found = float(loss(jnp.array(PREDICTION), jnp.array(TARGET)).mean())
    assert found == pytest.approx(oracle(TARGET, PREDICTION), rel=1e-6)
    other = float(loss(jnp.array(PREDICTION + 0.1), jnp.array(TARGET)).mean())
    assert other != pytest.approx(found, rel=1e-3)


def test_huber_is_quadratic_within_a_star_and_linear_beyond():
    error = np.array([0.0, 0.1, 0.2, 0.3, 1.0], np.float32)
    found = huber(jnp.array(error), jnp.zeros(5))
    wanted = np.where(error <= 0.2, error**2 / 2, 0.2 * error - 0.2**2 / 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
class TestEachLoss:
    def test_is_zero_only_for_a_perfect_prediction(self, loss):
        target = jnp.array(TARGET)
        assert (loss(target, target) == 0).all()
        assert (loss(target + 0.1, target) > 0).all()

    def test_gives_one_value_for_each_example(self, loss):
        whole = loss(jnp.array(PREDICTION), jnp.array(TARGET))
        assert whole.shape == (4,)
        for n in range(4):
            alone = loss(jnp.array(PREDICTION[n : n + 1]), jnp.array(TARGET[n : n + 1]))
            assert alone[0] == whole[n]

    def test_is_the_same_for_errors_of_either_sign(self, loss):
        up = loss(jnp.array(TARGET + 0.25), jnp.array(TARGET))
        down = loss(jnp.array(TARGET - 0.25), jnp.array(TARGET))
        np.testing.assert_allclose(up, down, rtol=1e-6)

    @pytest.mark.parametrize("shape", [(4, 1), (1, 4), (1,), ()])
    def test_refuses_shapes_that_would_broadcast(self, loss, shape):
        with jax.numpy_rank_promotion("allow"), pytest.raises(AssertionError):
            loss(jnp.zeros(4), jnp.zeros(shape))

    def test_pulls_the_prediction_towards_the_target(self, loss):
        slope = jax.grad(lambda p: loss(p, jnp.zeros(1))[0])
        assert slope(jnp.array([0.3]))[0] > 0
        assert slope(jnp.array([-0.3]))[0] < 0


class TestPerExample:
    @pytest.mark.parametrize(
        "loss",
        [
            lambda p, t: jnp.mean((p - t) ** 2),
            lambda p, t: (p[:, None] - t[None, :]) ** 2,
            lambda p, t: ((p - t) ** 2)[:, None],
        ],
        ids=["a mean", "all pairs", "a column"],
    )
    def test_a_loss_of_another_shape_is_refused(self, loss):
        with (
            jax.numpy_rank_promotion("allow"),
            pytest.raises(ValueError, match="wanted"),
        ):
            per_example(loss, jnp.ones(4), jnp.zeros(4))

    def test_a_loss_by_example_goes_through(self):
        found = per_example(mse, jnp.array(PREDICTION), jnp.array(TARGET))
        np.testing.assert_array_equal(
            found, mse(jnp.array(PREDICTION), jnp.array(TARGET))
        )
