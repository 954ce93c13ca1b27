"""States that are not finite are refused before anything is made of them.

A loss that is NaN or infinite is seen at its step (`losses.refuse_non_finite`). A
gradient that is not leaves its mark on the parameters and is seen in the next step's
loss, if that step looks at them: the row of one user may be NaN with no later row to
tell. So a state is looked at, whole, before it is shown or kept.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import sharded
from ncf_jax.errors import NonFiniteLossError
from ncf_jax.types import TrainState


@jax.jit
def finite(state: TrainState) -> jax.Array:
    """Whether each array of a state [R, ...] is finite, by seed: [A, R].

    It is one pass over the state, where it is; of a state that is spread over devices
    each looks at its own rows.
    """
    arrays = jax.tree.leaves(sharded.bare(state))
    found = [jnp.isfinite(x).all(axis=tuple(range(1, x.ndim))) for x in arrays]
    return sharded.repeated(jnp.stack(found), sharded.mesh_of(state))


def refuse_state(state: TrainState, epoch: int, seeds: Sequence[int]) -> None:
    """Raises NonFiniteLossError where a state [R, ...] has NaN or infinite values.

    Args:
      state: of all seeds.
      epoch: it belongs to, for the error.
      seeds: R.
    """
    fine = np.asarray(sharded.local(finite(state), sharded.mesh_of(state)))
    if fine.all():
        return
    seed = int(np.flatnonzero(~fine.all(axis=0))[0])
    paths, _ = jax.tree_util.tree_flatten_with_path(sharded.bare(state))
    bad = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, _), good in zip(paths, fine[:, seed], strict=True)
        if not good
    ]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    raise NonFiniteLossError(
        f"A gradient of seed {seeds[seed]} was NaN or infinite in epoch {epoch}, of "
        f"which no checkpoint is made, and so is now {bad[0]}{more}. Try a smaller "
        f"--learning_rate, in a new --workdir."
    )
