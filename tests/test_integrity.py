"""A stored state is what was written, however its rows are divided."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import integrity, meshes, sharded
from ncf_jax.types import TrainState

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(1, 21, 3)).astype(np.float32)


def state(text="", table=TABLE, step=5):
    rows = jnp.asarray(table)
    if mesh := meshes.make_mesh(text):
        rows = jax.jit(jax.vmap(lambda x: sharded.spread(x, mesh)))(rows)
    params = {"table": rows, "bias": jnp.ones((1, 4))}
    return TrainState(jnp.array([step], jnp.int32), params, ())


def test_forms_do_not_know_of_devices():
    wanted = integrity.forms(state())
    assert wanted[".params['table']"] == "float32[1, 21, 3]"
    for text in ("table:8", "data:4,table:2"):
        assert integrity.forms(state(text)) == wanted


def test_the_same_words_for_any_number_of_devices():
    wanted = integrity.words(state())
    for text in ("table:1", "table:8", "data:2,table:4"):
        assert integrity.words(state(text)) == wanted
        integrity.check(state(text), {"words": wanted})
        assert integrity.digest(state(text)) == {"words": wanted}


def test_one_bit_makes_another_hash():
    for place in [(0, 0, 0), (0, 20, 2), (0, 7, 1)]:
        other = TABLE.copy()
        other.view(np.uint32)[place] ^= 1
        for text in ("", "table:8"):
            changed = state(text, other)
            with pytest.raises(ValueError, match="not the bytes written"):
                integrity.check(changed, integrity.digest(state(text)))


def test_two_rows_that_change_places_make_another_hash():
    other = TABLE[:, [1, 0, *range(2, 21)]]
    assert integrity.words(state("table:8", other)) != integrity.words(state("table:8"))
    assert integrity.words(state(step=6)) != integrity.words(state())


def test_bytes_hashed_on_one_device_are_checked_on_several():
    about = integrity.digest(state())
    assert set(about) == {"sha256"}
    integrity.check(state("data:2,table:4"), about)
    with pytest.raises(ValueError, match="not the bytes written"):
        integrity.check(state("data:2,table:4", TABLE + 1), about)


def test_padding_is_no_content():
    one = state("table:8")
    rows = one.params["table"]
    dirty = rows.replace(array=rows.array.at[:, 21:].set(7.0))
    changed = one.replace(params={**one.params, "table": dirty})
    assert integrity.words(changed) == integrity.words(one)


def test_a_seal_is_broken_by_any_change_and_kept_by_json():
    about = {"history": [{"loss": 1 / 3, "none": None}], "k": (5, 10), "name": "ü"}
    sealed = integrity.seal(about)
    read = json.loads(json.dumps(sealed))
    assert integrity.opened(read) == {**about, "k": [5, 10]}
    for change in ({"name": "u"}, {"k": [5, 11]}, {"more": 1}, {"seal": "0"}):
        with pytest.raises(ValueError, match="not the one that was written"):
            integrity.opened({**read, **change})
    del read["seal"]
    assert integrity.opened(read) == {**about, "k": [5, 10]}, "of an earlier version"
