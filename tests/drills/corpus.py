"""Files as people really have them and no reader wants them, with what must be said.

Each is one file in place of a good one of a target of `tests.drills.fuzz`. The sentence
is what follows the folder's name; `…` stands for anything.
"""

import gzip
import io
import zipfile
from typing import NamedTuple

from tests.drills import targets
from tests.drills.targets import TARGETS

READERS = {target.name: target for target in TARGETS}
RATINGS = "userId,movieId,rating,timestamp\n"
GOOD = RATINGS + "1,10,5.0,978300760\n"
MOVIES = "movieId,title,genres\n10,Heat (1995),Action\n20,B,Drama\n30,C,Comedy\n"
TAGS = "userId,movieId,tag,timestamp\n"
OWN = "user,item,rating,time\n9,30,4.25,100\n9,10,3.5,101\n"
HTML = "<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"
DAT = "1::10::5::978300760\n"
DATA = "1\t10\t5\t978300760\n"


def workbook():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.writestr("[Content_Types].xml", "<Types/>")
    return out.getvalue()


class Bad(NamedTuple):
    """A bad file.

    Attributes:
      name: what is bad about it.
      reader: name of the target.
      file: that is replaced.
      content: of it; None: it is not there.
      said: after the folder.
      code: exit code.
    """

    name: str
    reader: str
    file: str
    content: bytes | None
    said: str
    code: int = 3


def flipped(content):
    return content[:60] + bytes([content[60] ^ 1]) + content[61:]


def bad(name, reader, file, content, said, code=3):
    content = content.encode() if isinstance(content, str) else content
    return Bad(name, reader, file, content, said, code)


def ratings(name, content, said):
    return bad(name, "reading (MovieLens CSV)", "ratings.csv", content, said)


def movies(name, content, said):
    return bad(name, "reading (MovieLens CSV)", "movies.csv", content, said)


def tags(name, content, said):
    return bad(name, "reading (MovieLens CSV)", "tags.csv", content, said)


def own(name, content, said, file="mine.csv"):
    return bad(name, "own, csv", file, content, said)


CORPUS = (
    ratings(
        "not there",
        None,
        "@/ratings.csv is missing. Expected a CSV file with the columns "
        "userId, movieId, rating, timestamp.",
    ),
    ratings(
        "empty",
        "",
        "@/ratings.csv is empty. Expected the header userId,movieId,rating,timestamp.",
    ),
    ratings("a header alone", RATINGS, "@/ratings.csv has a header but no rows."),
    ratings(
        "blank lines alone",
        "\n\n\n",
        "@/ratings.csv is empty. Expected the header userId,movieId,rating,timestamp.",
    ),
    ratings(
        "no header",
        "1,10,5.0,978300760\n",
        "@/ratings.csv, line 1: column userId is missing. Expected the "
        "header userId,movieId,rating,timestamp; found "
        "'1,10,5.0,978300760'.",
    ),
    ratings(
        "a column missing",
        "userId,movieId,rating\n1,10,5.0\n",
        "@/ratings.csv, line 1: column timestamp is missing. Expected the "
        "header userId,movieId,rating,timestamp; found "
        "'userId,movieId,rating'.",
    ),
    ratings(
        "another case",
        GOOD.replace("userId", "UserID"),
        "@/ratings.csv, line 1: column userId is missing. Expected the "
        "header userId,movieId,rating,timestamp; found "
        "'UserID,movieId,rating,timestamp'.",
    ),
    ratings(
        "spaces after commas",
        GOOD.replace(",", ", "),
        "@/ratings.csv, line 1: column movieId is missing. Expected the "
        "header userId,movieId,rating,timestamp; found 'userId, movieId, "
        "rating, timestamp'.",
    ),
    ratings(
        "a column twice",
        "userId,movieId,rating,timestamp,rating\n1,10,5.0,9,4.0\n",
        "@/ratings.csv, line 1: column rating is there 2 times. Keep one of them.",
    ),
    ratings(
        "header twice",
        GOOD + RATINGS + "1,20,4.0,9\n",
        "@/ratings.csv, line 3, column userId: expected a whole number "
        "from 0 to 9007199254740992; found 'userId'.",
    ),
    ratings(
        "semicolons",
        GOOD.replace(",", ";"),
        "@/ratings.csv, line 1: column userId is missing. Expected the "
        "header userId,movieId,rating,timestamp; found "
        "'userId;movieId;rating;timestamp'. Write ',' between cells, not "
        "';'.",
    ),
    ratings(
        "tabs",
        GOOD.replace(",", "\t"),
        "@/ratings.csv, line 1: column userId is missing. Expected the "
        "header userId,movieId,rating,timestamp; found "
        "'userId\\tmovieId\\trating\\ttimestamp'. Write ',' between cells, "
        "not '\\t'.",
    ),
    ratings(
        "decimal commas",
        GOOD.replace("5.0", "4,5"),
        "@/ratings.csv, line 2: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 5.",
    ),
    ratings(
        "decimal commas in quotes",
        GOOD.replace("5.0", '"4,5"'),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '4,5'.",
    ),
    ratings(
        "trailing spaces",
        GOOD.replace("760\n", "760 \n"),
        "@/ratings.csv, line 2, column timestamp: expected whole seconds "
        "since 1970; found '978300760 '.",
    ),
    ratings(
        "a trailing comma",
        GOOD.replace("760\n", "760,\n"),
        "@/ratings.csv, line 2: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 5.",
    ),
    ratings(
        "the last line cut",
        GOOD + "1,20,4.0",
        "@/ratings.csv, line 3: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 3.",
    ),
    ratings(
        "the last line cut in a number",
        GOOD + "1,20,4.",
        "@/ratings.csv, line 3: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 3.",
    ),
    ratings(
        "UTF-16",
        GOOD.encode("utf-16"),
        "@/ratings.csv is text in UTF-16, not CSV. Save it as CSV in UTF-8.",
    ),
    ratings(
        "UTF-16 without a mark",
        GOOD.encode("utf-16-le"),
        "@/ratings.csv, line 1: column userId is missing. Expected the "
        "header userId,movieId,rating,timestamp; found 'u\\x00s….",
    ),
    ratings(
        "gzip",
        gzip.compress(GOOD.encode(), mtime=0),
        "@/ratings.csv is compressed by gzip, not CSV. Save it as CSV in UTF-8.",
    ),
    ratings(
        "a workbook",
        workbook(),
        "@/ratings.csv is a zip archive or a workbook, not CSV. Save it as "
        "CSV in UTF-8.",
    ),
    ratings(
        "a Parquet file",
        targets.parquet_files()["mine.parquet"],
        "@/ratings.csv is a Parquet file, not CSV. Save it as CSV in UTF-8.",
    ),
    ratings(
        "a web page",
        HTML,
        "@/ratings.csv is a web page, not CSV. Save it as CSV in UTF-8.",
    ),
    ratings(
        "binary",
        bytes(range(256)),
        "@/ratings.csv, line 2: not UTF-8 text (invalid start byte). Save it as UTF-8.",
    ),
    ratings(
        "NUL in a cell",
        GOOD.replace("5.0", "5\0.0"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '5\\x00.0'.",
    ),
    ratings(
        "NUL at the end",
        GOOD + "\0" * 20,
        "@/ratings.csv, line 3: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 1.",
    ),
    ratings(
        "rating 0",
        GOOD.replace("5.0", "0.0"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '0.0'.",
    ),
    ratings(
        "rating 5.5",
        GOOD.replace("5.0", "5.5"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '5.5'.",
    ),
    ratings(
        "rating 4.2",
        GOOD.replace("5.0", "4.2"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '4.2'.",
    ),
    ratings(
        "rating of ten",
        GOOD.replace("5.0", "8"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '8'.",
    ),
    ratings(
        "rating -1",
        GOOD.replace("5.0", "-1"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '-1'.",
    ),
    ratings(
        "rating NaN",
        GOOD.replace("5.0", "NaN"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found 'NaN'.",
    ),
    ratings(
        "rating infinite",
        GOOD.replace("5.0", "inf"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found 'inf'.",
    ),
    ratings(
        "rating in words",
        GOOD.replace("5.0", "five"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found 'five'.",
    ),
    ratings(
        "rating empty",
        GOOD.replace("5.0", ""),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found ''.",
    ),
    ratings(
        "rating with an exponent",
        GOOD.replace("5.0", "5e0"),
        "@/ratings.csv, line 2, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '5e0'.",
    ),
    ratings(
        "user negative",
        GOOD.replace("1,10", "-1,10"),
        "@/ratings.csv, line 2, column userId: expected a whole number "
        "from 0 to 9007199254740992; found '-1'.",
    ),
    ratings(
        "user a fraction",
        GOOD.replace("1,10", "1.0,10"),
        "@/ratings.csv, line 2, column userId: expected a whole number "
        "from 0 to 9007199254740992; found '1.0'.",
    ),
    ratings(
        "user huge",
        GOOD.replace("1,10", "9007199254740993,10"),
        "@/ratings.csv, line 2, column userId: expected a whole number "
        "from 0 to 9007199254740992; found '9007199254740993'.",
    ),
    ratings(
        "user endless",
        GOOD.replace("1,10", "9" * 5000 + ",10"),
        "@/ratings.csv, line 2, column userId: expected a whole number "
        "from 0 to 9007199254740992; found '99…99'.",
    ),
    ratings(
        "user in other digits",
        GOOD.replace("1,10", "１,10"),
        "@/ratings.csv, line 2, column userId: expected a whole number "
        "from 0 to 9007199254740992; found '１'.",
    ),
    ratings(
        "user with separators",
        GOOD.replace("1,10", "1_000,10"),
        "@/ratings.csv, line 2, column userId: expected a whole number "
        "from 0 to 9007199254740992; found '1_000'.",
    ),
    ratings(
        "time as a date",
        GOOD.replace("978300760", "2000-12-31 22:12:40"),
        "@/ratings.csv, line 2, column timestamp: expected whole seconds "
        "since 1970; found '2000-12-31 22:12:40'.",
    ),
    ratings(
        "movie unknown",
        GOOD + "1,99,4.0,9\n",
        "@/ratings.csv, line 3, column movieId: 99 is not in movies.csv.",
    ),
    ratings(
        "a pair twice",
        GOOD + "2,10,4.0,9\n1,10,4.0,9\n",
        "@/ratings.csv, line 4, column movieId: userId 1, movieId 10 "
        "stands in an earlier line too. Keep one of them.",
    ),
    ratings(
        "a cell too few",
        GOOD + "1,20,4.0\n",
        "@/ratings.csv, line 3: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 3.",
    ),
    ratings(
        "a cell too many",
        GOOD + "1,20,4.0,9,9\n",
        "@/ratings.csv, line 3: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 5.",
    ),
    ratings(
        "a quote left open",
        GOOD + '1,"20,4.0,9\n1,30,4.0,9\n',
        "@/ratings.csv, line 3: not CSV (unexpected end of data).",
    ),
    ratings(
        "text after a quote",
        GOOD + '1,"20"0,4.0,9\n',
        "@/ratings.csv, line 3: not CSV (',' expected after '\"').",
    ),
    movies(
        "empty", "", "@/movies.csv is empty. Expected the header movieId,title,genres."
    ),
    movies(
        "a comma in a title without quotes",
        MOVIES.replace("Heat", "Heat, The"),
        "@/movies.csv, line 2: expected 3 columns (movieId,title,genres); found 4.",
    ),
    movies(
        "a title of spaces",
        MOVIES.replace("Heat (1995)", "  "),
        "@/movies.csv, line 2, column title: expected text that is not "
        "empty; found '  '.",
    ),
    movies(
        "no genres",
        MOVIES.replace("Drama", ""),
        "@/movies.csv, line 3, column genres: expected text that is not "
        "empty; found ''.",
    ),
    movies(
        "Latin-1",
        MOVIES.replace("B,", "Misérables,").encode("latin-1"),
        "@/movies.csv, line 3: not UTF-8 text (invalid continuation byte). "
        "Save it as UTF-8.",
    ),
    movies(
        "a movie twice",
        MOVIES + "20,Again,Drama\n",
        "@/movies.csv, line 5, column movieId: movieId 20 stands in an "
        "earlier line too. Keep one of them.",
    ),
    movies(
        "an id missing",
        MOVIES.replace("20,B", ",B"),
        "@/movies.csv, line 3, column movieId: expected a whole number "
        "from 0 to 9007199254740992; found ''.",
    ),
    tags(
        "a column missing",
        "userId,movieId,tag\n1,10,x\n",
        "@/tags.csv, line 1: column timestamp is missing. Expected the "
        "header userId,movieId,tag,timestamp; found 'userId,movieId,tag'.",
    ),
    tags(
        "movie unknown",
        TAGS + "1,99,x,9\n",
        "@/tags.csv, line 2, column movieId: 99 is not in movies.csv.",
    ),
    tags(
        "time NaN",
        TAGS + "1,10,x,nan\n",
        "@/tags.csv, line 2, column timestamp: expected whole seconds "
        "since 1970; found 'nan'.",
    ),
    bad(
        "cut",
        "csvblocks",
        "ratings.csv",
        GOOD + "1,20,4",
        "@/ratings.csv, line 3: expected 4 columns "
        "(userId,movieId,rating,timestamp); found 3.",
    ),
    bad(
        "a column twice",
        "csvblocks",
        "ratings.csv",
        GOOD.replace("\n", ",9\n").replace("p,9", "p,userId"),
        "@/ratings.csv, line 1: column userId is there 2 times. Keep one of them.",
    ),
    bad(
        "half stars",
        "dat, ml-1m",
        "ratings.dat",
        DAT.replace("::5::", "::4.5::"),
        "@/ratings.dat, line 1, column rating: expected whole stars from 1 "
        "to 5; found '4.5'.",
    ),
    bad(
        "one colon",
        "dat, ml-1m",
        "ratings.dat",
        DAT.replace("::", ":"),
        "@/ratings.dat, line 1: expected 4 fields between '::' "
        "(userId::movieId::rating::timestamp); found '1:10:5:978300760'.",
    ),
    bad(
        "commas",
        "dat, ml-1m",
        "ratings.dat",
        DAT.replace("::", ","),
        "@/ratings.dat, line 1: expected 4 fields between '::' "
        "(userId::movieId::rating::timestamp); found '1,10,5,978300760'.",
    ),
    bad(
        "empty",
        "dat, ml-1m",
        "ratings.dat",
        "",
        "@/ratings.dat is empty. Expected lines of userId::movieId::rating::timestamp.",
    ),
    bad(
        "UTF-16",
        "dat, ml-1m",
        "movies.dat",
        "10::Heat::Action\n".encode("utf-16"),
        "@/movies.dat, line 1: expected movieId::title::genres; found "
        "'\\x00', which no text holds.",
    ),
    bad(
        "a field missing",
        "dat, ml-1m",
        "movies.dat",
        "10::Heat (1995)\n",
        "@/movies.dat, line 1: expected 3 fields between '::' "
        "(movieId::title::genres); found '10::Heat (1995)'.",
    ),
    bad(
        "binary",
        "dat, ml-10m",
        "tags.dat",
        b"\0\1\2\3\n",
        "@/tags.dat, line 1: expected userId::movieId::tag::timestamp; "
        "found '\\x00', which no text holds.",
    ),
    bad(
        "rating 5.5",
        "dat, ml-10m",
        "ratings.dat",
        DAT.replace("::5::", "::5.5::"),
        "@/ratings.dat, line 1, column rating: expected stars from 0.5 to "
        "5.0 in half-star steps; found '5.5'.",
    ),
    bad(
        "spaces for tabs",
        "dat, ml-100k",
        "u.data",
        DATA.replace("\t", "  "),
        "@/u.data, line 1: expected 4 fields between tabs (userId <tab> "
        "movieId <tab> rating <tab> timestamp); found '1  10  5  "
        "978300760'.",
    ),
    bad(
        "a time missing",
        "dat, ml-100k",
        "u.data",
        "1\t10\t5\n",
        "@/u.data, line 1: expected 4 fields between tabs (userId <tab> "
        "movieId <tab> rating <tab> timestamp); found '1\\t10\\t5'.",
    ),
    bad(
        "a flag of 2",
        "dat, ml-100k",
        "u.item",
        targets.older.item_line(10, "Heat", 1).replace("|1|", "|2|"),
        "@/u.item, line 1, column Action: expected 0 or 1; found '2'.",
    ),
    bad(
        "flags missing",
        "dat, ml-100k",
        "u.item",
        "10|Heat|01-Jan-1995||http://x|0|1\n",
        "@/u.item, line 1: expected 24 fields between '|' "
        "(id|title|release date|video release date|URL|19 genre flags); "
        "found 7: '10|Heat|01-Jan-1995||http://x|0|1'.",
    ),
    bad(
        "numbers of genres",
        "dat, ml-100k",
        "u.genre",
        "unknown|0\nAction|2\n",
        "@/u.genre, line 2: expected name|number, here number 1; found 'Action|2'.",
    ),
    bad(
        "a row of nobody",
        "published",
        "u1.test",
        "9\t10\t5\t1\n",
        "@/u1.test, line 1: userId 9, movieId 10, rating 5 is no row of u.data.",
    ),
    bad(
        "empty",
        "published",
        "u1.base",
        "",
        "@/u1.base is empty. Expected lines of userId <tab> movieId <tab> "
        "rating <tab> timestamp.",
    ),
    own(
        "no such column",
        OWN.replace("user,", "userId,"),
        "@/mine.csv, line 1: column user is missing. Expected the header "
        "user,item,rating,time; found 'userId,item,rating,time'.",
    ),
    own(
        "a column twice",
        "user,item,rating,item\n1,2,3.0,4\n",
        "@/mine.csv, line 1: column item is there 2 times. Keep one of them.",
    ),
    own(
        "rating 0.4",
        OWN.replace("4.25", "0.4"),
        "@/mine.csv, line 2, column rating: expected a number from 0.5 to "
        "5, to which ratings must be scaled; found '0.4'.",
    ),
    own(
        "rating NaN",
        OWN.replace("4.25", "nan"),
        "@/mine.csv, line 2, column rating: expected a number from 0.5 to "
        "5, to which ratings must be scaled; found 'nan'.",
    ),
    own(
        "an id of spaces",
        OWN.replace("9,30", " ,30"),
        "@/mine.csv, line 2, column user: expected text that is not empty; found ' '.",
    ),
    own(
        "a pair twice",
        OWN + "9,30,1.0,5\n",
        "@/mine.csv, line 4: user 9, item 30 was rated in an earlier row, "
        "too. Keep one of them.",
    ),
    own(
        "time a fraction",
        OWN.replace(",100", ",100.5"),
        "@/mine.csv, line 2, column time: expected whole seconds since "
        "1970; found '100.5'.",
    ),
    own(
        "semicolons",
        OWN.replace(",", ";"),
        "@/mine.csv, line 1: column user is missing. Expected the header "
        "user,item,rating; found 'user;item;rating;time'. Write ',' "
        "between cells, not ';'.",
    ),
    own(
        "an item twice",
        "item,title\n30,A\n30,B\n",
        "@/items.csv, line 3, column item: 30 stands in an earlier row, "
        "too. Keep one of them.",
        "items.csv",
    ),
    own(
        "no feature",
        "item,colour\n30,red\n",
        "@/items.csv has none of the columns title, genres, tags; found 'item,colour'.",
        "items.csv",
    ),
    own(
        "other items",
        "item,title\n77,A\n",
        "@/items.csv: none of its 1 items, such as '77', is rated in @/mine.csv.",
        "items.csv",
    ),
    bad(
        "CSV inside",
        "own, parquet",
        "mine.parquet",
        OWN,
        "@/mine.parquet cannot be read as a Parquet file (…).",
    ),
    bad(
        "cut",
        "own, parquet",
        "mine.parquet",
        targets.parquet_files()["mine.parquet"][:-9],
        "@/mine.parquet cannot be read as a Parquet file (…).",
    ),
    bad(
        "a null",
        "own, parquet",
        "mine.parquet",
        targets.parquet_of(
            dict(user=[1, None], item=[1, 2], rating=[1.0, 2.0], time=[1, 2])
        )["mine.parquet"],
        "@/mine.parquet, row 2, column user: expected text that is not "
        "empty; found 'nothing'.",
    ),
    bad(
        "ratings as text",
        "own, parquet",
        "mine.parquet",
        targets.parquet_of(dict(user=[1], item=[1], rating=["5"], time=[1]))[
            "mine.parquet"
        ],
        "@/mine.parquet, row 1, column rating: expected a number from 0.5 "
        "to 5, to which ratings must be scaled; found values of the type "
        "string.",
    ),
    bad(
        "rating infinite",
        "own, parquet",
        "mine.parquet",
        targets.parquet_of(dict(user=[1], item=[1], rating=[float("inf")], time=[1]))[
            "mine.parquet"
        ],
        "@/mine.parquet, row 1, column rating: expected a number from 0.5 "
        "to 5, to which ratings must be scaled; found 'inf'.",
    ),
    bad(
        "a column missing",
        "own, parquet",
        "mine.parquet",
        targets.parquet_of(dict(user=[1], item=[1], time=[1]))["mine.parquet"],
        "@/mine.parquet: column rating is missing. Expected user, item, "
        "rating, time; found user, item, time.",
    ),
    bad(
        "no such movie",
        "somebody's ratings",
        "mine.csv",
        "movieId,rating\n77,5.0\n",
        "@/mine.csv: none of its 1 movieIds, such as 77, is among the 3 "
        "movies of ml-100k that were kept.",
    ),
    bad(
        "a movie twice",
        "somebody's ratings",
        "mine.csv",
        "movieId,rating\n10,5.0\n10,4.0\n",
        "@/mine.csv, line 3, column movieId: movieId 10 stands in an "
        "earlier line too. Keep one of them.",
    ),
    bad(
        "not JSON",
        "shards, manifest",
        "manifest.json",
        "{",
        "@/manifest.json is not JSON (Expecting property name enclosed in "
        "double quotes: line 1 column 2 (char 1)).",
    ),
    bad(
        "endless brackets",
        "shards, manifest",
        "manifest.json",
        "[" * 10**5,
        "@/manifest.json is not JSON (…).",
    ),
    bad(
        "a list",
        "shards, manifest",
        "manifest.json",
        "[1]",
        "@/manifest.json: expected an object; found [1].",
    ),
    bad(
        "another format",
        "shards, manifest",
        "manifest.json",
        '{"format": 2}',
        "@/manifest.json, key format: expected 1; found 2.",
    ),
    bad(
        "a path outside",
        "shards, manifest",
        "manifest.json",
        targets.shard_files()["manifest.json"].replace(
            b'"users.parquet"', b'"../users.parquet"'
        ),
        "@/manifest.json, key users: expected the name of a file in the "
        "folder; found '../users.parquet'.",
    ),
    bad(
        "genres unnamed",
        "shards, manifest",
        "manifest.json",
        targets.shard_files()["manifest.json"].replace(b'"Drama"', b'"Drum"'),
        "@/items.parquet, row 2, column genres: 'Drama' is not among "
        "genre_names of the manifest. Add it there, or leave them out.",
    ),
    bad(
        "no Parquet",
        "shards without a fingerprint",
        "users.parquet",
        b"PAR1",
        "@/users.parquet is not a whole Parquet file (…).",
    ),
    bad(
        "a bit changed",
        "shards",
        "items.parquet",
        flipped(targets.shard_files()["items.parquet"]),
        "@ has fingerprint … where its manifest says …: a file was "
        "changed. Write the folder anew, or leave fingerprint out of the "
        "manifest.",
    ),
    bad(
        "NaN",
        "run folder",
        "metrics.json",
        targets.run_files()["metrics.json"].replace(b'"sd": ', b'"sd": NaN, "x": ', 1),
        "@/metrics.json is damaged (ValueError: NaN is no finite number). "
        "Remove it and run the same command again: it is made anew from "
        "the last checkpoint.",
        4,
    ),
    bad(
        "cut",
        "run folder",
        "metrics.json",
        targets.run_files()["metrics.json"][:99],
        "@/metrics.json is damaged (JSONDecodeError: Unterminated string "
        "starting at: line 6 column 3 (char 87)). Remove it and run the "
        "same command again: it is made anew from the last checkpoint.",
        4,
    ),
    bad(
        "another version",
        "run folder",
        "metrics.json",
        b'{"format": 3}',
        "@/metrics.json is of another version: format 3 where this one "
        "reads 2. Remove it and run the same command again, or train anew.",
        4,
    ),
    bad(
        "cut",
        "run folder",
        "per_user.npz",
        targets.run_files()["per_user.npz"][:-30],
        "@/per_user.npz is damaged (BadZipFile: File is not a zip file): "
        "train into a new --workdir.",
        4,
    ),
    bad(
        "a list",
        "run folder",
        "timing.json",
        b"[1]",
        "@/timing.json is damaged (it holds no names): remove it.",
        4,
    ),
    bad(
        "epochs out of order",
        "run folder",
        "history.csv",
        targets.history_csv(targets.HISTORY[::-1]),
        "@/history.csv is damaged (ValueError: its epochs are not in "
        "order): train into a new --workdir.",
        4,
    ),
    bad(
        "not as written",
        "run folder",
        "history.csv",
        targets.history_csv(targets.HISTORY).replace("0.25", "0.250"),
        "@/history.csv is damaged (ValueError: a number is not as it was "
        "written): train into a new --workdir.",
        4,
    ),
    bad(
        "a mean of NaN",
        "sweep.csv",
        "sweep.csv",
        targets.trial_files()["sweep.csv"].replace(b"0.9", b"nan"),
        "@/sweep.csv is damaged (trial 1 has a number that is not finite). "
        "Remove it and run the same command again: its trials are found "
        "again in their folders.",
        4,
    ),
    bad(
        "a value outside",
        "sweep.csv",
        "sweep.csv",
        targets.trial_files()["sweep.csv"].replace(b",8,", b",12,"),
        "@/sweep.csv is damaged (trial 1 has embedding_dim 12, not int 8 "
        "64 8). Remove it and run the same command again: its trials are "
        "found again in their folders.",
        4,
    ),
    bad(
        "an unknown choice",
        "sweep.csv",
        "sweep.csv",
        targets.trial_files()["sweep.csv"].replace(b"huber", b"other"),
        "@/sweep.csv is damaged (trial 2 has loss other, not one_of mse "
        "huber). Remove it and run the same command again: its trials are "
        "found again in their folders.",
        4,
    ),
    bad(
        "no option",
        "space",
        "a.space",
        "# nothing\n",
        "--space=@/a.space names no option; write one a line, such as "
        "'learning_rate = log 0.0005 0.01'.",
        2,
    ),
    bad(
        "an unknown option",
        "space",
        "a.space",
        "dropuot = float 0 0.5\n",
        "@/a.space:1: There is no option 'dropuot' to search. Did you mean 'dropout'?",
        2,
    ),
    bad(
        "low above high",
        "space",
        "a.space",
        "dropout = float 0.5 0\n",
        "@/a.space:1: dropout: float wants a low below the high; found 0.5 and 0.0.",
        2,
    ),
    bad(
        "NUL",
        "space",
        "a.space",
        "dropout = float 0 \0\n",
        "@/a.space:1: dropout wants a number; found '\\x00'.",
        2,
    ),
    bad(
        "Latin-1",
        "space",
        "a.space",
        b"# \xe9\n",
        "--space=@/a.space is not UTF-8 text.",
        2,
    ),
    bad(
        "an unknown flag",
        "flags",
        "run.flags",
        "--epoch=3\n",
        "There is no flag --epoch. Did you mean --epochs?",
        2,
    ),
    bad(
        "no number",
        "flags",
        "run.flags",
        "--epochs=three\n",
        "--epochs=three: wants a whole number; found 'three'",
        2,
    ),
    bad(
        "NaN",
        "flags",
        "run.flags",
        "--dropout=nan\n",
        "--dropout wants a finite number; found nan.",
        2,
    ),
    bad(
        "binary",
        "flags",
        "run.flags",
        b"\xff\xfe",
        "Not UTF-8 text: --flagfile=@/run.flags.",
        2,
    ),
    bad(
        "a value to --no",
        "flags",
        "run.flags",
        "--noclip=true\n",
        "--noclip takes no value. Write --noclip alone.",
        2,
    ),
    bad(
        "no flag",
        "flags",
        "run.flags",
        "epochs=3\n",
        "Expected flags only; found 'epochs=3'. Write --name=value.",
        2,
    ),
    bad(
        "a NUL",
        "flags",
        "run.flags",
        "--dataset=a/\0b\n",
        "--dataset wants text without control characters; found 'a/\\x00b'.",
        2,
    ),
    bad(
        "an endless name",
        "flags",
        "run.flags",
        "--run" + "9" * 2000 + "=3\n",
        "There is no flag whose name is so long. --help lists all flags.",
        2,
    ),
    bad(
        "cut",
        "archive",
        "small.zip",
        targets.archive_files()["small.zip"][:-30],
        "What https://nowhere.example@/small.zip sent is not small (File "
        "is not a zip file); it was thrown away. Point --data_dir at a "
        "folder that holds small/ (ratings.csv, movies.csv), or try again.",
    ),
    bad(
        "a web page",
        "archive",
        "small.zip",
        HTML,
        "What https://nowhere.example@/small.zip sent is not small (File "
        "is not a zip file); it was thrown away. Point --data_dir at a "
        "folder that holds small/ (ratings.csv, movies.csv), or try again.",
    ),
)


class Good(NamedTuple):
    """A file that is odd and all the same as documented: it must be read."""

    name: str
    reader: str
    file: str
    content: bytes


def good(name, reader, file, text):
    return Good(name, reader, file, text.encode())


QUOTED = 'movieId,title,genres\n10,"Heat, The ""best""\nof it",A|B\n20,NA,nan\n30,,x\n'
FINE = (
    good("a mark", "reading (MovieLens CSV)", "ratings.csv", "\ufeff" + GOOD),
    good("CRLF", "reading (MovieLens CSV)", "ratings.csv", GOOD.replace("\n", "\r\n")),
    good("CR", "reading (MovieLens CSV)", "ratings.csv", GOOD.replace("\n", "\r")),
    good("no last end", "reading (MovieLens CSV)", "ratings.csv", GOOD.rstrip("\n")),
    good("blank", "reading (MovieLens CSV)", "ratings.csv", f"\n\n{GOOD}\n\n"),
    good("whole", "reading (MovieLens CSV)", "ratings.csv", GOOD.replace("5.0", "5")),
    good("more", "reading (MovieLens CSV)", "ratings.csv", GOOD.replace("\n", ",x\n")),
    good(
        "commas, quotes, line ends and NA in titles",
        "reading (MovieLens CSV)",
        "movies.csv",
        QUOTED.replace("30,,", "30,C,"),
    ),
    good(
        "tags that look like nothing",
        "reading (MovieLens CSV)",
        "tags.csv",
        TAGS + '1,10,nan,9\n1,20,"  ",9\n1,30,,9\n2,10,None,9\n2,20,-,9\n',
    ),
    good("no tag", "reading (MovieLens CSV)", "tags.csv", TAGS),
    good("CRLF", "dat, ml-1m", "ratings.dat", DAT.replace("\n", "\r\n")),
    good("points", "dat, ml-1m", "ratings.dat", DAT.replace("::5::", "::5.0::")),
    good(
        "the separator in a title",
        "dat, ml-1m",
        "movies.dat",
        "10::A::B::Drama\n20::C::War\n30::D::War\n",
    ),
    good("whole seconds", "own, csv", "mine.csv", OWN.replace(",100\n", ",100.0\n")),
    good("no times", "own, csv", "mine.csv", "item,user,rating\n30,a,4e0\n10,b,.5\n"),
    good(
        "ids with zeros",
        "own, plain csv",
        "mine.csv",
        "user,item,rating,time\n007,30,4.5,9\n7,30,3.0,9\n",
    ),
)
