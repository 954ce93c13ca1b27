"""What pyproject.toml asks for, and the two files of versions that follow from it.

Held here: every library that is imported is asked for by name, each with a lowest
version; requirements/oldest.txt, with which `.ci/oldest` tests, names exactly those;
requirements/published.txt names one version each, within the bounds, with hashes, and
nothing that is not a version or a hash.
"""

import ast
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Where a library is imported by another name than it is installed by.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
    "surprise": "scikit-surprise",
}


def bounds(lines):
    """Lowest version by name; each line must be `name>=version`."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == ">=", line
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def pins(text):
    """Version by name of a file of `name==version` lines with hashes or without."""
    found = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        requirement = Requirement(re.sub(r"--hash=\S+", "", line).strip())
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is there twice"
        found[name] = specifier.version
    return found


def oldest():
    return (ROOT / "requirements" / "oldest.txt").read_text()


def published():
    return (ROOT / "requirements" / "published.txt").read_text()


def imported(folder):
    """The libraries that a folder's modules import anywhere, and one user of each."""
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            else:
                continue
            for name in names:
                found[name.split(".")[0]] = path.relative_to(ROOT)
    own = {"ncf_jax", "experiments", "tests"}
    return {n: p for n, p in found.items() if n not in sys.stdlib_module_names | own}


def asked_for(name, among):
    return canonicalize_name(DISTRIBUTIONS.get(name, name)) in bounds(among)


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("ncf_jax", ["tensorboard", "large"]), ("experiments", ["sweep", "peers"])],
)
def test_what_is_imported_is_asked_for_by_name(folder, extras):
    lines = [*PROJECT["dependencies"], *(x for name in extras for x in EXTRAS[name])]
    found = imported(folder)
    strangers = {n: str(p) for n, p in found.items() if not asked_for(n, lines)}
    assert strangers == {}
    assert "numpy" in found  # the check sees imports at all
    assert not asked_for("zipp", lines)  # a library of a library


def test_the_test_extra_asks_for_all_that_the_other_extras_do():
    asked = set(EXTRAS["test"])
    for name in ("tensorboard", "sweep", "large", "export"):
        assert asked >= set(EXTRAS[name]), name


def test_the_oldest_versions_are_exactly_the_lower_bounds():
    lowest = bounds([*PROJECT["dependencies"], *EXTRAS["test"]])
    assert pins(oldest()) == lowest
    jax = f"jax=={lowest['jax']}"
    assert pins(oldest().replace(jax, "jax==0.0.1")) != lowest  # the control


class TestPublished:
    def test_every_version_has_hashes(self):
        lines = published().replace("\\\n", " ").splitlines()
        lines = [line for line in lines if not line.startswith("#")]
        assert lines
        for line in lines:
            assert re.fullmatch(r"\S+==\S+( +--hash=sha256:[0-9a-f]{64})+", line), line

    def test_it_is_within_the_bounds_and_leaves_nothing_out(self):
        locked = pins(published())
        for line in PROJECT["dependencies"]:
            requirement = Requirement(line)
            version = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), line
        assert "jaxlib" in locked  # and what those ask for
        assert not Requirement("jax>=99").specifier.contains(locked["jax"])

    def test_it_is_the_jax_of_the_published_figures(self):
        (stated,) = re.findall(r"jax (\d+\.\d+\.\d+) on a CPU", readme())
        assert pins(published())["jax"] == stated

    def test_it_names_no_place(self):
        assert not re.search(r"://|index-url|find-links|trusted", published())


def readme():
    return (ROOT / "README.md").read_text()
