"""The fast path of reading: the strict path's very table, or None.

Held here: the fast path is really taken for files as MovieLens writes them, in blocks
of any size; for any file, however it is mutated, it gives nothing or exactly what the
strict path gives, and the whole of `reading.read` says what the strict path alone says;
repeated pairs and unknown ids are found as pandas finds them; progress is told.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax.data import columnar, csvfile, reading
from ncf_jax.data.tables import MOVIES, RATINGS, TAGS
from ncf_jax.errors import DataError

FORMS = {"ratings.csv": RATINGS, "movies.csv": MOVIES, "tags.csv": TAGS}
PLAIN = {
    "ratings.csv": (
        "userId,movieId,rating,timestamp\n"
        "7,1,4.0,964982703\n7,3,0.5,964981247\n9,2,5.0,0\n9,1,3.5,964982931\n"
    ),
    "movies.csv": (
        "movieId,title,genres\n"
        '1,Toy Story (1995),Adventure|Animation\n2,"Cats, The ""Best""",Action\n'
        "3,Misérables,(no genres listed)\n"
    ),
    "tags.csv": (
        "userId,movieId,tag,timestamp\n"
        '7,1,funny,1445714994\n9,2,"dark, slow",1445714996\n9,1,NA,5\n9,1,,6\n'
    ),
}
NAMES = list(PLAIN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def strictly(path, columns):
    """The strict path alone: a table, or its sentence."""
    try:
        return csvfile.read_strictly(path, columns)
    except DataError as error:
        return str(error)


def assert_agrees(path, columns):
    """Whether the fast path answered; what it answers must be the strict table."""
    fast = columnar.read(path, columns)
    if fast is None:
        return False
    wanted = strictly(path, columns)
    assert not isinstance(wanted, str), f"accepted what is refused: {wanted}"
    pd.testing.assert_frame_equal(fast, wanted)
    return True


# --- what is plain --------------------------------------------------------------------

WAYS = {
    "as published, LF": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "no end of the last line": lambda text: text.rstrip("\n"),
    "a byte-order mark": lambda text: "\ufeff" + text,
    "mixed line ends": lambda text: text.replace("\n", "\r\n", 2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_as_movielens_writes_it_takes_the_fast_path(tmp_path, name, way):
    path = tmp_path / name
    path.write_bytes(WAYS[way](PLAIN[name]).encode())
    assert assert_agrees(path, FORMS[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_real_files_take_the_fast_path(real_data_dir, name):
    assert assert_agrees(real_data_dir / "ml-latest-small" / name, FORMS[name])


@pytest.mark.parametrize("block", [32, 40, 64, 1000])
@pytest.mark.parametrize("capacity", [20, 10_000])
def test_blocks_of_any_size_give_the_same_table(tmp_path, monkeypatch, block, capacity):
    rng = np.random.default_rng(0)
    rows = [
        f"{user},{item},{half / 2},{time}"
        for user, item, half, time in zip(
            rng.integers(1, 99, 300),
            rng.integers(1, 9999, 300),
            rng.integers(1, 11, 300),
            rng.integers(0, 10**9, 300),
            strict=True,
        )
    ]
    path = tmp_path / "ratings.csv"
    path.write_text("\r\n".join(["userId,movieId,rating,timestamp", *rows, ""]))
    monkeypatch.setattr(columnar, "BLOCK", block)
    monkeypatch.setattr(columnar, "SHORT_LINE", capacity)  # too few rows foreseen: grow
    assert assert_agrees(path, RATINGS)


@pytest.mark.parametrize("name", NAMES)
def test_another_order_of_columns_is_left_to_the_strict_path(tmp_path, name):
    path = tmp_path / name
    lines = PLAIN["tags.csv" if name == "tags.csv" else name].splitlines()
    turned = [",".join(line.split(",")[::-1]) for line in lines[:2]]
    path.write_text("\n".join(turned) + "\n")
    assert columnar.read(path, FORMS[name]) is None
    assert not isinstance(strictly(path, FORMS[name]), str)


def ratings_of(row, before="1,1,4.0,5\n", after="2,2,4.0,5\n"):
    return f"userId,movieId,rating,timestamp\n{before}{row}\n{after}"


@pytest.mark.parametrize(
    "row",
    [
        "7,1,4.0,5,6",
        "7,1,4.0",
        "7,1,4.0,",
        ",1,4.0,5",
        "7,1,,5",
        "7,1.0,4,5",
        "7,1,4,5.0",
        "7,1,.5,5",
        "7,1,4.,5",
        "7,1,4,5",
        "7,1,4.00,5",
        "7,1,4.5.5,5",
        "7,1,4.3,5",
        "7,1,0.0,5",
        "7,1,5.5,5",
        "7,1,04.0,5",
        "-7,1,4.0,5",
        " 7,1,4.0,5",
        "7,1,4.0,5 ",
        "+7,1,4.0,5",
        "7,1,4.0,1e3",
        "7,1,nan,5",
        '"7",1,4.0,5',
        "",
        "\r",
        "7,1,4.0,9007199254740993",
        "9223372036854775808,1,4.0,5",
        "99999999999999999999999999,1,4.0,5",
        "0000000000000000000000000000007,1,4.0,5",
        "7,1,00000000000000000000000000004.0,5",
        "\ufeff7,1,4.0,5",
        "7,1,4.0,5\0",
    ],
)
def test_an_odd_row_is_left_to_the_strict_path(tmp_path, row):
    path = tmp_path / "ratings.csv"
    path.write_bytes(ratings_of(row).encode())
    assert columnar.read(path, RATINGS) is None
    path.write_bytes(ratings_of("7,1,4.0,5").encode())
    assert columnar.read(path, RATINGS) is not None, "the control: the rest is plain"


@pytest.mark.parametrize(
    ("one", "other"),
    [("7,1,4.0,5,6", "7,1,4.0"), ("7,1,4.5.0,5", "7,1,4,5"), ("7,1,4.0,5,,,,", "")],
)
def test_two_odd_rows_that_make_up_for_each_other_are_seen(tmp_path, one, other):
    path = tmp_path / "ratings.csv"
    for rows in ((one, other), (other, one)):
        path.write_text(ratings_of("\n".join(rows)))
        assert columnar.read(path, RATINGS) is None
        path.write_text(ratings_of(rows[0], before=f"{rows[1]}\n"))
        assert columnar.read(path, RATINGS) is None


@pytest.mark.parametrize(
    "row",
    [
        '7,1,"open,5',
        '7,1,"a"b,5',
        '7,1,a"b,5',
        '7,1,"two\nlines",5',
        '"7",1,a,5',
        "7,1,a,b,5",
        " 7,1,a,5",
        "7,1,a,-5",
        "7,1,a,5.0",
        "7,1,a",
        "7,1,a\0b,5",
        "\ufeff7,1,a,5",
        "7,1,a,9007199254740993",
        "7,1,a,00000000000000005",
        "",
    ],
)
def test_an_odd_tag_is_left_to_the_strict_path(tmp_path, row):
    path = tmp_path / "tags.csv"
    path.write_text(PLAIN["tags.csv"] + f"{row}\n1,1,good,2\n")
    assert columnar.read(path, TAGS) is None


@pytest.mark.parametrize("title", ["", " ", "\t", '""', '"  "'])
def test_a_movie_without_a_title_is_left_to_the_strict_path(tmp_path, title):
    path = tmp_path / "movies.csv"
    path.write_text(PLAIN["movies.csv"] + f"8,{title},Drama\n")
    assert columnar.read(path, MOVIES) is None


def test_text_that_is_not_utf8_is_left_to_the_strict_path(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_bytes(PLAIN["tags.csv"].encode() + b"7,1,\xff,5\n")
    assert columnar.read(path, TAGS) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_rows_is_left_to_the_strict_path(tmp_path, name):
    path = tmp_path / name
    for content in ("", PLAIN[name].split("\n")[0], PLAIN[name].split("\n")[0] + "\n"):
        path.write_text(content)
        assert columnar.read(path, FORMS[name]) is None


# --- any file -------------------------------------------------------------------------

CELLS = ["4.", ".5", "5.5", "4.25", "1e1", "NaN", "inf", "-1", "+1", " 1", "1 ", "007"]
CELLS += ["", '"4.0"', "9" * 19, "9" * 40, "0" * 31 + "4", "4.0000000000000001", "0.0"]
CELLS += ["4.9999999999999999", "\x00", "\ufeff", "é", '"', '"a"b', '"a\nb"', "4.5.0"]
PIECES = [",", ",,", "\n", "\n\n", "\r", "\r\n", '"', '""', " ", "\t", "-", "+", "."]
PIECES += ["e", "0", "00", "5", "\x00", "\ufeff", "\u2028", "é", ",.", ".0,", ".5,"]


@st.composite
def mutated(draw, name):
    """A plain file after up to three changes of a cell, a row, a place or the whole."""
    text = PLAIN[name]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["cell", "row", "piece", "cut", "way"]))
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        if kind == "cell":
            row = lines[at].split(",")
            row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(CELLS))
            lines[at] = ",".join(row)
            text = "\n".join(lines)
        elif kind == "row":  # twice, or not at all
            lines[at : at + 1] = [lines[at]] * draw(st.sampled_from([0, 2]))
            text = "\n".join(lines)
        elif kind == "way":
            text = WAYS[draw(st.sampled_from(sorted(WAYS)))](text)
        else:
            place = draw(st.integers(0, len(text)))
            piece = draw(st.sampled_from(PIECES)) if kind == "piece" else ""
            text = text[:place] + piece + text[place + (kind == "cut") :]
    return text.encode()


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_mutated_file_is_read_strictly_or_the_same(folder, name, data):
    path = folder / name
    path.write_bytes(data.draw(mutated(name)))
    assert_agrees(path, FORMS[name])


def everything(folder):
    """All that `reading.read` says of a folder."""
    try:
        *tables, notes = reading.read(folder)
    except DataError as error:
        return str(error)
    return [*(table.to_dict("list") for table in tables), notes]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_with_and_without_the_fast_path_a_folder_reads_the_same(folder, data):
    changed = data.draw(st.sampled_from(NAMES))
    for name in NAMES:
        content = data.draw(mutated(name)) if name == changed else PLAIN[name].encode()
        (folder / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        both = everything(folder)
        patch.setattr(columnar, "read", lambda path, columns, tell: None)
        patch.setattr(columnar, "repeated", lambda user, item: True)
        assert everything(folder) == both


cells = st.text(
    st.characters(codec="utf-8", exclude_characters='\r\n\0"'), max_size=6
).map(lambda text: f'"{text}"' if "," in text else text)


@given(tags=st.lists(st.tuples(st.integers(0, 2**53), cells), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_text_of_a_tag_takes_the_fast_path(folder, tags):
    path = folder / "tags.csv"
    rows = "".join(f"{user},1,{text},5\n" for user, text in tags)
    path.write_bytes(f"userId,movieId,tag,timestamp\n{rows}".encode())
    assert assert_agrees(path, TAGS)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 10)),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=100, deadline=None)
def test_any_half_stars_take_the_fast_path(folder, rows):
    path = folder / "ratings.csv"
    lines = "".join(f"{a},{b},{half / 2},{a}\n" for a, b, half in rows)
    path.write_text(f"userId,movieId,rating,timestamp\n{lines}")
    assert assert_agrees(path, RATINGS)


# --- pairs and ids --------------------------------------------------------------------

ids = st.integers(0, 6) | st.sampled_from([2**26, 2**40, 2**53])


@given(pairs=st.lists(st.tuples(ids, ids), max_size=12), in_order=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_repeated_pair_is_found_as_a_set_finds_it(pairs, in_order):
    pairs = sorted(pairs) if in_order else pairs
    user, item = np.array(pairs, np.int64).reshape(-1, 2).T
    assert columnar.repeated(user, item) == (len(set(pairs)) < len(pairs))


@given(values=st.lists(ids, max_size=10), among=st.lists(ids, max_size=6, unique=True))
@settings(max_examples=200, deadline=None)
def test_known_ids_are_those_of_a_set(values, among):
    found = columnar.known(np.array(values, np.int64), np.array(among, np.int64))
    assert found.tolist() == [one in set(among) for one in values]


# --- progress -------------------------------------------------------------------------


def test_a_long_reading_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar, "BLOCK", 64)
    monkeypatch.setattr(columnar, "SAID_EVERY", 100)
    path = tmp_path / "ratings.csv"
    rows = "".join(f"{n},1,4.0,5\n" for n in range(1000))
    path.write_text(f"userId,movieId,rating,timestamp\n{rows}")
    told = []
    assert len(columnar.read(path, RATINGS, told.append)) == 1000
    counts = [int(line.split()[1].replace(",", "")) for line in told]
    assert all(line.startswith("ratings.csv: ") for line in told)
    assert counts == sorted(set(counts))
    assert 5 <= len(counts) <= 10
