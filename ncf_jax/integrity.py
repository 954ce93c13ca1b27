"""What a stored state must be: its forms, and a hash of its content.

A state in one piece is hashed byte by byte. One that is spread over devices is never
brought together: each device hashes what it holds, by place and value, and the sum of
all is the same however the rows are divided. That hash finds damage, not malice.
"""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import bits, sharded


def unpadded(tree: Any) -> Any:
    """The shapes of a state [R, ...] as they are in one piece.

    Example:
      >>> unpadded({"x": np.zeros((2, 3))})["x"].shape
      (2, 3)
    """

    def each(x: Any) -> Any:
        if not isinstance(x, sharded.Sharded):
            return jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((a.shape[0], x.rows, *a.shape[2:]), a.dtype),
            x.array,
        )

    return jax.tree.map(each, tree, is_leaf=lambda x: isinstance(x, sharded.Sharded))


def forms(tree: Any) -> dict[str, str]:
    """Name of each array -> its type and shape, as `float32[1, 64]`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(unpadded(tree))
    return {
        jax.tree_util.keystr(path): f"{x.dtype}{list(x.shape)}" for path, x in leaves
    }


def digest(state: Any) -> dict[str, Any]:
    """A hash of a state's content, to be stored beside it; see `check`."""
    if sharded.mesh_of(state) is None:
        return {"sha256": sha256(state)}
    return {"words": words(state)}


def check(state: Any, about: dict[str, Any]) -> None:
    """Compares a state that was read with the `digest` of what was written.

    Raises:
      ValueError: they differ.
    """
    if "words" in about:
        fine = words(state) == about["words"]
    else:
        fine = sha256(_whole(state)) == about["sha256"]
    if not fine:
        raise ValueError("the bytes read are not the bytes written")


def seal(about: dict[str, Any]) -> dict[str, Any]:
    """What is stored beside a state, with a hash of all of it as `seal`.

    Example:
      >>> opened(seal({"epoch": 2}))
      {'epoch': 2}
    """
    return {**about, "seal": _text_sha256(about)}


def opened(about: dict[str, Any]) -> dict[str, Any]:
    """What was sealed; what was written before there were seals is taken as it is.

    Raises:
      ValueError: it is not what was sealed.
    """
    inside = {name: value for name, value in about.items() if name != "seal"}
    if about.get("seal", found := _text_sha256(inside)) != found:
        raise ValueError("its description is not the one that was written")
    return inside


def _text_sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)  # a tuple is as the list that is read
    return hashlib.sha256(text.encode()).hexdigest()


def sha256(tree: Any) -> str:
    """Hash of the bytes of arrays in one piece."""
    hashed = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        hashed.update(np.ascontiguousarray(leaf).tobytes())
    return hashed.hexdigest()


def _whole(state: Any) -> Any:
    """A state on the host, in one piece; for one that one device once had."""
    from jax.experimental import multihost_utils

    if sharded.mesh_of(state) is None:
        return state

    def each(x: jax.Array, form: jax.ShapeDtypeStruct) -> np.ndarray:
        if not x.is_fully_addressable:
            x = multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x)[tuple(slice(size) for size in form.shape)]

    return jax.tree.map(each, sharded.bare(state), unpadded(state))


def words(state: Any) -> list[int]:
    """Two words of 32 bits for each array, of its bits and where they are."""
    form = unpadded(state)
    mesh = sharded.mesh_of(state)

    @jax.jit
    def of(tree: Any) -> Any:
        found = jax.tree.map(lambda x, f: _hash(x, f.shape), tree, form)
        return sharded.repeated(jnp.stack(jax.tree.leaves(found)), mesh)

    return [int(word) for word in np.asarray(of(sharded.bare(state))).ravel()]


def _hash(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[2] uint32 of an array, as if it were of `shape`, which is no larger."""
    x = jnp.asarray(x)
    kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    value = jax.lax.bitcast_convert_type(x, kind).astype(jnp.uint32)
    place, inside = jnp.zeros(x.shape, jnp.uint32), jnp.ones(x.shape, bool)
    for axis, size in enumerate(shape):
        index = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        place, inside = place * jnp.uint32(size) + index, inside & (index < size)
    at = bits.mix(place + jnp.uint32(0x9E3779B9))
    one = bits.mix(value ^ at)
    both = jnp.stack([one, bits.mix(one + at)])
    both = jnp.where(inside, both, jnp.uint32(0))
    return both.reshape(2, -1).sum(axis=1, dtype=jnp.uint32)
