"""The tree cannot lie: who imports whom, who writes files, how large a file is.

The order is the house's: types, options, config, errors <- bits, xla, ending, watch,
processes, data, batching, statistics, history, counting, gaussian, models, losses,
finite, optim, metrics <- train, learners, catalogue, lists, judge, evaluate,
newcomers, foldin, recommend, samples, checkpoint, results, per_user, trackers,
report, pictures, runs, comparison, compare, formats, pages <- experiments.
"""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "ncf_jax"
TIER = {
    "errors": 0,
    "types": 0,
    "options": 0,
    "config": 0,
    "config_data": 0,
    "config_devices": 0,
    "data": 1,
    "bits": 1,
    "xla": 1,
    "ending": 1,
    "watch": 1,
    "processes": 1,
    "batching": 1,
    "meshes": 1,
    "sharded": 1,
    "order": 1,
    "memory": 1,
    "stream": 1,
    "parts": 1,
    "statistics": 1,
    "history": 1,
    "counting": 1,
    "gaussian": 1,
    "models": 1,
    "losses": 1,
    "finite": 1,
    "optim": 1,
    "metrics": 1,
    "train": 2,
    "learners": 2,
    "fitting": 2,
    "streamed": 2,
    "catalogue": 2,
    "lists": 2,
    "judge": 2,
    "evaluate": 2,
    "newcomers": 2,
    "foldin": 2,
    "recommend": 2,
    "staged": 2,
    "portable": 2,
    "samples": 2,
    "checkpoint": 2,
    "integrity": 2,
    "results": 2,
    "per_user": 2,
    "trackers": 2,
    "locks": 1,
    "environment": 2,
    "report": 2,
    "pictures": 2,
    "runs": 2,
    "compare": 2,
    "comparison": 2,
    "formats": 2,
    "pages": 2,
}
ONLY_IN = {
    "pandas": ("ncf_jax/data/",),
    "sklearn": ("ncf_jax/data/", "ncf_jax/pages/"),
    "scipy": ("ncf_jax/data/",),
    "pooch": ("ncf_jax/data/",),
    "requests": ("ncf_jax/data/",),
    "orbax": ("ncf_jax/checkpoint.py",),
    "absl": ("experiments/flags.py", "experiments/peers/"),
    "matplotlib": ("ncf_jax/pictures.py", "ncf_jax/pages/"),
    "jinja2": ("ncf_jax/pages/",),
    "tensorboardX": ("ncf_jax/trackers.py",),
    "torch": ("experiments/peers/",),
    "surprise": ("experiments/peers/",),
    "myfm": ("experiments/peers/",),
    "lenskit": ("experiments/peers/",),
    "cornac": ("experiments/peers/",),
    "rich": ("experiments/console.py",),
    "optuna": ("experiments/search/sampler.py",),
    "pyarrow": ("ncf_jax/data/",),
    "grain": ("ncf_jax/stream.py",),
}
# Peers are measured against, each written as its own users would write it.
FREE = ("experiments/peers/",)
WRITERS = (
    "ncf_jax/checkpoint.py",
    "ncf_jax/report.py",
    "ncf_jax/trackers.py",
    "ncf_jax/locks.py",
    "ncf_jax/data/",
    *FREE,
)
LONGEST = 300


def sources():
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path, tree=None):
    """Every module that a file imports anywhere, `from` imports by full name."""
    for node in ast.walk(tree or ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: write imports in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def tier(module):
    """The tier of `ncf_jax.<part>…`, or None for the package itself."""
    parts = module.split(".")
    return TIER.get(parts[1]) if len(parts) > 1 else None


def violations(path, tree=None):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    found = []
    for module in imports(path, tree):
        if module.split(".")[0] == "experiments":
            found.append(module)
        if module.startswith("ncf_jax.") and own != "__init__":
            level = tier(module)
            if level is not None and level > TIER[own]:
                found.append(module)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_imports_point_one_way(path):
    assert violations(path) == []


def test_a_wrong_import_would_be_seen():
    path = PACKAGE / "losses.py"
    for line in (
        "from ncf_jax.train import fit",
        "from ncf_jax import report",
        "def f():\n    import ncf_jax.evaluate",
        "from experiments import flags",
    ):
        assert violations(path, ast.parse(line)), line


def test_each_part_of_the_package_has_a_tier():
    parts = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    assert {part.removesuffix(".py") for part in parts} - {"__init__"} == set(TIER)


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_in_its_room(library):
    users = [
        name_of(path)
        for path in sources()
        if any(module.split(".")[0] == library for module in imports(path))
    ]
    strangers = [
        user for user in users if not user.startswith((*ONLY_IN[library], *FREE))
    ]
    assert strangers == []
    assert users, f"{library} is imported nowhere: the rule is dead"


def writes(path):
    calls = {"write_text", "write_bytes", "savefig", "to_csv", "savez", "rename"}
    calls |= {"replace", "mkdir", "rmtree", "unlink", "makedirs"}
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if node.func.attr == "replace" and not (
            isinstance(owner, ast.Name) and owner.id == "os"
        ):
            continue  # str.replace and dataclasses.replace
        if node.func.attr == "write_bytes" and ast.unparse(owner) == "report":
            continue  # the writer itself, called
        if node.func.attr == "savefig":
            continue  # into memory; report writes it
        if node.func.attr == "to_csv" and ast.unparse(owner) == "results":
            continue  # our own, which returns text
        if node.func.attr in calls:
            yield ast.unparse(node.func)


def test_only_few_places_write_files():
    found = {
        name_of(path): list(writes(path))
        for path in sources()
        if not name_of(path).startswith(WRITERS) and list(writes(path))
    }
    assert found == {}
    for name in ("report.py", "trackers.py"):
        assert list(writes(PACKAGE / name)), "the check sees no writing at all"


def test_every_writer_still_writes():
    for name in WRITERS:
        files = [path for path in sources() if name_of(path).startswith(name)]
        assert files, f"{name} is gone"
        if name not in (*FREE, "ncf_jax/checkpoint.py"):  # which orbax writes for
            assert any(list(writes(path)) for path in files), name


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_no_module_is_longer_than_a_sitting(path):
    assert len(path.read_text().splitlines()) <= LONGEST


def test_the_tests_mirror_the_package():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "__init__.py":
            continue
        relative = path.relative_to(PACKAGE)
        mirror = ROOT / "tests" / relative.parent / f"test_{relative.name}"
        assert mirror.is_file(), f"{name_of(path)} has no {name_of(mirror)}"


def test_there_are_at_least_as_many_lines_of_tests_as_of_source():
    def lines(paths):
        return sum(len(path.read_text().splitlines()) for path in paths)

    assert lines((ROOT / "tests").rglob("*.py")) >= lines(sources())


def test_the_package_imports_without_jax_or_pandas():
    program = (
        "import sys, ncf_jax, ncf_jax.config\n"
        "heavy = {'jax', 'flax', 'pandas', 'sklearn', 'orbax', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_no_module_reads_a_pickle():
    for path in sources():
        if name_of(path).startswith(FREE):
            continue
        assert "pickle" not in set(imports(path)), name_of(path)
        assert "allow_pickle=True" not in path.read_text(), name_of(path)
