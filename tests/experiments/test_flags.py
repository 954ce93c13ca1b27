"""The bridge between the command line and the library.

Held here: each option is a flag with the dataclass's default and help; a mistake is
one sentence on standard error with the exit code of its kind, before any work and
with nothing on disk; a configuration written as a flagfile and parsed again is the
same configuration; `--help` answers without importing JAX.
"""

import dataclasses
import errno
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import flags
from ncf_jax.config import Config, DataConfig, Options, option
from ncf_jax.config_data import BY_TIME, SEEDED
from ncf_jax.errors import (
    ConfigError,
    DataError,
    NcfError,
    NonFiniteLossError,
    RunError,
)

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "train": "Config",
    "prepare": "PrepareOptions",
    "evaluate": "EvaluateOptions",
    "recommend": "RecommendOptions",
    "compare": "CompareOptions",
    "report": "ReportOptions",
    "peers.__main__": "PeerOptions",
}
FIELDS = [field.name for field in dataclasses.fields(Config)]


def written(value):
    """A value as the command line has it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def options_of(command):
    return getattr(import_module(f"experiments.{command}"), COMMANDS[command])


@pytest.fixture(autouse=True)
def an_empty_folder(tmp_path, monkeypatch):
    # So that whatever a wrongly accepted command writes is seen.
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(flags.DATA_DIR_VARIABLE, raising=False)


def _accepted(_, reached):
    pytest.fail(f"accepted, and the command got {reached}")


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """Runs flags.run with arguments that must not reach the command."""

    def run(*arguments, options=Config):
        reached = []
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            _accepted(flags.run(reached.append, options, "A command."), reached)
        out, err = capsys.readouterr()
        assert stop.value.code == 2
        assert not reached, "the command ran"
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1, f"not one line: {err!r}"
        assert "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        return err.removeprefix("error: ").rstrip("\n")

    return run


class TestDefinition:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_option_is_a_flag_with_its_default_and_help(self, command):
        options = options_of(command)
        defined = flags.define(options)
        for field in dataclasses.fields(options):
            flag = defined[field.name]
            assert flag.default == field.default
            assert type(flag.default) is type(field.default)
            assert flag.help.startswith(field.metadata["help"])
            for choice in field.metadata["choices"] or ():
                assert choice in flag.help

    @pytest.mark.parametrize("command", COMMANDS)
    def test_no_argument_gives_the_defaults(self, command):
        options = options_of(command)
        assert flags.parse(options, []) == options()

    def test_no_command_has_flags_of_its_own(self):
        own = set(flags.define(Config)) - {"flagfile", "undefok"}
        assert own == set(FIELDS)

    @pytest.mark.parametrize("name", FIELDS)
    def test_a_flag_sets_its_own_option_and_no_other(self, name):
        field = {f.name: f for f in dataclasses.fields(Config)}[name]
        arguments = [
            f"--{other}={values[0]}"
            for other, values in field.metadata["only_with"].items()
        ]
        if name in OF_FILES:
            arguments.append("--dataset=./mine.csv")
        base = flags.parse(Config, arguments)
        choices = field.metadata["choices"]
        if choices and isinstance(field.default, tuple):
            value = choices[-1:]
        elif choices:
            value = choices[-1]
        elif isinstance(field.default, bool):
            value = not field.default
        elif isinstance(field.default, str):
            value = "elsewhere"
        elif isinstance(field.default, tuple):
            value = (7, 3) if field.metadata["of"] is int else ("one", "two", "three")
        else:
            value = type(field.default)(field.default + 1)
            if field.metadata["below"] or field.metadata["maximum"] == 5.0:
                value = 0.5
        changed = flags.parse(Config, [*arguments, f"--{name}={written(value)}"])
        assert changed == dataclasses.replace(base, **{name: value})
        assert changed != base

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--epochs=3"], {"epochs": 3}),
            (["--epochs", "3"], {"epochs": 3}),
            (["-epochs=3"], {"epochs": 3}),
            (["--epochs=3", "--epochs=4"], {"epochs": 4}),
            (["--learning_rate=1"], {"learning_rate": 1.0}),
            (["--learning_rate=1e-3"], {"learning_rate": 1e-3}),
            (["--cache_dir="], {"cache_dir": ""}),
            (["--workdir=a=b c"], {"workdir": "a=b c"}),
            (
                ["--dataset=ml-latest-small", "--allow_other_copy"],
                {"dataset": "ml-latest-small", "allow_other_copy": True},
            ),
            (["--noallow_other_copy"], {"allow_other_copy": False}),
            (["--tensorboard"], {"tensorboard": True}),
            (["--k=5"], {"k": (5,)}),
            (["--k=10,5,20"], {"k": (10, 5, 20)}),
            (["--k", "10,5"], {"k": (10, 5)}),
            (["--k=5,10"], {"k": (5, 10)}),
            (["--k=10, 5 ,20"], {"k": (10, 5, 20)}),
            (["--k=5,5"], {"k": (5, 5)}),
            (["--k=10", "--k=5"], {"k": (5,)}),
        ],
    )
    def test_the_usual_ways_of_writing_a_flag_all_work(self, arguments, expected):
        assert flags.parse(Config, arguments) == Config(**expected)

    def test_whole_and_decimal_spelling_of_a_number_are_the_same_run(self):
        one, other = (
            flags.parse(Config, [f"--relevance_threshold={text}"])
            for text in ("3", "3.0")
        )
        assert one.run_name() == other.run_name()
        third = flags.parse(Config, ["--relevance_threshold=3.5"])
        assert third.run_name() != one.run_name()


class TestDataDir:
    def test_the_environment_names_the_data_folder(self, monkeypatch):
        monkeypatch.setenv("NCF_JAX_DATA_DIR", "/from/environment")
        assert flags.parse(Config, []).data_dir == "/from/environment"

    def test_a_flag_wins_over_the_environment(self, monkeypatch):
        monkeypatch.setenv("NCF_JAX_DATA_DIR", "/from/environment")
        assert flags.parse(Config, ["--data_dir=mine"]).data_dir == "mine"

    def test_an_empty_variable_counts_as_unset(self, monkeypatch):
        monkeypatch.setenv("NCF_JAX_DATA_DIR", "")
        assert flags.parse(Config, []).data_dir == "data"


# What is given -> what the sentence must contain.
IMPOSSIBLE = [
    ("--epochs=0", ["--epochs", "at least 1", "0"]),
    ("--epochs=-3", ["--epochs", "at least 1", "-3"]),
    ("--epochs=ten", ["--epochs", "a whole number", "'ten'"]),
    ("--epochs=1.5", ["--epochs", "a whole number", "'1.5'"]),
    ("--epochs=1e3", ["--epochs", "a whole number", "'1e3'"]),
    ("--epochs=", ["--epochs", "a whole number", "''"]),
    ("--epochs", ["epochs"]),
    ("--dropout=1", ["--dropout", "less than 1", "1.0"]),
    ("--dropout=-0.1", ["--dropout", "at least 0", "-0.1"]),
    ("--dropout=half", ["--dropout", "a number", "'half'"]),
    ("--learning_rate=nan", ["--learning_rate", "finite", "nan"]),
    ("--learning_rate=inf", ["--learning_rate", "finite", "inf"]),
    ("--learning_rate=-1e-3", ["--learning_rate", "at least 0", "-0.001"]),
    ("--weight_decay=-inf", ["--weight_decay", "finite", "-inf"]),
    ("--batch_size=0", ["--batch_size", "at least 1", "0"]),
    ("--embedding_dim=0", ["--embedding_dim", "at least 1", "0"]),
    ("--genre_dim=-1", ["--genre_dim", "at least 0", "-1"]),
    ("--k=0", ["--k", "at least 1", "0"]),
    ("--k=3000000000", ["--k", "at most", "3000000000"]),
    ("--k=", ["--k", "at least one value", "none"]),
    ("--k=x", ["--k", "a whole number", "'x'"]),
    ("--k=10,x", ["--k", "a whole number", "'x'"]),
    ("--k=10,0", ["--k", "at least 1", "0"]),
    ("--k=1.5", ["--k", "a whole number", "'1.5'"]),
    ("--k=10;5", ["--k", "a whole number", "'10;5'"]),
    ("--k=(10,)", ["--k", "a whole number"]),
    ("--k", ["k"]),
    ("--metrics=standrd", ["--metrics", "'standrd'", "Did you mean 'standard'?"]),
    ("--metrics=", ["--metrics", "reference, standard", "''"]),
    ("--candidates=catalog", ["--candidates", "Did you mean 'catalogue'?"]),
    ("--ties=first", ["--ties", "expected, optimistic, pessimistic", "'first'"]),
    ("--split=global", ["--split", "user_random, global_time", "'global'"]),
    ("--keep=0", ["--keep", "at least 1", "0"]),
    ("--num_seeds=0", ["--num_seeds", "at least 1", "0"]),
    ("--seed=-1", ["--seed", "at least 0", "-1"]),
    ("--seed=2147483648", ["--seed", "at most 2147483647", "2147483648"]),
    ("--split_seed=-1", ["--split_seed", "at least 0", "-1"]),
    ("--split_seed=4294967296", ["--split_seed", "at most 4294967295"]),
    ("--relevance_threshold=0", ["--relevance_threshold", "at least 0.5"]),
    ("--relevance_threshold=5.5", ["--relevance_threshold", "at most 5", "5.5"]),
    ("--synthetic_users=5", ["--synthetic_users", "at least 10", "5"]),
    ("--synthetic_users=100000000000000000000", ["--synthetic_users", "at most"]),
    ("--synthetic_ratings_per_user=19", ["at least 20", "19"]),
    ("--model=nfc", ["--model", "ncf, bias", "'nfc'", "Did you mean 'ncf'?"]),
    ("--model=", ["--model", "ncf, bias", "''"]),
    ("--loss=MSE", ["--loss", "mse, mae, huber", "'MSE'"]),
    ("--optimizer=adm", ["--optimizer", "'adm'", "Did you mean 'adam"]),
    ("--dataset=ml-latest-smal", ["--dataset", "Did you mean 'ml-latest-small'?"]),
    ("--split=random", ["--split", "user_random", "'random'"]),
    ("--allow_other_copy=maybe", ["--allow_other_copy", "maybe"]),
]
UNKNOWN = [
    ("--epoch=3", "Did you mean --epochs?"),
    ("--learning_rat=0.1", "Did you mean --learning_rate?"),
    ("--learning-rate=0.1", "Did you mean --learning_rate?"),
    ("--noepochs", "Did you mean --epochs?"),
    ("--batchsize=3", "Did you mean --batch_size?"),
    ("--zzz", "--help lists all flags"),
]
CONTRADICTIONS = [
    (["--model=bias", "--dropout=0.5"], ["--dropout=0.5", "--model=bias", "ncf"]),
    (["--model=bias", "--num_seeds=2"], ["--num_seeds=2", "--model=bias", "ncf"]),
    (
        ["--model=global_mean", "--item_shrinkage=3"],
        ["--item_shrinkage=3.0", "--model=global_mean", "bias, item_mean"],
    ),
    (
        ["--model=item_mean", "--user_shrinkage=3"],
        ["--user_shrinkage=3.0", "--model=item_mean", "bias"],
    ),
    (["--user_shrinkage=3"], ["--user_shrinkage=3.0", "--model=ncf", "bias"]),
    (
        ["--synthetic_users=50", "--dataset=ml-latest-small"],
        ["--synthetic_users=50", "--dataset=ml-latest-small", "synthetic"],
    ),
    (["--allow_other_copy"], ["--allow_other_copy", "--dataset=synthetic"]),
    (
        ["--split=global_time", "--split_seed=7"],
        ["--split_seed=7", "--split=global_time", "user_random"],
    ),
    (
        ["--split=leave_last_out", "--split_seed=0"],
        ["--split_seed=0", "--split=leave_last_out", "cold_item, cold_user"],
    ),
]


class TestMistakes:
    @pytest.mark.parametrize(("argument", "said"), IMPOSSIBLE)
    def test_an_impossible_value_says_what_is_allowed_and_what_was_found(
        self, refused, argument, said
    ):
        sentence = refused(argument)
        for words in said:
            assert words in sentence
        # No remains of a library's own message in a sentence for people.
        assert "('" not in sentence

    @pytest.mark.parametrize(("argument", "hint"), UNKNOWN)
    def test_an_unknown_flag_is_named_with_the_nearest_name(
        self, refused, argument, hint
    ):
        sentence = refused(argument)
        assert f"There is no flag {argument.split('=')[0]}." in sentence
        assert hint in sentence

    @pytest.mark.parametrize(("arguments", "said"), CONTRADICTIONS)
    @pytest.mark.parametrize("order", [1, -1])
    def test_a_contradiction_names_both_sides_in_either_order(
        self, refused, arguments, said, order
    ):
        sentence = refused(*arguments[::order])
        for words in [*said, "has no effect"]:
            assert words in sentence

    @pytest.mark.parametrize("value", ["a/b\n--seed=3", "a/\0", "a/\u2028", "a/\udcff"])
    def test_text_that_no_flagfile_could_hold_is_refused(self, refused, value):
        # Its second line would be another flag of whoever repeats the run.
        sentence = refused(f"--dataset={value}")
        assert "--dataset wants text without control characters; found" in sentence

    @pytest.mark.parametrize("name", ["dataset", "data_dir", "workdir", "columns"])
    def test_a_space_at_the_end_is_refused(self, refused, name):
        # A line of a flagfile loses it: whoever repeats the run reads another folder.
        assert "without a space at its end; found './x '" in refused(f"--{name}=./x ")

    def test_a_value_after_no_is_one_sentence(self, refused):
        sentence = refused("--noclip=true")
        assert "--noclip takes no value. Write --noclip alone." in sentence

    def test_an_endless_name_is_one_sentence(self, refused):
        assert "There is no flag" in refused(f"--run{'9' * 3000}=1")

    @pytest.mark.parametrize("value", ["9" * 100_000, "x" * 100_000, "\n\n\x1b[2J"])
    def test_a_sentence_stays_a_sentence(self, refused, value):
        for argument in (f"--epochs={value}", f"--model={value}", value):
            sentence = refused(argument)
            assert sentence.isprintable()
            assert len(sentence) < 700

    @pytest.mark.parametrize("arguments", [["run"], ["--epochs=3", "run", "--k=3"]])
    def test_a_positional_argument_is_refused(self, refused, arguments):
        sentence = refused(*arguments)
        assert "'run'" in sentence
        assert "--name=value" in sentence

    def test_flags_after_a_double_dash_are_refused_and_not_lost(self, refused):
        assert "'--epochs=3'" in refused("--", "--epochs=3")

    def test_undefok_does_not_let_an_impossible_value_through(self, refused):
        assert "--epochs wants at least 1" in refused("--undefok=x", "--epochs=0")

    @pytest.mark.parametrize(
        ("command", "argument", "said"),
        [
            ("prepare", "--export_di=x", "Did you mean --export_dir?"),
            ("prepare", "--epochs=0", "--epochs wants at least 1"),
            ("evaluate", "--format=xml", "one of table, json; found 'xml'"),
            ("evaluate", "--epochs=3", "There is no flag --epochs."),
            ("recommend", "--k=0", "--k wants at least 1"),
            ("recommend", "--user_id=alice", "a whole number; found 'alice'"),
            ("recommend", "--user=3", "Did you mean --user_id?"),
            ("evaluate", "--metrics=ours", "reference, standard"),
            ("evaluate", "--k=0", "--k wants at least 1"),
            ("evaluate", "--k=x", "a whole number; found 'x'"),
            ("evaluate", "--relevance_threshold=6", "at most 5"),
            ("compare", "--format=xml", "found 'xml'"),
            ("compare", "--agains=best", "Did you mean --against?"),
            ("report", "--zzz", "--help lists all flags"),
            ("peers.__main__", "--peer=myfn", "Did you mean 'myfm'?"),
            ("peers.__main__", "--epochs=3", "There is no flag --epochs."),
            ("peers.__main__", "--num_seeds=0", "--num_seeds wants at least 1"),
            ("peers.__main__", "--seed=-1", "--seed wants at least 0"),
        ],
    )
    def test_each_command_checks_its_own_flags(self, refused, command, argument, said):
        assert said in refused(argument, options=options_of(command))

    @pytest.mark.parametrize(
        "argument", ["--epochs=0", "--zzz", "extra", "--model=nfc"]
    )
    def test_the_real_training_command_writes_nothing(
        self, command, tmp_path, argument
    ):
        command("train", argument).sentence(2)
        assert list(tmp_path.iterdir()) == []

    def test_a_workdir_with_an_impossible_name_is_one_sentence(self, command, tmp_path):
        outcome = command("train", f"--workdir={'x' * 300}", "--cache_dir=")
        assert "name" in outcome.sentence(4).lower()
        assert list(tmp_path.iterdir()) == []

    def test_good_flags_reach_the_command(self, monkeypatch):
        # The control of everything above: the same path accepts what is right.
        reached = []
        monkeypatch.setattr(sys, "argv", ["command", "--epochs=3", "--model=bias"])
        flags.run(reached.append, Config, "A command.")
        assert reached == [Config(epochs=3, model="bias")]


class TestFlagfile:
    def test_comments_and_blank_lines_are_skipped(self, tmp_path):
        file = tmp_path / "lab.flags"
        file.write_text(
            "# Question  does it work? --epochs=7\n\n// also a comment\n"
            "--epochs=3\n   --model=bias\n#--k=5\n"
        )
        parsed = flags.parse(Config, [f"--flagfile={file}"])
        assert parsed == Config(epochs=3, model="bias")

    def test_a_later_flag_wins_over_the_file(self, tmp_path):
        file = tmp_path / "lab.flags"
        file.write_text("--epochs=3\n")
        assert flags.parse(Config, [f"--flagfile={file}", "--epochs=4"]).epochs == 4
        assert flags.parse(Config, ["--epochs=4", f"--flagfile={file}"]).epochs == 3

    def test_windows_line_ends_are_read(self, tmp_path):
        file = tmp_path / "lab.flags"
        file.write_bytes(b"# a note\r\n--epochs=3\r\n--model=bias\r\n")
        parsed = flags.parse(Config, [f"--flagfile={file}"])
        assert parsed == Config(epochs=3, model="bias")

    @pytest.mark.parametrize("name", ["missing.flags", "."])
    def test_a_file_that_cannot_be_opened_is_named(self, refused, name):
        sentence = refused(f"--flagfile={name}")
        assert f"'{name}'" in sentence
        assert "flagfile" in sentence
        assert "ERROR::" not in sentence

    def test_a_flagfile_without_a_name_is_refused(self, refused):
        assert "--flagfile" in refused("--flagfile")

    def test_an_empty_name_is_refused_and_does_not_run_the_defaults(self, refused):
        # As from --flagfile=$UNSET in a shell.
        assert "flagfile" in refused("--flagfile=")

    def test_a_binary_file_is_refused(self, refused, tmp_path):
        (tmp_path / "bad.flags").write_bytes(b"\xff\xfe\x00--epochs=3\n")
        assert "bad.flags" in refused("--flagfile=bad.flags")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("--epoch=3", "Did you mean --epochs?"),
            ("--epochs=0", "at least 1"),
            ("epochs=3", "'epochs=3'"),
        ],
    )
    def test_a_mistake_in_the_file_is_refused_likewise(
        self, refused, tmp_path, line, said
    ):
        (tmp_path / "lab.flags").write_text(f"# a note\n{line}\n")
        assert said in refused("--flagfile=lab.flags")


@dataclasses.dataclass(frozen=True)
class Open(Options):
    """Options of a command that takes folders without a flag."""

    POSITIONAL: ClassVar[str] = "runs"

    runs: tuple[str, ...] = option((), "Folders.")
    sizes: tuple[int, ...] = option((10,), "Sizes.", minimum=1, of=int)
    format: str = option("table", "How.", choices=("table", "json"))


class TestArgumentsWithoutAFlag:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], {}),
            (["a"], {"runs": ("a",)}),
            (["a", "b"], {"runs": ("a", "b")}),
            (["a", "b", "--format=json"], {"runs": ("a", "b"), "format": "json"}),
            (["--format=json", "a", "b"], {"runs": ("a", "b"), "format": "json"}),
            (["a", "--format=json", "b"], {"runs": ("a", "b"), "format": "json"}),
            (["--runs=a,b"], {"runs": ("a", "b")}),
            (["--runs=a,b", "c"], {"runs": ("a", "b", "c")}),
            (["c", "--runs=a,b"], {"runs": ("a", "b", "c")}),
            (["a,b"], {"runs": ("a,b",)}),
            (["a b", "c=d"], {"runs": ("a b", "c=d")}),
            (["--", "--format=json"], {"runs": ("--format=json",)}),
            (["a", "--", "-b"], {"runs": ("a", "-b")}),
            (["--sizes=5,10", "a"], {"sizes": (5, 10), "runs": ("a",)}),
            (["--runs="], {}),
        ],
    )
    def test_they_are_the_option_that_the_command_names(self, arguments, expected):
        assert flags.parse(Open, arguments) == Open(**expected)

    def test_a_mistake_beside_them_is_still_one(self, refused):
        assert "There is no flag --zzz." in refused("a", "--zzz", options=Open)
        assert "'xml'" in refused("a", "--format=xml", "b", options=Open)
        assert "--sizes wants" in refused("a", "--sizes=0", options=Open)

    def test_another_command_takes_none(self, refused):
        # The control: only where a command says so.
        assert "'a'" in refused("a", "--epochs=3")

    @given(
        runs=st.lists(st.text("ab/. é", min_size=1), max_size=4),
        sizes=st.lists(st.integers(1, 99), min_size=1, max_size=4),
    )
    @settings(max_examples=50, deadline=None)
    def test_any_folders_come_in_their_order(self, runs, sizes):
        parsed = flags.parse(Open, [*runs, f"--sizes={','.join(map(str, sizes))}"])
        assert parsed == Open(runs=tuple(runs), sizes=tuple(sizes))


# Options that have an effect on one's own files alone, or a value that has.
OF_FILES = ("columns", "item_features", "split")


def values_of(field):
    """Valid values of an option, from its metadata."""
    meta, kind = field.metadata, type(field.default)
    if kind is tuple:
        if meta["choices"]:
            each = st.sampled_from(meta["choices"])
        else:
            each = st.integers(meta["minimum"], meta["maximum"])
        least = 0 if meta["empty"] else 1
        return st.lists(each, min_size=least, max_size=4).map(tuple)
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    if kind is bool:
        return st.booleans()
    if kind is str:
        inner = st.text("ab Zé0.-=#'\"映", min_size=0, max_size=8)
        return inner.map(lambda text: f"x{text}x") | st.just("")
    low = meta["minimum"]
    if kind is int:
        return st.integers(low, min(meta["maximum"] or 1000, low + 10**6))
    high = meta["maximum"] or meta["below"] or 1e6
    return st.floats(low, high, exclude_max=meta["below"] is not None)


@st.composite
def configs(draw):
    values = {}
    # The options that others depend on come first.
    fields = sorted(
        dataclasses.fields(Config), key=lambda f: f.name not in ("dataset", "model")
    )
    for field in fields:
        if field.name in OF_FILES and field.name != "split":
            continue
        if field.metadata["machine"]:
            continue  # of one process, and no line of a flagfile
        needs = field.metadata["only_with"].items()
        if all(values[other] in allowed for other, allowed in needs):
            values[field.name] = draw(values_of(field))
    if values["split"] not in (*SEEDED, *BY_TIME):  # it comes with certain data
        values["split"] = "user_random"
    if values["model"] == "ncf" or values.get("time", "none") != "none":
        # These cannot do without.
        values["fc1_dim"] = max(values["fc1_dim"], 1)
    pairless = values.get("time", "none"), values.get("table_update", "dense")
    if (
        pairless != ("none", "dense") or values.get("batch_parts", 1) != 1
    ):  # what pairs at random have no part in
        values["ranking"] = 0.0
    return Config(**values)


class TestRoundTrip:
    @given(config=configs())
    @settings(max_examples=100, deadline=None)
    def test_a_configuration_survives_its_flagfile(self, tmp_path_factory, config):
        file = tmp_path_factory.getbasetemp() / "round_trip.flags"
        file.write_text(flags.to_flagfile(config))
        back = flags.parse(Config, [f"--flagfile={file}"])

        def absolute(folder):
            return str(Path(folder).resolve()) if folder else ""

        assert back == dataclasses.replace(
            config,
            workdir="",
            data_dir=absolute(config.data_dir),
            cache_dir=absolute(config.cache_dir),
        )
        assert back.run_name() == config.run_name()

    @given(config=configs())
    @settings(max_examples=25, deadline=None)
    def test_found_fingerprints_stand_in_the_file_in_place_of_those_wanted(
        self, tmp_path_factory, config
    ):
        file = tmp_path_factory.getbasetemp() / "fingerprints.flags"
        found = dict(data_fingerprint="0123456789abcdef", split_fingerprint="f" * 16)
        file.write_text(flags.to_flagfile(config, **found))
        back = flags.parse(Config, [f"--flagfile={file}"])
        assert {name: getattr(back, name) for name in found} == found
        assert back.identity() == config.identity()

    def test_the_file_says_which_program_it_is_of(self):
        config = Config()
        assert "python -m experiments.train --flagfile=" in flags.to_flagfile(config)
        text = flags.to_flagfile(config, "experiments.peers")
        assert "python -m experiments.peers --flagfile=<this file>" in text
        assert "experiments.train" not in text

    def test_several_values_are_written_between_commas(self):
        assert "\n--k=10,5,20\n" in flags.to_flagfile(Config(k=(10, 5, 20)))
        assert "\n--k=10\n" in flags.to_flagfile(Config())

    @given(config=configs())
    @settings(max_examples=25, deadline=None)
    def test_the_command_line_gives_what_python_gives(self, config):
        arguments = [
            f"--{field.name}={written(getattr(config, field.name))}"
            for field in dataclasses.fields(config)
        ]
        assert flags.parse(Config, arguments) == config

    def test_every_option_but_the_workdir_is_a_line(self):
        lines = flags.to_flagfile(Config(workdir="some/run")).splitlines()
        given_flags = [
            line[2:].split("=")[0] for line in lines if not line.startswith("#")
        ]
        left_out = {f.name for f in dataclasses.fields(Config) if f.metadata["machine"]}
        assert left_out >= {"coordinator", "num_processes", "process_id"}
        assert given_flags == [n for n in FIELDS if n not in {"workdir", *left_out}]
        assert "some/run" not in "\n".join(lines)

    def test_the_file_means_the_same_from_another_folder(self, tmp_path, monkeypatch):
        text = flags.to_flagfile(Config(data_dir="data"))
        file = tmp_path / "run.flags"
        file.write_text(text)
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        parsed = flags.parse(Config, [f"--flagfile={file}"])
        assert Path(parsed.data_dir) == tmp_path / "data"

    def test_the_file_of_an_experiment_also_prepares_its_data(self, tmp_path):
        file = tmp_path / "run.flags"
        file.write_text(flags.to_flagfile(Config(split_seed=3, epochs=2)))
        parsed = flags.parse(options_of("prepare"), [f"--flagfile={file}"])
        for field in dataclasses.fields(DataConfig):
            if field.name not in ("data_dir", "cache_dir"):
                wanted = 3 if field.name == "split_seed" else field.default
                assert getattr(parsed, field.name) == wanted


def raising(error):
    def main(options):
        raise error

    return main


class TestExitCodes:
    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (NcfError("It is so."), 2, "It is so."),
            (ConfigError("A bad option."), 2, "A bad option."),
            (DataError("A bad file."), 3, "A bad file."),
            (RunError("A bad run."), 4, "A bad run."),
            (NonFiniteLossError("NaN at step 3."), 5, "NaN at step 3."),
            (OSError(errno.ENOSPC, "No space left on device", "x.csv"), 4, "x.csv: No"),
            (OSError(errno.EDQUOT, "Disk quota exceeded"), 4, "A file: Disk quota"),
            (PermissionError(errno.EACCES, "Permission denied", "x"), 4, "x: Perm"),
            (OSError(errno.EROFS, "Read-only file system", "x"), 4, "x: Read-only"),
            (MemoryError(), 6, "Out of memory"),
            (RuntimeError("RESOURCE_EXHAUSTED: out of 2 GB"), 6, "--batch_size"),
            (
                jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"),
                6,
                "The last checkpoint is whole",
            ),
            (KeyboardInterrupt(), 130, "The same command goes on"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_each_kind_of_error_is_one_sentence_and_its_code(
        self, capsys, monkeypatch, error, code, said
    ):
        monkeypatch.setattr(sys, "argv", ["command"])
        with pytest.raises(SystemExit) as stop:
            flags.run(raising(error), Config, None)
        assert stop.value.code == code
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert said in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("a bug"),
            RuntimeError("INVALID_ARGUMENT: a bug"),
            OSError(errno.EINVAL, "a bug"),
            AssertionError("a bug"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_bug_keeps_its_traceback(self, monkeypatch, error):
        # Control: not everything is called the user's mistake.
        monkeypatch.setattr(sys, "argv", ["command"])
        with pytest.raises(type(error), match="a bug"):
            flags.run(raising(error), Config, None)

    def test_each_error_class_has_a_code_of_its_own(self):
        classes = [ConfigError, DataError, RunError, NonFiniteLossError]
        codes = [each.exit_code for each in classes]
        assert len({*codes, 0, 1, 6, 130, 141}) == len(codes) + 5


def fresh(*arguments, **options):
    """A new interpreter, as a user starts it."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


class TestHelp:
    # Another library's models bring more than JAX with them.
    @pytest.mark.parametrize("command", sorted({*COMMANDS} - {"peers.__main__"}))
    def test_help_exits_0_and_imports_neither_jax_nor_pandas(self, command):
        done = fresh("-X", "importtime", "-m", f"experiments.{command}", "--help")
        assert done.returncode == 0
        imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
        assert "experiments.flags" in imported, (
            "the list of imports is not what we think"
        )
        slow = {"jax", "jaxlib", "flax", "optax", "orbax", "pandas", "sklearn"}
        assert not imported & (slow | {"matplotlib"})

    @pytest.mark.parametrize("word", ["--help", "-h", "-help", "--helpfull"])
    def test_help_wins_over_a_mistake_in_any_spelling(self, command, word):
        outcome = command("train", "--epochs=0", word)
        assert outcome.code == 0
        assert "--epochs: Passes over the training rows." in outcome.out
        assert outcome.err == ""

    @pytest.mark.parametrize("name", COMMANDS)
    def test_help_names_every_flag_and_shows_the_command(self, name, command):
        text = command(name, "--help").out
        assert f"python -m experiments.{name.removesuffix('.__main__')} " in text
        for field in dataclasses.fields(options_of(name)):
            assert f"{field.name}:" in text

    def test_a_reader_of_help_that_goes_away_is_no_error(self, tmp_path):
        script = (
            "import os, runpy, sys; sys.argv = ['train', '--help']; "
            "r, w = os.pipe(); os.close(r); os.dup2(w, 1); "
            "runpy.run_module('experiments.train', run_name='__main__')"
        )
        done = fresh("-c", script, cwd=tmp_path)
        assert "Traceback" not in done.stderr

    def test_a_reader_of_output_that_goes_away_ends_the_command(self, tmp_path):
        script = (
            "import os, sys\n"
            "from experiments import console, flags\n"
            "from ncf_jax.config import Config\n"
            "r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
            "sys.argv = ['command']\n"
            "flags.run(lambda options: console.say('a line'), Config, None)\n"
        )
        done = fresh("-c", script, cwd=tmp_path)
        assert done.returncode == 141
        assert done.stderr == ""
