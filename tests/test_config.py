"""Every option once, and an impossible value stops everything before any work."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncf_jax import config as module
from ncf_jax import options
from ncf_jax.config import (
    CLOSED_FORM_MODELS,
    Config,
    DataConfig,
    JudgeConfig,
    differences,
)
from ncf_jax.config_data import PUBLISHED_SPLITS
from ncf_jax.data.splits import SPLITS
from ncf_jax.errors import ConfigError
from ncf_jax.judge import CANDIDATES
from ncf_jax.metrics import CONVENTIONS, TIES

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
# Option -> a value that is impossible whatever the others are, and a word of why.
IMPOSSIBLE = [
    ("dataset", "ml-latest-smal", "Did you mean 'ml-latest-small'"),
    ("dataset", 3, "type str"),
    ("model", "nfc", "Did you mean 'ncf'"),
    ("model", "transformer", "wants one of"),
    ("epochs", 0, "at least 1"),
    ("epochs", 2.5, "type int"),
    ("epochs", True, "type int"),
    ("epochs", "ten", "type int"),
    ("batch_size", 0, "at least 1"),
    ("num_seeds", 0, "at least 1"),
    ("seed", -1, "at least 0"),
    ("seed", 2**31, "at most"),
    ("split_seed", -1, "at least 0"),
    ("split_seed", 2**32, "at most"),
    ("learning_rate", float("nan"), "finite"),
    ("learning_rate", float("inf"), "finite"),
    ("learning_rate", -1e-3, "at least 0"),
    ("weight_decay", -1e-9, "at least 0"),
    ("dropout", 1.0, "less than 1"),
    ("dropout", -0.1, "at least 0"),
    ("embedding_dim", 0, "at least 1"),
    ("genre_dim", -1, "at least 0"),
    ("k", 0, "at least 1"),
    ("k", 2.5, "type int"),
    ("k", "10", "type int"),
    ("metrics", "standart", "Did you mean 'standard'"),
    ("metrics", "ours", "wants one of reference, standard"),
    ("candidates", "catalog", "Did you mean 'catalogue'"),
    ("candidates", "sampled", "wants one of rated, catalogue"),
    ("ties", "optimist", "Did you mean 'optimistic'"),
    ("split", "global-time", "Did you mean 'global_time'"),
    ("split_fingerprint", 7, "type str"),
    ("tensorboard", 1, "type bool"),
    ("relevance_threshold", 0.0, "at least 0.5"),
    ("relevance_threshold", 5.5, "at most 5"),
    ("keep", 0, "at least 1"),
    ("allow_other_copy", 1, "type bool"),
    ("min_item_ratings", 0, "at least 1"),
    ("schedule", "cosin", "Did you mean 'cosine'"),
    ("ensemble", 0, "at least 1"),
    ("compute_dtype", "bf16", "Did you mean 'bfloat16'"),
    ("clip", 1, "type bool"),
    ("rows", "points", "Did you mean 'point'"),
    ("row_penalty", -0.1, "at least 0"),
    ("side", "tag", "Did you mean 'tags'"),
    ("statistics", "mean", "Did you mean 'means'"),
    ("time", "pas", "Did you mean 'past'"),
    ("synthetic_ratings_per_user", 19, "at least 20"),
    ("synthetic_ratings", -1, "at least 0"),
    ("synthetic_tags", -1, "at least 0"),
]
CONTRADICTIONS = [
    dict(model="bias", dropout=0.5),
    dict(model="bias", learning_rate=1e-3),
    dict(model="item_mean", num_seeds=3),
    dict(model="global_mean", item_shrinkage=3.0),
    dict(model="item_mean", user_shrinkage=3.0),
    dict(model="ncf", user_shrinkage=3.0),
    dict(dataset="ml-latest-small", synthetic_users=50),
    dict(dataset="ml-latest-small", synthetic_ratings=5_000),
    dict(dataset="ml-latest-small", synthetic_tags=50),
    dict(dataset="synthetic", allow_other_copy=True),
    dict(table_update="lazy", optimizer="adamw"),
    dict(table_update="catch_up", optimizer="adamw"),
    dict(table_update="lazy", model="bias"),
    dict(table_update="catch_up", model="global_mean"),
    dict(split="global_time", split_seed=7),
    dict(split="leave_last_out", split_seed=0),
    dict(model="ncf", rows="point"),
    dict(model="ncf", row_penalty=1.0),
    dict(model="ncf", side=("genres",)),
    dict(model="ncf", statistics=()),
    dict(model="ncf", time="past"),
    dict(model="vncf", genre_dim=8),
    dict(model="vncf", tag_dim=8),
    dict(model="bias", schedule="cosine"),
    dict(model="bias", ensemble=2),
    dict(model="bias", compute_dtype="bfloat16"),
]


@pytest.mark.parametrize("name", ["side", "statistics"])
def test_the_network_may_be_given_nothing_besides(name):
    assert getattr(Config(model="vncf", **{name: ()}), name) == ()
    with pytest.raises(ConfigError, match="--k wants at least one value"):
        Config(model="vncf", k=())


def test_only_one_network_can_do_without_its_hidden_layers():
    assert Config(model="vncf", fc1_dim=0).fc1_dim == 0
    with pytest.raises(ConfigError, match=r"--fc1_dim=0, .* --model=vncf"):
        Config(fc1_dim=0)
    with pytest.raises(ConfigError, match="without --time: the MLP reads"):
        Config(model="vncf", fc1_dim=0, time="both")


def test_the_defaults_are_the_reference_experiment():
    config = Config()
    reference = dict(
        model="ncf",
        epochs=10,
        batch_size=512,
        learning_rate=5e-4,
        weight_decay=1e-5,
        dropout=0.3,
        embedding_dim=64,
        genre_dim=32,
        tag_dim=16,
        fc1_dim=128,
        fc2_dim=64,
        loss="mse",
        optimizer="adam",
        split="user_random",
        split_seed=42,
        min_item_ratings=10,
        min_user_ratings=3,
        k=(10,),
        candidates="rated",
        ties="expected",
        relevance_threshold=4.0,
    )
    assert {name: getattr(config, name) for name in reference} == reference


def test_the_reading_is_the_fields_common_one_unless_asked_for():
    # The reference's own is asked for by the files of its experiments.
    assert Config().metrics == "standard"


@pytest.mark.parametrize(("name", "value", "why"), IMPOSSIBLE)
def test_an_impossible_value_is_refused_in_one_sentence(name, value, why):
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"--{name} wants")
    assert why in text
    assert repr(value) in text
    assert "\n" not in text


@pytest.mark.parametrize("given_", CONTRADICTIONS, ids=str)
def test_an_option_without_effect_is_a_contradiction(given_):
    with pytest.raises(ConfigError, match=r"has no effect with --.*; leave it out"):
        Config(**given_)


@pytest.mark.parametrize("model", CLOSED_FORM_MODELS)
def test_a_baseline_needs_no_option(model):
    assert Config(model=model).model == model


def test_an_option_at_its_default_never_contradicts():
    # A flagfile that lists every effective flag must be accepted again.
    config = Config(model="bias")
    assert Config(**dataclasses.asdict(config)) == config


@pytest.mark.parametrize("name", FIELDS)
def test_each_option_is_documented_and_of_a_plain_type(name):
    field = FIELDS[name]
    assert field.metadata["help"].endswith(".")
    assert type(field.default) in (int, float, str, bool, tuple)
    if type(field.default) is tuple:
        assert {type(each) for each in field.default} <= {field.metadata["of"]}
    if field.metadata["choices"]:
        several = type(field.default) is tuple
        each = field.default if several else (field.default,)
        assert set(each) <= set(field.metadata["choices"])


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 3


def test_a_whole_number_is_the_same_as_its_float():
    assert Config(learning_rate=1).run_name() == Config(learning_rate=1.0).run_name()
    assert type(Config(learning_rate=1).learning_rate) is float


def test_the_run_name_follows_what_decides_the_numbers_and_only_that():
    name = Config().run_name()
    assert name.startswith("synthetic-ncf-")
    same = dict(
        workdir="w",
        data_dir="d",
        cache_dir="c",
        keep=9,
        data_fingerprint="0" * 16,
        split_fingerprint="1" * 16,
        tensorboard=True,
        k=[10],
    )
    for option_name, value in same.items():
        assert Config(**{option_name: value}).run_name() == name, option_name
    others = dict(
        seed=1,
        epochs=11,
        dropout=0.1,
        split_seed=7,
        split="global_time",
        k=5,
        metrics="reference",
        candidates="catalogue",
        ties="pessimistic",
        relevance_threshold=3.5,
        min_item_ratings=9,
    )
    names = {Config(**{n: value}).run_name() for n, value in others.items()}
    assert len(names) == len(others)
    assert name not in names


@given(
    seed=st.integers(0, 2**31 - 1),
    epochs=st.integers(1, 99),
    dropout=st.floats(0, 0.99),
)
def test_differences_name_each_option_that_differs(seed, epochs, dropout):
    ours = Config(seed=seed, epochs=epochs, dropout=dropout, workdir="elsewhere")
    found = differences(Config(), ours)
    changed = {
        name
        for name in ("seed", "epochs", "dropout")
        if getattr(ours, name) != getattr(Config(), name)
    }
    assert {line.split(":")[0] for line in found} == {f"--{name}" for name in changed}
    assert differences(ours, ours) == []


@pytest.mark.parametrize("part", [DataConfig, JudgeConfig])
def test_the_options_of_data_and_of_judging_are_part_of_the_whole(part):
    names = {field.name for field in dataclasses.fields(part)}
    assert names < set(FIELDS)
    assert all(FIELDS[name].default == getattr(part(), name) for name in names)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("split", {*SPLITS, *PUBLISHED_SPLITS, "stored"}),
        ("metrics", CONVENTIONS),
        ("candidates", CANDIDATES),
        ("ties", TIES),
    ],
)
def test_a_choice_by_name_offers_exactly_what_there_is(name, table):
    assert set(FIELDS[name].metadata["choices"]) == set(table)


@pytest.mark.parametrize("k", [10, [10], (10,)])
def test_a_single_cut_off_may_be_given_as_a_number(k):
    assert Config(k=k) == Config()
    assert Config(k=k).run_name() == Config().run_name()


def test_a_configuration_survives_the_json_of_a_checkpoint():
    config = Config(k=(10, 5, 20), learning_rate=1e-4, metrics="graded")
    back = Config(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert back == config
    assert back.run_name() == config.run_name()


@pytest.mark.parametrize("name", ["Options", "option", "nearest", "differences"])
def test_what_an_option_is_can_be_had_from_here_too(name):
    assert getattr(module, name) is getattr(options, name)
