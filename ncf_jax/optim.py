"""Optimizers: (learning_rate, weight_decay) -> an optax transformation.

Any `optax.GradientTransformation` can be given to `train.make_learner`; `OPTIMIZERS`
holds those the command line knows.
"""

from collections.abc import Callable

import optax


def adam(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient of every parameter, as PyTorch's `Adam`.

    The decay passes through the moments: it is not decoupled (see `adamw`).

    Source: Kingma and Ba, https://arxiv.org/abs/1412.6980.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.adam(learning_rate)
    )


def adamw(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.
    """
    return optax.adamw(learning_rate, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[[float, float], optax.GradientTransformation]] = {
    "adam": adam,
    "adamw": adamw,
}
