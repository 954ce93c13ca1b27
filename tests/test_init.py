"""The public names: few, lazy, and the verbs stay verbs."""

import ast
import subprocess
import sys
import types

import pytest

import ncf_jax
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ncf_jax.__all__)
def test_each_public_name_exists(name):
    assert getattr(ncf_jax, name) is not None
    assert name in dir(ncf_jax)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'evalute'"):
        _ = ncf_jax.evalute


def test_type_checkers_and_the_program_see_the_same_names_in_the_same_homes():
    tree = ast.parse((ROOT / "ncf_jax" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module.removeprefix("ncf_jax.")
        for node in block.body
        for alias in node.names
    }
    assert declared == ncf_jax._HOME_OF
    assert set(ncf_jax.__all__) == {*declared, "__version__"}


@pytest.mark.parametrize(
    "first",
    [
        "import ncf_jax.evaluate, ncf_jax.recommend",
        "from ncf_jax.fitting import fit",
        "import ncf_jax; ncf_jax.evaluate",
    ],
)
def test_the_verbs_stay_functions_whatever_is_imported_first(first):
    program = (
        f"{first}\nimport ncf_jax, types\n"
        "for name in ('evaluate', 'recommend'):\n"
        "    assert isinstance(getattr(ncf_jax, name), types.FunctionType), name\n"
        "from ncf_jax.evaluate import predict\n"
        "print('good')"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert out.stdout.strip() == "good", out.stderr


def test_submodules_that_are_no_verbs_are_still_modules():
    import ncf_jax.batching

    assert isinstance(ncf_jax.batching, types.ModuleType)


@pytest.mark.parametrize(
    "name",
    sorted(set(ncf_jax.__all__) - {"__version__", "MODELS", "CONVENTIONS", "RANKING"}),
)
def test_each_public_name_is_documented(name):
    text = getattr(ncf_jax, name).__doc__
    assert text
    assert text.strip().splitlines()[0].strip().endswith((".", ":"))
