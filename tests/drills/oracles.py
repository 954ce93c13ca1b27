"""Independent strict readings of every text format, a row at a time in plain Python.

Each gives what a reader of the package must give, or raises ValueError where the file
is not exactly as documented. Nothing of the package's reading is used here.
"""

import csv
import io
import json
import math
import re

MOST = 2**53
COLUMNS = ("user", "item", "rating", "time")
CONTROL = re.compile("[\0-\x08\x0b-\x1f]")
HISTORY = ["epoch", "train_loss", "valid_loss", "seconds", "examples_per_second"]


def want(fine, *about):
    if not fine:
        raise ValueError(*about)


def whole(text):
    want(re.fullmatch("[0-9]{1,30}", text) and int(text) <= MOST, text)
    return int(text)


def half_stars(text):
    want(re.fullmatch(r"[0-9]+(\.[0-9]*)?", text), text)
    want(float(text) in (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5), text)
    return float(text)


def whole_stars(text):
    want(half_stars(text) % 1 == 0, text)
    return float(text)


def stars(text):
    want(re.fullmatch(r"([0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?|[0-9]+\.)", text), text)
    want(0.5 <= float(text) <= 5, text)
    return float(text)


def seconds(text):
    found = re.fullmatch(r"([0-9]{1,30})(\.0*)?", text)
    want(found, text)
    return whole(found[1])


def filled(text):
    want(text.strip(), text)
    return anything(text)


def anything(text):
    return text.replace("\r\n", "\n")


def finite(text):
    want(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", text), text)
    want(math.isfinite(float(text)), text)
    return float(text)


def table(content, columns, delimiter=","):
    """The rows of a CSV file: a list of tuples in the order of `columns`."""
    text = content.decode("utf-8-sig")
    want("\0" not in text, "NUL")
    file = io.StringIO(text, newline="")
    try:
        read = [r for r in csv.reader(file, delimiter=delimiter, strict=True) if r]
    except csv.Error as error:
        raise ValueError(error) from None
    want(read, "empty")
    header, *rows = read
    for name in columns:
        want(header.count(name) == 1, name)
    for row in rows:
        want(len(row) == len(header), row)
    places = [header.index(name) for name in columns]
    return [
        tuple(f(row[p]) for p, f in zip(places, columns.values(), strict=True))
        for row in rows
    ]


RATINGS = dict(userId=whole, movieId=whole, rating=half_stars, timestamp=whole)
MOVIES = dict(movieId=whole, title=filled, genres=filled)
TAGS = dict(userId=whole, movieId=whole, tag=anything, timestamp=whole)


def distinct(rows):
    want(len(set(rows)) == len(rows), "repeated")


def consistent(ratings, movies, tags):
    want(ratings and movies, "no rows")
    known = [row[0] for row in movies]
    distinct(known)
    distinct([row[:2] for row in ratings])
    for row in (*ratings, *tags):
        want(row[1] in known, row)
    return ratings, movies, [row for row in tags if row[2].strip()]


def movielens(files):
    ratings = table(files["ratings.csv"], RATINGS)
    movies = table(files["movies.csv"], MOVIES)
    return consistent(ratings, movies, table(files["tags.csv"], TAGS))


def ratings_alone(files):
    rows = table(files["ratings.csv"], RATINGS)
    want(rows, "no rows")
    return rows


def lines(content):
    content = content.removeprefix(b"\xef\xbb\xbf")
    for line in content.split(b"\n"):
        line = line.removesuffix(b"\r")
        if line:
            yield line


def texts(content):
    found = list(lines(content))
    want(found, "empty")
    try:
        found = [line.decode() for line in found]
    except UnicodeDecodeError:
        found = [line.decode("latin-1") for line in found]
    for line in found:
        want(not CONTROL.search(line), line)
    return found


def old_ratings(content, separator, rating):
    rows = []
    for line in lines(content):
        cells = line.decode("latin-1").split(separator)
        want(len(cells) == 4, line)
        user, item, value, time = cells
        rows.append((whole(user), whole(item), rating(value), whole(time)))
    want(rows, "empty")
    return rows


def old_movies(content):
    rows = []
    for line in texts(content):
        movie, mark, rest = line.partition("::")
        title, other, genres = rest.rpartition("::")
        want(mark and other, line)
        rows.append((whole(movie), filled(title), filled(genres)))
    return rows


def ml_1m(files):
    ratings = old_ratings(files["ratings.dat"], "::", whole_stars)
    return consistent(ratings, old_movies(files["movies.dat"]), [])


def ml_10m(files):
    ratings = old_ratings(files["ratings.dat"], "::", half_stars)
    tags = []
    for line in texts(files["tags.dat"]):
        user, _, rest = line.partition("::")
        item, _, rest = rest.partition("::")
        tag, mark, time = rest.rpartition("::")
        want(mark, line)
        tags.append((whole(user), whole(item), tag, whole(time)))
    return consistent(ratings, old_movies(files["movies.dat"]), tags)


def ml_100k(files):
    ratings = old_ratings(files["u.data"], "\t", whole_stars)
    names = []
    for line in texts(files["u.genre"]):
        name, mark, number = line.rpartition("|")
        want(mark and name.strip() and number.strip() == str(len(names)), line)
        names.append(name)
    movies = []
    for line in texts(files["u.item"]):
        cells = line.split("|")
        want(len(cells) >= 5 + len(names), line)
        flags = cells[len(cells) - len(names) :]
        title = "|".join(cells[1 : len(cells) - len(names) - 3])
        want(all(flag in ("0", "1") for flag in flags), line)
        of = [n for n, f in zip(names, flags, strict=True) if f == "1"]
        genres = "|".join(n for n in of if n != "unknown") or "(no genres listed)"
        movies.append((whole(cells[0]), filled(title), genres))
    return consistent(ratings, movies, [])


def published(files):
    """The part of each row of u.data."""
    data = old_ratings(files["u.data"], "\t", whole_stars)
    base = old_ratings(files["u1.base"], "\t", whole_stars)
    test = old_ratings(files["u1.test"], "\t", whole_stars)
    want(sorted(base + test) == sorted(data), "other rows")
    return [0 if row in base else 2 for row in data]


def identities(found):
    """Ids that are whole numbers as they are; others by number."""
    order = list(dict.fromkeys(found))
    if all(re.fullmatch("0|[1-9][0-9]{0,15}", x) and int(x) <= MOST for x in order):
        return [int(x) for x in found]
    return [order.index(x) + 1 for x in found]


def own(rows, described):
    """Ratings, titles, genres and tags of rows of texts, stars and seconds."""
    want(rows, "no rows")
    distinct([row[:2] for row in rows])
    users, items = (identities([row[i] for row in rows]) for i in (0, 1))
    numbers = dict(zip([row[1] for row in rows], items, strict=True))
    of = {}
    if described is not None:
        distinct([row[0] for row in described])
        of = {row[0]: row[1:] for row in described}
        want(set(of) & set(numbers), "nothing rated")
    movies, tags = [], []
    for text, number in numbers.items():
        title, genres, words = of.get(text, ("", "", ""))
        title = title.strip() or text
        several = [list(dict.fromkeys(split(x))) for x in (genres, words)]
        genres = "|".join(several[0]) or "(no genres listed)"
        movies.append((number, title, genres))
        tags += [(0, number, word, 0) for word in several[1]]
    ratings = [(u, i, *r[2:]) for u, i, r in zip(users, items, rows, strict=True)]
    return ratings, movies, tags


def split(text):
    return [one.strip() for one in text.split("|") if one.strip()]


def own_text(files, suffix):
    delimiter = {"csv": ",", "tsv": "\t"}[suffix]
    content = files[f"mine.{suffix}"]
    columns = dict(zip(COLUMNS, (filled, filled, stars, seconds), strict=True))
    if "time" not in header(content, delimiter):
        del columns["time"]
    rows = [(*row, 0)[:4] for row in table(content, columns, delimiter)]
    content = files[f"items.{suffix}"]
    there = header(content, delimiter)
    names = [name for name in ("title", "genres", "tags") if name in there]
    want(names, "no feature")
    columns = dict(item=filled) | dict.fromkeys(names, anything)
    described = []
    for item, *cells in table(content, columns, delimiter):
        known = dict(zip(names, cells, strict=True))
        described.append(
            (item, *(known.get(n, "") for n in ("title", "genres", "tags")))
        )
    want(described, "no rows")
    return own(rows, described)


def header(content, delimiter):
    text = content.decode("utf-8-sig")
    try:
        rows = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, strict=True
        )
        return next((row for row in rows if row), [])
    except csv.Error as error:
        raise ValueError(error) from None


def parquet(files):
    """By the library's own lists of Python values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        read = pq.read_table(io.BytesIO(files["mine.parquet"]))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(error) from None
    names = COLUMNS if "time" in read.column_names else COLUMNS[:3]
    for name in names:
        want(read.column_names.count(name) == 1, name)
    ids, rows = [], []
    for name in names[:2]:
        want(not pa.types.is_temporal(read[name].type), name)
        values = [str(x) if type(x) is int else x for x in read[name].to_pylist()]
        want(all(type(x) is str for x in values), name)
        ids.append([filled(x) for x in values])
    want(not pa.types.is_temporal(read["rating"].type), "rating")
    rated, times = read["rating"].to_pylist(), [0] * len(ids[0])
    want(all(type(x) in (int, float) and 0.5 <= x <= 5 for x in rated), "rating")
    if len(names) == 4:
        kind = read["time"].type
        if pa.types.is_timestamp(kind):
            raw = read["time"].cast(pa.int64()).to_pylist()
            unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            times = [x if x is None else x // unit for x in raw]
        else:
            want(not pa.types.is_temporal(kind), "time")
            times = read["time"].to_pylist()
        want(all(type(x) in (int, float) for x in times), "time")
        want(all(0 <= x <= MOST and x % 1 == 0 for x in times), "time")
    rows = list(zip(*ids, map(float, rated), map(int, times), strict=True))
    return own(rows, None)


def somebody(files):
    """movieId and rating of somebody, of items 10, 30 and 20: indices 0 to 2."""
    rows = table(files["mine.csv"], dict(movieId=whole, rating=half_stars))
    distinct([row[0] for row in rows])
    place = {10: 0, 30: 1, 20: 2}
    found = [(place[movie], value) for movie, value in rows if movie in place]
    want(found, "nothing known")
    return found, [row[0] for row in rows if row[0] not in (10, 20, 30)]


def strict_json(content):
    """JSON in UTF-8 with finite numbers and each name once."""

    def pairs(found):
        want(len(dict(found)) == len(found), "a name twice")
        return dict(found)

    def number(text):
        want(math.isfinite(float(text)), text)
        return float(text)

    def constant(text):
        raise ValueError(text)

    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=pairs,
            parse_float=number,
            parse_constant=constant,
        )
    except RecursionError as error:
        raise ValueError(error) from None


def history(content):
    try:
        rows = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(error) from None
    want(rows and rows[0] == HISTORY, "header")
    found = []
    for row in rows[1:]:
        want(len(row) == len(HISTORY), row)
        cells = [
            None if n == 2 and not x else finite(x) for n, x in enumerate(row[1:], 1)
        ]
        found.append(dict(zip(HISTORY, (whole(row[0]), *cells), strict=True)))
    epochs = [row["epoch"] for row in found]
    want(epochs == sorted(set(epochs)) and 0 not in epochs, "epochs")
    return found
