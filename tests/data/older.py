"""Small copies of every release, in the very form in which it is published."""

CSV = ("ml-latest-small", "ml-latest", "ml-20m", "ml-25m", "ml-32m")
TIMES = [978300760, 978302109, 978301968, 978300275, 978824291]
RATINGS = [(1, 10, 5), (1, 30, 3), (2, 10, 4), (2, 20, 1), (7, 30, 2)]
RATINGS_DAT = "".join(
    f"{u}::{i}::{r}::{t}\n" for (u, i, r), t in zip(RATINGS, TIMES, strict=True)
)
MOVIES_DAT = (
    "10::Heat (1995)::Action|Crime\n"
    "20::Misérables, Les (1995)::Drama\n"
    "30::Untold (2001)::Comedy\n"
)
GENRES_100K = (
    "unknown|0\nAction|1\nAdventure|2\nAnimation|3\nChildren's|4\nComedy|5\nCrime|6\n"
    "Documentary|7\nDrama|8\nFantasy|9\nFilm-Noir|10\nHorror|11\nMusical|12\n"
    "Mystery|13\nRomance|14\nSci-Fi|15\nThriller|16\nWar|17\nWestern|18\n\n"
)


def item_line(number, title, *flags, dates="01-Jan-1995||http://us.imdb.com/x"):
    """A line of u.item, whose movie has the genres with the numbers `flags`."""
    genres = "|".join(str(int(n in flags)) for n in range(19))
    return f"{number}|{title}|{dates}|{genres}\n"


ITEMS = (
    item_line(10, "Heat (1995)", 1, 6)
    + item_line(20, "Misérables, Les (1995)", 8)
    + item_line(30, "unknown", 0, dates="||")
)
DATA_100K = RATINGS_DAT.replace("::", "\t")
FILES = {
    "ml-1m": {
        "ratings.dat": RATINGS_DAT.encode(),
        "movies.dat": MOVIES_DAT.encode("latin-1"),
    },
    "ml-10m": {
        "ratings.dat": RATINGS_DAT.replace("::3::", "::3.5::").encode(),
        "movies.dat": MOVIES_DAT.encode(),
        "tags.dat": (
            "1::10::heist::1215184630\n"
            "7::30::très drôle::1188263867\n"
            "2::20::a::b::1170560997\n"
        ).encode(),
    },
    "ml-100k": {
        "u.data": DATA_100K.encode(),
        "u.item": ITEMS.encode("latin-1"),
        "u.genre": GENRES_100K.encode(),
    },
}
FILES_CSV = {
    "ratings.csv": (
        b"userId,movieId,rating,timestamp\n"
        + RATINGS_DAT.replace("::3::", "::3.5::").replace("::", ",").encode()
    ),
    "movies.csv": (
        "movieId,title,genres\n10,Heat (1995),Action|Crime\n"
        '20,"Misérables, Les (1995)",Drama\n30,Untold (2001),Comedy\n'
    ).encode(),
    "tags.csv": (
        "userId,movieId,tag,timestamp\n1,10,heist,1215184630\n"
        "7,30,très drôle,1188263867\n2,20,a::b,1170560997\n"
    ).encode(),
}
FILES |= {name: FILES_CSV for name in CSV}


def write(folder, name, **other):
    """The files of release `name` in `folder`; `ratings_dat=...` replaces one.

    A content of None leaves the file out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replaced = {key.replace("_", "."): content for key, content in other.items()}
    for file, content in (FILES[name] | replaced).items():
        (folder / file).unlink(missing_ok=True)
        if content is not None:
            content = content.encode() if isinstance(content, str) else content
            (folder / file).write_bytes(content)
    return folder
