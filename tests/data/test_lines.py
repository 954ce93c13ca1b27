"""Lines without a header: their numbers, their encoding, what they must not hold."""

import pytest

from ncf_jax.data import lines
from ncf_jax.data.tables import ID
from ncf_jax.errors import DataError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.dat"


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb", [(1, b"a"), (2, b"b")]),
        (b"\n\na\n\r\nb\n\n", [(3, b"a"), (5, b"b")]),
        (b"\xef\xbb\xbfa\n", [(1, b"a")]),
        (b"a\rb\n", [(1, b"a\rb")]),
        (b"", []),
    ],
)
def test_lines_have_their_numbers(path, content, rows):
    path.write_bytes(content)
    assert list(lines.rows_of(path)) == rows
    assert [lines.line_of(path, n) for n in range(len(rows))] == [n for n, _ in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_text_is_utf_8_or_else_latin_1(path, encoding):
    path.write_bytes("é\nü\n".encode(encoding))
    assert lines.decoded(path, "x") == ([(1, "é"), (2, "ü")], encoding)


@pytest.mark.parametrize("control", ["\0", "\x01", "\x08", "\x0b", "\x1b", "\x1f"])
def test_a_control_character_is_no_text(path, control):
    path.write_text(f"good\tone\nbad{control}one\n")
    with pytest.raises(DataError, match="line 2: expected a::b; found") as caught:
        lines.decoded(path, "a::b")
    assert repr(control) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_missing_or_empty_file_says_what_was_expected(path):
    with pytest.raises(DataError, match=r"is missing\. Expected lines of a::b\."):
        lines.decoded(path, "a::b")
    path.write_bytes(b"\n")
    with pytest.raises(DataError, match=r"is empty\. Expected lines of a::b\."):
        lines.decoded(path, "a::b")


def test_a_bad_cell_is_named_with_all_that_is_needed(path):
    error = lines.bad_cell(path, 7, "movieId", ID, "x" * 500)
    assert str(error).startswith(f"{path}, line 7, column movieId: expected {ID.form};")
    assert len(str(error)) < 300 + len(str(path))
