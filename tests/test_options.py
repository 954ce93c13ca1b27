"""What an option is, whoever has it.

Held here: a value of the wrong type, out of range or without effect is refused in one
sentence that names the flag; 1 and 1.0, and 10, [10] and (10,) are the same option and
the same run; only what decides the numbers enters the name of a run; what differs
between two runs is told in the words of the command line.
"""

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncf_jax.errors import ConfigError
from ncf_jax.options import MAX_INT, Options, differences, nearest, option


@dataclasses.dataclass(frozen=True)
class Mine(Options):
    """One option of each kind."""

    width: int = option(3, "A width.", minimum=1)
    share: float = option(0.5, "A share.", minimum=0.0, below=1.0)
    kind: str = option("a", "A kind.", choices=("a", "b", "other"))
    loud: bool = option(False, "Whether it is loud.")
    sizes: tuple[int, ...] = option((10,), "Sizes.", minimum=1, of=int)
    shares: tuple[float, ...] = option((), "Shares.", maximum=1.0, of=float)
    names: tuple[str, ...] = option((), "Names.")
    colours: tuple[str, ...] = option(("red",), "Hues.", choices=("red", "blue"))
    only_b: int = option(0, "For b.", only_with={"kind": ("b",)})
    where: str = option("", "Where to write.", identity=False)


# Option -> a value that is refused, and a word of why.
IMPOSSIBLE = [
    ("width", 0, "at least 1; found 0"),
    ("width", True, "type int"),
    ("width", 1.0, "type int"),
    ("width", None, "type int"),
    ("width", MAX_INT + 1, f"at most {MAX_INT}"),
    ("share", "0.5", "type float"),
    ("share", 1.0, "less than 1.0"),
    ("share", 1, "less than 1.0"),
    ("share", float("nan"), "finite"),
    ("kind", "othr", "one of a, b, other; found 'othr'. Did you mean 'other'?"),
    ("kind", 3, "type str"),
    ("loud", 1, "type bool"),
    ("loud", "true", "type bool"),
    ("sizes", 0, "at least 1; found 0"),
    ("sizes", (10, 0), "at least 1; found 0"),
    ("sizes", (), "at least one value; found none"),
    ("sizes", [], "at least one value; found none"),
    ("sizes", "10", "type int; found '10'"),
    ("sizes", ("x",), "type int; found 'x'"),
    ("sizes", (10, 2.5), "type int; found 2.5"),
    ("sizes", (10, True), "type int; found True"),
    ("sizes", None, "type int; found None"),
    ("sizes", ((10,),), "type int"),
    ("sizes", (MAX_INT + 1,), f"at most {MAX_INT}"),
    ("shares", (0.5, 1.5), "at most 1.0; found 1.5"),
    ("shares", (float("inf"),), "finite"),
    ("names", (3,), "type str; found 3"),
    ("colours", ("red", "blu"), "Did you mean 'blue'?"),
]


@pytest.mark.parametrize(("name", "value", "why"), IMPOSSIBLE)
def test_an_impossible_value_is_refused_in_one_sentence(name, value, why):
    with pytest.raises(ConfigError) as caught:
        Mine(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"--{name} wants ")
    assert why in text
    assert "\n" not in text


def test_possible_values_are_taken():
    # The control of the table above.
    mine = Mine(
        width=MAX_INT,
        share=0.0,
        kind="other",
        loud=True,
        sizes=(10, 5, MAX_INT),
        shares=(0.5, 1.0),
        names=("a", "b c"),
        colours=("blue", "red"),
    )
    assert mine.sizes == (10, 5, MAX_INT)
    assert mine.names == ("a", "b c")


def test_an_option_without_effect_is_a_contradiction_and_names_both():
    with pytest.raises(ConfigError, match="--only_b=1 has no effect with --kind=a"):
        Mine(only_b=1)
    assert Mine(kind="b", only_b=1).only_b == 1
    assert Mine(kind="a", only_b=0).only_b == 0


@pytest.mark.parametrize("sizes", [10, [10], (10,)])
def test_one_value_alone_or_in_a_list_is_the_same_option(sizes):
    mine = Mine(sizes=sizes)
    assert mine == Mine(sizes=(10,)) == Mine()
    assert type(mine.sizes) is tuple
    assert mine.digest() == Mine().digest()


def test_a_name_alone_is_one_name_and_not_its_letters():
    assert Mine(names="abc").names == ("abc",)


def test_order_and_repetition_of_values_are_kept():
    assert Mine(sizes=(5, 10)) != Mine(sizes=(10, 5))
    assert Mine(sizes=(5, 5)).sizes == (5, 5)


def test_values_may_be_none_where_the_default_has_none():
    assert Mine(names=(), shares=[]) == Mine()


def test_a_whole_number_is_the_same_as_its_float():
    one, other = Mine(share=0), Mine(share=0.0)
    assert type(one.share) is float
    assert one.digest() == other.digest()


def test_whole_numbers_have_the_devices_limit_unless_told_otherwise():
    fields = {field.name: field.metadata for field in dataclasses.fields(Mine)}
    assert fields["width"]["maximum"] == fields["sizes"]["maximum"] == MAX_INT
    assert fields["share"]["maximum"] is None
    assert fields["names"]["maximum"] is None


def test_options_survive_json():
    mine = Mine(sizes=(10, 5), names=("a", "b"), share=1e-3)
    back = Mine(**json.loads(json.dumps(dataclasses.asdict(mine))))
    assert back == mine
    assert back.digest() == mine.digest()


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Mine().width = 4


def test_no_argument_goes_without_a_flag_unless_a_command_says_so():
    assert Options.POSITIONAL == Mine.POSITIONAL == ""
    assert "POSITIONAL" not in Mine().identity()


class TestIdentity:
    def test_where_to_write_is_not_part_of_it(self):
        assert "where" not in Mine().identity()
        assert Mine(where="x").digest() == Mine().digest()
        # Nor of equality's opposite: the options themselves do differ.
        assert Mine(where="x") != Mine()

    def test_every_other_option_is(self):
        others = dict(
            width=4,
            share=0.25,
            kind="b",
            loud=True,
            sizes=(10, 5),
            shares=(0.5,),
            names=("a",),
            colours=("blue",),
        )
        digests = {Mine(**{name: value}).digest() for name, value in others.items()}
        digests |= {Mine().digest(), Mine(kind="b", only_b=1).digest()}
        assert len(digests) == len(others) + 2
        assert all(re.fullmatch("[0-9a-f]{8}", digest) for digest in digests)

    def test_cut_offs_in_another_order_are_another_run(self):
        # The first is the one that tables show.
        assert Mine(sizes=(5, 10)).digest() != Mine(sizes=(10, 5)).digest()


class TestDifferences:
    def test_the_same_options_have_none(self):
        assert differences(Mine(), Mine(where="elsewhere")) == []

    def test_theirs_come_first(self):
        assert differences(Mine(), Mine(width=4)) == ["--width: 3 there, 4 here"]

    def test_several_values_are_written_as_on_the_command_line(self):
        found = differences(Mine(), Mine(sizes=(10, 5)))
        assert found == ["--sizes: 10 there, 10,5 here"]

    @given(
        width=st.integers(1, 9),
        share=st.floats(0, 0.99),
        sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    )
    def test_each_option_that_differs_is_named_and_no_other(self, width, share, sizes):
        ours = Mine(width=width, share=share, sizes=tuple(sizes), where="elsewhere")
        changed = {
            f"--{name}"
            for name in ("width", "share", "sizes")
            if getattr(ours, name) != getattr(Mine(), name)
        }
        found = differences(Mine(), ours)
        assert {line.split(":")[0] for line in found} == changed
        assert len(found) == len(changed)


def test_the_nearest_name_is_offered_only_when_one_is_near():
    assert nearest("epoch", ("epochs", "seed")) == " Did you mean 'epochs'?"
    assert nearest("zzz", ("epochs", "seed")) == ""
