"""XLA's options change speed and no number; its cache is put where it may be put.

What is set before JAX is imported is shown in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import xla


@pytest.fixture
def anew():
    """The options found anew, and again after the test."""
    xla.compiler_options.cache_clear()
    yield xla.compiler_options
    xla.compiler_options.cache_clear()


class TestCompilerOptions:
    def test_a_program_compiled_with_them_gives_the_same_numbers(self, anew):
        def layer(x, w):
            return jnp.tanh(x @ w).sum(axis=1)

        rng = np.random.default_rng(0)
        x, w = (jnp.float32(rng.normal(size=shape)) for shape in ((64, 48), (48, 32)))
        lowered = jax.jit(layer).lower(x, w)
        plain = lowered.compile()(x, w)
        tuned = lowered.compile(anew())(x, w)
        np.testing.assert_allclose(tuned, plain, rtol=1e-5, atol=1e-5)
        by_hand = np.tanh(np.float64(x) @ np.float64(w)).sum(axis=1)
        np.testing.assert_allclose(tuned, by_hand, rtol=1e-5, atol=1e-5)
        assert np.abs(tuned - plain[::-1]).max() > 1e-2  # the control

    def test_they_are_found_once(self, anew):
        assert anew() is anew()

    def test_an_option_that_xla_does_not_know_is_left_out(self, anew, monkeypatch):
        real = jax.stages.Lowered.compile

        def older(self, options=None, **rest):
            unknown = {f"{name}_of_another_version": "" for name in options or {}}
            return real(self, unknown, **rest)

        monkeypatch.setattr(jax.stages.Lowered, "compile", older)
        assert anew() == {}

    def test_other_devices_have_none(self, anew, monkeypatch):
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        assert anew() == {}

    @pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU alone")
    def test_this_version_of_xla_knows_them(self, anew):
        # The control of the two above. Should this fail, XLA has dropped the option:
        # measure again whether another is needed.
        assert anew() == {"xla_cpu_experimental_ynn_fusion_type": ""}


NAMES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_ENABLE_COMPILATION_CACHE",
)


def after_keep_compiled(then="", **variables):
    """The variables that JAX reads, in a new process that calls `keep_compiled`."""
    program = (
        "import json, os, sys\n"
        "from ncf_jax.xla import keep_compiled\n"
        "keep_compiled()\n"
        "assert 'jax' not in sys.modules, 'too late to set anything'\n"
        f"print(json.dumps([os.environ.get(name) for name in {NAMES}]))\n"
        f"{then}"
    )
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in (*NAMES, "XDG_CACHE_HOME")
    }
    out = subprocess.run(
        [sys.executable, "-c", program],
        env=clean | variables,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout.splitlines()[0])


class TestKeepCompiled:
    def test_without_a_word_it_is_the_users_cache_folder(self, tmp_path):
        folder, seconds, enabled = after_keep_compiled(HOME=str(tmp_path))
        assert Path(folder) == tmp_path / ".cache" / "ncf_jax" / "xla"
        assert seconds == "0"
        assert enabled is None

    def test_the_cache_folder_of_the_desktop_is_heeded(self, tmp_path):
        folder, *_ = after_keep_compiled(
            HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "x")
        )
        assert Path(folder) == tmp_path / "x" / "ncf_jax" / "xla"
        empty, *_ = after_keep_compiled(HOME=str(tmp_path), XDG_CACHE_HOME="")
        assert Path(empty) == tmp_path / ".cache" / "ncf_jax" / "xla"

    def test_what_is_set_stays_as_it_is(self, tmp_path):
        chosen = dict(zip(NAMES, (str(tmp_path / "own"), "7", "false"), strict=True))
        found = after_keep_compiled(**chosen, XDG_CACHE_HOME=str(tmp_path))
        assert found == list(chosen.values())

    def test_jax_then_keeps_there_what_it_compiles(self, tmp_path):
        then = "import jax; jax.jit(lambda x: x + 1)(2.0).block_until_ready()"
        after_keep_compiled(then, XDG_CACHE_HOME=str(tmp_path))
        assert list((tmp_path / "ncf_jax" / "xla").iterdir())
        other = tmp_path / "off"
        after_keep_compiled(
            then, XDG_CACHE_HOME=str(other), JAX_ENABLE_COMPILATION_CACHE="false"
        )
        assert not list(other.rglob("*-cache"))  # the control: switched off


class TestFixThreads:
    def test_it_is_a_number_unless_another_is_set(self, monkeypatch):
        monkeypatch.setattr(os, "environ", {})
        xla.fix_threads()
        assert os.environ == {"PJRT_NPROC": "4"}
        monkeypatch.setattr(os, "environ", {"PJRT_NPROC": "2"})
        xla.fix_threads()
        assert os.environ == {"PJRT_NPROC": "2"}
