"""The file that names what a sweep varies.

Held here: each form of a line means what its page says; each wrong line is one sentence
with file, line and what is wanted; a setting that no run accepts is found before any
training, in any corner and between any two options; the order of lines says nothing.
"""

import dataclasses

import pytest

from experiments import flags
from experiments.search import space as spaces
from experiments.search.space import Axis, differences, parse, read, value_of
from ncf_jax import Config
from ncf_jax.config import JudgeConfig
from ncf_jax.errors import ConfigError
from tests.conftest import ROOT


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "some.space"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


class TestLines:
    @pytest.mark.parametrize(
        ("line", "axis"),
        [
            ("learning_rate = log 0.0005 0.01", Axis("log", (0.0005, 0.01))),
            ("embedding_dim = int 8 64 8", Axis("int", (8, 64, 8))),
            ("embedding_dim = int 8 64", Axis("int", (8, 64))),
            ("embedding_dim = log 8 64", Axis("log", (8, 64))),
            ("dropout = float 0 0.5", Axis("float", (0.0, 0.5))),
            ("dropout=one_of 0 0.25", Axis("one_of", (0.0, 0.25))),
            ("loss  =  one_of  mse   huber", Axis("one_of", ("mse", "huber"))),
            ("batch_size = one_of 256 512 1024", Axis("one_of", (256, 512, 1024))),
        ],
    )
    def test_a_line_means_what_it_says(self, line, axis):
        name, found = parse(line)
        assert name == line.split("=")[0].strip()
        assert found == axis
        kinds = {type(value) for value in found.values}
        assert kinds == {type(getattr(Config(), name))}, "as the option has them"

    def test_an_axis_is_written_as_it_is_read(self):
        for line in ("dropout = float 0.0 0.5", "loss = one_of mse huber"):
            name, axis = parse(line)
            assert f"{name} = {axis}" == line
            assert parse(f"{name} = {axis}") == (name, axis)

    def test_a_value_is_read_as_it_was_written(self):
        for line in ("dropout = float 0 0.5", "loss = one_of mse mae"):
            axis = parse(line)[1]
            for value in axis.values:
                assert value_of(str(value), axis) == value
        third = parse("learning_rate = log 0.001 0.1")[1]
        assert value_of(repr(1 / 30), third) == 1 / 30
        assert value_of("True", Axis("one_of", (True, False))) is True

    def test_comments_and_empty_lines_say_nothing(self, file):
        path = file("# a note", "", "dropout = float 0 0.5  # low, high", "   ")
        assert read(path, Config()) == {"dropout": Axis("float", (0.0, 0.5), 3)}

    def test_the_order_of_lines_says_nothing(self, file):
        lines = ["dropout = float 0 0.5", "batch_size = int 64 128 64"]
        one = read(file(*lines), Config())
        two = read(file(*reversed(lines)), Config())
        assert list(one) == list(two) == ["batch_size", "dropout"]
        assert differences(one, two) == []


class TestWrongLines:
    @pytest.mark.parametrize(
        ("line", "wanted"),
        [
            ("dropout", "wants 'option = values'"),
            ("dropout 0 0.5", "found 'dropout 0 0.5'"),
            ("droput = float 0 0.5", "Did you mean 'dropout'?"),
            ("--dropout = float 0 0.5", "Did you mean 'dropout'?"),
            ("k = int 1 10", "k takes several values"),
            ("split_seed = int 0 5", "split_seed is not searched"),
            ("candidates = one_of rated catalogue", "candidates is not searched"),
            ("seed = int 0 5", "seed is not searched"),
            ("num_seeds = int 1 5", "num_seeds is not searched"),
            ("workdir = one_of a b", "workdir is not searched"),
            ("dropout =", "wants one of log, float, one_of; found ''"),
            ("dropout = flaot 0 1", "Did you mean 'float'?"),
            ("dropout = int 0 1", "dropout is a number and wants one of log, float"),
            ("epochs = float 1 2", "a whole number and wants one of log, int, one_of"),
            ("loss = float 0 1", "loss is text and wants one of one_of"),
            ("dropout = float 0", "float wants two numbers, low and high; found 0"),
            ("dropout = float", "low and high; found nothing"),
            ("dropout = float 0 1 2", "low and high; found 0 1 2"),
            ("epochs = int 1 9 2 2", "where it is not 1, a step; found 1 9 2 2"),
            ("loss = one_of mse", "one_of wants two values or more; found mse"),
            ("loss = one_of mse mse", "each value once"),
            ("dropout = one_of 0 0.0", "each value once"),
            ("dropout = float 0 half", "dropout wants a number; found 'half'"),
            ("dropout = float 0 nan", "dropout wants a number; found 'nan'"),
            ("epochs = int 1 2.5", "epochs wants a whole number; found '2.5'"),
            ("dropout = float 0.5 0", "a low below the high; found 0.5 and 0.0"),
            ("epochs = int 3 3", "a low below the high; found 3 and 3"),
            ("dropout = log 0 0.5", "log wants a low above 0; found 0.0"),
            ("epochs = int 1 9 3", "a step that leads from 1 to 9; found 3"),
            ("epochs = int 1 9 0", "a step that leads from 1 to 9; found 0"),
            ("dropout = float 0 1", "--dropout wants less than 1.0; found 1.0"),
            ("epochs = int 0 3", "--epochs wants at least 1; found 0"),
            ("loss = one_of mse hubre", "Did you mean 'huber'?"),
        ],
    )
    def test_it_is_one_sentence_with_file_and_line(self, file, line, wanted):
        path = file("# first", "weight_decay = float 0 0.1", line)
        with pytest.raises(ConfigError) as caught:
            read(path, Config())
        sentence = str(caught.value)
        assert sentence.startswith(f"{path}:3: ")
        assert wanted in sentence
        assert "\n" not in sentence

    def test_an_option_named_twice(self, file):
        path = file("dropout = float 0 0.5", "dropout = float 0 0.4")
        with pytest.raises(ConfigError, match=r":2: dropout is on line 1 already"):
            read(path, Config())

    def test_a_file_that_names_nothing(self, file):
        with pytest.raises(ConfigError, match="names no option; write one a line"):
            read(file("# dropout = float 0 0.5"), Config())

    def test_a_file_that_cannot_be_read(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read(tmp_path / "none", Config())
        with pytest.raises(ConfigError, match="cannot be read"):
            read(tmp_path, Config())
        (tmp_path / "latin").write_bytes(b"# caf\xe9")
        with pytest.raises(ConfigError, match="is not UTF-8 text"):
            read(tmp_path / "latin", Config())


class TestContradictions:
    def test_one_with_the_base_is_found(self, file):
        path = file("user_shrinkage = float 1 30")
        with pytest.raises(
            ConfigError, match="has no effect with --model=ncf"
        ) as error:
            read(path, Config())
        assert str(error.value).startswith(f"{path}:1: --user_shrinkage=1.0")
        assert read(path, Config(model="bias"))

    def test_one_between_two_options_is_found_in_whichever_corner(self, file):
        lines = ["dropout = float 0 0.5", "table_update = one_of dense catch_up"]
        path = file(*lines, "optimizer = one_of adam adamw")
        with pytest.raises(ConfigError, match="--optimizer=adamw") as error:
            read(path, Config())
        assert str(error.value).startswith(f"{path}:2: ")
        assert read(file(*lines), Config()), "either alone is possible"
        assert read(file(lines[0], "optimizer = one_of adam adamw"), Config())

    def test_one_of_the_base_with_a_choice_names_the_line_of_the_choice(self, file):
        path = file("# models", "model = one_of ncf bias")
        with pytest.raises(ConfigError, match="--num_seeds=2 has no effect") as error:
            read(path, Config(num_seeds=2))
        assert str(error.value).startswith(f"{path}:2: ")

    def test_a_base_outside_of_the_space_contradicts_nothing(self, file):
        path = file("model = one_of bias item_mean", "item_shrinkage = float 1 30")
        assert read(path, Config())


def test_what_differs_between_spaces_is_named():
    theirs = {"dropout": Axis("float", (0.0, 0.5)), "epochs": Axis("int", (1, 3))}
    ours = {"epochs": Axis("int", (1, 4), 7), "loss": Axis("one_of", ("mse", "mae"))}
    assert differences(theirs, ours) == [
        "dropout: float 0.0 0.5 there, not searched here",
        "epochs: int 1 3 there, int 1 4 here",
        "loss: not searched there, one_of mse mae here",
    ]
    assert differences(ours, ours) == []


def test_only_what_makes_a_model_is_searched():
    judged = {field.name for field in dataclasses.fields(JudgeConfig)}
    assert not judged & set(spaces.KINDS)
    assert not {"seed", "num_seeds", "keep", "workdir"} & set(spaces.KINDS)
    assert {"learning_rate", "dropout", "model", "epochs"} <= set(spaces.KINDS)


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "experiments" / "configs").glob("*.space")),
    ids=lambda p: p.name,
)
def test_the_spaces_of_the_repository_are_possible_with_its_studies(path):
    folder = ROOT / "experiments" / "configs"
    studies = {
        "ncf": ("ncf_tags", "ncf_genres", "ncf_ratings", "quickstart"),
        "vncf": ("best", "best_ensemble"),
    }
    for name in studies[path.stem]:
        base = flags.parse(Config, [f"--flagfile={folder / name}.flags"])
        assert read(path, base)
