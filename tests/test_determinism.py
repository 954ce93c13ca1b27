"""The same seed gives the same bits on a CPU, however many cores it has.

Each run is a process of its own that compiles everything anew: as it comes, once more,
on one core, and with XLA's matrix products and NumPy's kept to one thread. Widths and
batches are the reference's, large enough for XLA to spread over cores; rows are few.
XLA's own number of threads is a command's; with another one the bits are others.
"""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import hashlib, os, sys

seed, cores = int(sys.argv[1]), int(sys.argv[2])
if cores:  # before any library counts them
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])

from ncf_jax.xla import fix_threads
fix_threads()

import jax, numpy as np
import ncf_jax as ncf

config = ncf.Config(epochs=2, cache_dir="")
dataset = ncf.prepare(config)
split = ncf.split(dataset, config)
model = ncf.make_model(config, dataset)
learner = ncf.learner_of(config, model, dataset.features)
rows = dataset.interactions(split.train), dataset.interactions(split.valid)
state = ncf.fit(learner, *rows, epochs=config.epochs, seeds=[seed])
digest = hashlib.sha256()
for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
print(dataset.fingerprint, digest.hexdigest(), len(os.listdir("/proc/self/task")))
"""
ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
XLA_ONE = "--xla_cpu_multi_thread_eigen=false"

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="cores are chosen as Linux does it"
)


def train(seed=0, cores=0, **environment):
    """Fingerprint of the data, hash of the trained state, threads of the process."""
    ours = {"PYTHONPATH": str(ROOT), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    flags = " ".join([os.environ.get("XLA_FLAGS", ""), environment.pop("flags", "")])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(seed), str(cores)],
        env=os.environ | ours | environment | {"XLA_FLAGS": flags.strip()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    data, state, threads = done.stdout.split()
    return data, state, int(threads)


@pytest.fixture(scope="module")
def plain():
    return train()


def test_a_restart_gives_the_same_bits(plain):
    assert train()[:2] == plain[:2]


def test_one_core_gives_the_same_bits(plain):
    data, state, threads = train(cores=1)
    assert (data, state) == plain[:2]
    if len(os.sched_getaffinity(0)) > 1:
        assert threads < plain[2], "the number of cores changed no number of threads"


def test_libraries_kept_to_one_thread_give_the_same_bits(plain):
    assert train(flags=XLA_ONE, **ONE)[:2] == plain[:2]


def test_another_number_of_xla_threads_gives_other_bits(plain):
    data, state, _ = train(PJRT_NPROC="1")
    assert data == plain[0]
    assert state != plain[1], "nothing need be fixed"


def test_another_seed_gives_other_bits_of_the_same_data(plain):
    data, state, _ = train(seed=1)
    assert data == plain[0]
    assert state != plain[1]
