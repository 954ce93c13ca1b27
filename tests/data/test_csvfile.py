"""A CSV file, strictly, whatever stands between its cells.

What is read and refused of MovieLens files is held in `test_reading`; here: the same
with another delimiter, columns of one's own, and places of rows.
"""

import pytest

from ncf_jax.data import csvfile
from ncf_jax.data.tables import ANY_TEXT, ID, RATING, TEXT
from ncf_jax.errors import DataError

COLUMNS = {"b": ID, "a": TEXT, "r": RATING}
TEXTS = {
    "plain": "a,b,r\nx,1,4.0\ny,2,0.5\n",
    "more columns": "q,a,b,r,z\n0,x,1,4.0,9\n0,y,2,0.5,9\n",
    "a mark and CRLF": "\ufeffa,b,r\r\nx,1,4.0\r\ny,2,0.5\r\n",
    "blank lines": "\na,b,r\n\nx,1,4.0\n\ny,2,0.5\n\n",
    "quotes": '"a","b",r\n"x",1,"4.0"\ny,"2",0.5',
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.csv"


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("way", TEXTS)
def test_columns_are_read_value_by_value(path, way, delimiter):
    path.write_text(TEXTS[way].replace(",", delimiter))
    table = csvfile.read_table(path, COLUMNS, delimiter=delimiter)
    assert table.to_dict("list") == {"b": [1, 2], "a": ["x", "y"], "r": [4.0, 0.5]}
    assert csvfile.header_of(path, delimiter)[-3:] in (["a", "b", "r"], ["b", "r", "z"])


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x,1", "line 3: expected 3 columns (b,a,r); found 2."),
        ("x,one,4.0", "line 3, column b: expected a whole number"),
        (" ,1,4.0", "line 3, column a: expected text that is not empty"),
        ("x,1,4.2", "line 3, column r: expected stars from 0.5 to 5.0"),
        ('x,1,"4.0', "line 3: not CSV"),
    ],
)
def test_a_bad_line_is_named(path, delimiter, line, said):
    text = f"a,b,r\nx,1,4.0\n{line}\ny,2,0.5\n"
    path.write_text(text.replace(",", delimiter))
    with pytest.raises(DataError) as caught:
        csvfile.read_table(path, COLUMNS, delimiter=delimiter)
    message = str(caught.value)
    assert message.isprintable()
    assert message.removeprefix(f"{path}, ").startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing. Expected a CSV file with the columns b, a, r."),
        ("", "is empty. Expected the header"),
        ("a\tb\tr\n", "has a header but no rows."),
        ("a,b,r\nx,1,4.0\n", "line 1: column b is missing. Expected the header"),
        ("a\tr\nx\t4.0\n", "line 1: column b is missing."),
    ],
)
def test_a_file_of_another_form_is_named(path, content, said):
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        csvfile.read_table(path, COLUMNS, delimiter="\t")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_header_of_an_empty_file_has_no_name(path):
    path.write_text("")
    assert csvfile.header_of(path) == []


def test_the_line_of_a_row_counts_what_is_between(path):
    path.write_text('a;b\n\n"two\nlines";1\n\nx;2\n')
    assert [csvfile.line_of(path, row, ";") for row in (0, 1)] == [3, 6]


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_large_file_is_read_in_chunks_to_the_same_end(path, monkeypatch, delimiter):
    path.write_text(TEXTS["blank lines"].replace(",", delimiter))
    whole = csvfile.read_table(path, COLUMNS, delimiter=delimiter)
    monkeypatch.setattr(csvfile, "LARGE", 0)
    monkeypatch.setattr(csvfile, "CHUNK", 1)
    assert csvfile.read_table(path, COLUMNS, delimiter=delimiter).equals(whole)


def test_text_keeps_its_line_breaks_as_lf(path):
    path.write_bytes(b'a,t\r\n1,"x\r\ny"\r\n')
    table = csvfile.read_strictly(path, {"a": ID, "t": ANY_TEXT})
    assert table["t"].tolist() == ["x\ny"]


@pytest.mark.parametrize("header", ["a,b,r,b", "b,a,b,r"])
def test_a_column_that_is_there_twice_is_refused(path, header):
    # Which of the two is meant nobody knows.
    path.write_text(f"{header}\n1,1,4.0,1\n")
    with pytest.raises(DataError, match=r", line 1: column b is there 2 times\."):
        csvfile.read_table(path, COLUMNS)
    path.write_text("z,b,a,r,z\n0,1,x,4.0,0\n")  # the control: nobody wants z
    assert len(csvfile.read_table(path, COLUMNS)) == 1


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_no_row_is_lost_after_a_lone_carriage_return(path, delimiter):
    # pandas takes it for the end of a line, and passed over a row that began so.
    text = "a,b,r\r\nx,1,4.0\n\r,2,0.5\nz,3,1.0\n".replace(",", delimiter)
    path.write_text(text, newline="")
    with pytest.raises(DataError, match="column a: expected text"):
        csvfile.read_table(path, COLUMNS, delimiter=delimiter)
    path.write_text("a,b,r\rx,1,4.0\ry,2,0.5\r".replace(",", delimiter), newline="")
    found = csvfile.read_table(path, COLUMNS, delimiter=delimiter)
    assert found.to_dict("list") == {"b": [1, 2], "a": ["x", "y"], "r": [4.0, 0.5]}


def test_a_carriage_return_at_the_end_of_a_block_is_seen(path, monkeypatch):
    monkeypatch.setattr(csvfile.columnar, "BLOCK", 8)
    for text, lone in (("aaaaaaa\r\nb", False), ("aaaaaaa\rb", True), ("a\r", True)):
        path.write_bytes(text.encode())
        assert csvfile._has_lone_cr(path) is lone


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("b;a;r", "Write ',' between cells, not ';'."),
        ("b\ta\tr", "Write ',' between cells, not '\\t'."),
        ("b,a", "found 'b,a'."),
    ],
)
def test_another_separator_is_pointed_at(path, header, hint):
    path.write_text(f"{header}\n")
    with pytest.raises(DataError, match=r"column . is missing") as caught:
        csvfile.read_table(path, COLUMNS)
    assert str(caught.value).endswith(hint)
