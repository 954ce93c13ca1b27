"""Every reader of the package as a target: valid files, how to read them, an oracle.

What a reader gives is compared with an independent strict reading (`oracles`) or, where
a file holds its own hash or checksum, with what was written.
"""

import dataclasses
import functools
import io
import json
import math
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from experiments import (
    benchmark,
    compare,
    evaluate,
    flags,
    launch,
    prepare,
    recommend,
    sweep,
)
from experiments import report as report_command
from experiments.search import space, trials
from ncf_jax import per_user, report, runs
from ncf_jax.config import Config, DataConfig
from ncf_jax.data import (
    building,
    csvblocks,
    dat,
    download,
    own,
    published,
    reading,
    releases,
    sharding,
    shards,
    store,
)
from ncf_jax.errors import ConfigError, DataError
from ncf_jax.recommend import read_ratings
from ncf_jax.results import history_csv, to_csv
from ncf_jax.types import pack
from tests import finished
from tests.data import older
from tests.drills import oracles

Files = dict[str, bytes]


class Target(NamedTuple):
    """A reader under fire.

    Attributes:
      name: of it.
      make: -> the valid files, by name, tiny.
      read: folder -> what is read, of plain Python values; raises NcfError.
      oracle: files -> the same by an independent strict reading; raises ValueError.
        None: `check` alone decides.
      check: value, files -> None; raises AssertionError where no such value may be.
      mutated: the files that are changed; none: all.
      change: (rng, files) -> files, instead of changing some bytes now and then.
      refuses_more: whether the reader may refuse what the oracle reads.
      share: tries of it for each one of others.
    """

    name: str
    make: Callable[[], Files]
    read: Callable[[Path], Any]
    oracle: Callable[[Files], Any] | None = None
    check: Callable[[Any, Files], None] | None = None
    mutated: tuple[str, ...] = ()
    change: Callable[[Any, Files], Files] | None = None
    refuses_more: bool = False
    share: int = 1


def rows(table):
    return list(table.itertuples(index=False, name=None))


def of_tables(found):
    """Ratings, movies and tags, in oracles' order; ranges are checked besides."""
    return rows(found.ratings), rows(found.movies), rows(found.tags)


# --- ratings in every format ----------------------------------------------------------


def own_files(suffix):
    mark = {"csv": ",", "tsv": "\t"}[suffix]
    mine = "user,item,rating,time\n9,30,4.25,100\n9,10,3.5,101\n5,10,5,102\n5,20,.5,7\n"
    items = (
        "item,title,genres,tags\n10,Heat (1995),Crime|Drama,heist\n30,,,a| b |a\n"
        "40,Never rated,War,war\n"
    )
    files = {f"mine.{suffix}": mine, f"items.{suffix}": items}
    return {name: text.replace(",", mark).encode() for name, text in files.items()}


def read_own(folder, suffix):
    items = folder / f"items.{suffix}"
    described = items if items.exists() else None
    return of_tables(own.read(folder / f"mine.{suffix}", features=described))


def plain_own():
    """As MovieLens writes it: the fast way."""
    mine = (
        b"user,item,rating,time\n9,30,4.5,100\n9,10,3.5,101\n5,10,5.0,102\n5,0,0.5,7\n"
    )
    return {"mine.csv": mine, "items.csv": own_files("csv")["items.csv"]}


def parquet_of(columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return {"mine.parquet": out.getvalue()}


def parquet_files():
    columns = dict(user=[9, 9, 5], item=["a", "b", "a"], rating=[4.25, 3.5, 5.0])
    return parquet_of(columns | dict(time=[100, 101, 102]))


def any_columns(rng, files):
    """A Parquet file of columns of any type, most of them right."""
    import pyarrow as pa

    n = rng.randint(1, 4)
    numbers = [0, 1, 2, 3, 5, -1, 2**31, 2**53, 2**53 + 1, None, 2**63 - 1]
    floats = [0.5, 1.0, 3.25, 5.0, 5.000001, 0.0, -1.0, math.nan, math.inf, None, 1e18]
    texts = ["a", "b", "7", "007", "", " ", "é", "1.5", None, "x" * 300, "\0", "a\nb"]
    kinds = {
        **dict.fromkeys(
            ["int8", "uint8", "int16", "uint32", "int64", "uint64"], numbers
        ),
        **dict.fromkeys(["float16", "float32", "float64"], floats),
        **dict.fromkeys(["string", "large_string", "binary"], texts),
        **dict.fromkeys(("timestamp:s", "timestamp:ns", "date32", "bool"), numbers),
        "dictionary": texts,
        "null": [None],
    }
    likely = dict(user="int64", item="string", rating="float64", time="int64")
    columns = {}
    for name, usual in likely.items():
        kind = usual if rng.random() < 0.5 else rng.choice(list(kinds))
        some = kinds[kind] if rng.random() < 0.4 else kinds[kind][:4]
        values = [rng.choice(some) for _ in range(n)]
        try:
            if kind == "dictionary":
                array = pa.array(values).dictionary_encode()
            elif kind.startswith("timestamp"):
                array = pa.array(values, pa.timestamp(kind.split(":")[1]))
            elif kind == "float16":
                with np.errstate(over="ignore"):
                    halves = [x and np.float16(x) for x in values]
                array = pa.array(halves, pa.float16())
            elif kind == "bool":
                array = pa.array([bool(x) for x in values])
            else:
                array = pa.array(values, getattr(pa, kind)())
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return files  # no such number in this type
        columns[name] = array
    if rng.random() < 0.2:
        del columns[rng.choice(list(columns))]
    try:
        return parquet_of(columns)
    except pa.ArrowException:
        return files  # nor in a file


def published_files():
    data = older.DATA_100K.splitlines(keepends=True)
    base, test = data[:1] + data[2:4], [data[4], data[1]]
    files = {
        "u.data": "".join(data),
        "u1.base": "".join(base),
        "u1.test": "".join(test),
    }
    return {name: text.encode() for name, text in files.items()}


@functools.cache
def hundred_k():
    with tempfile.TemporaryDirectory() as scratch:
        folder = older.write(Path(scratch), "ml-100k")
        found = dat.read(folder, "ml-100k")
    options = DataConfig(min_item_ratings=1, min_user_ratings=1)
    named = dict(name="ml-100k", label=lambda n: "ml-100k", source="")
    return building.build(found, options, lambda line: None, **named)


def read_published(folder):
    release = releases.RELEASES["ml-100k"]
    with mock.patch.object(type(release), "folder", return_value=folder):
        return published.part(hundred_k(), folder, "u1").tolist()


def somebody_files():
    return {"mine.csv": b"movieId,rating\n10,4.5\n20,3.0\n99,1.0\n"}


def read_somebody(folder):
    found = read_ratings(folder / "mine.csv", hundred_k())
    pairs = zip(found.item.tolist(), found.stars.tolist(), strict=True)
    return list(pairs), list(found.unknown)


def blocks_of(folder):
    return [
        r for block in csvblocks.blocks(folder / "ratings.csv") for r in rows(block)
    ]


# --- shards, the cache, archives ------------------------------------------------------


@functools.cache
def shard_files():
    with tempfile.TemporaryDirectory() as scratch:
        source, folder = Path(scratch) / "csv", Path(scratch) / "shards"
        older.write(source, "ml-32m")
        least = dict(min_user_ratings=1, min_item_ratings=1)
        sharding.from_csv(source, folder, name="w", rows_per_shard=3, **least)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def unsigned_shards():
    files = shard_files()
    about = json.loads(files["manifest.json"])
    del about["fingerprint"]
    return files | {"manifest.json": json.dumps(about, indent=1).encode()}


ARRAYS = ("user", "item", "rating", "time", "part", "user_ids", "item_ids")


def of_dataset(found):
    arrays = [None if (x := getattr(found, n)) is None else x.tolist() for n in ARRAYS]
    features = [np.asarray(found.features.genres), np.asarray(found.features.tags)]
    return (*arrays, *(x.tolist() for x in features), found.titles, found.genres)


def read_shards(folder):
    return of_dataset(shards.dataset(folder, DataConfig(cache_dir="")))


@functools.cache
def shards_value():
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in shard_files().items():
            (Path(scratch) / name).write_bytes(content)
        return read_shards(Path(scratch))


def as_written(value, files):
    assert value == shards_value(), "other rows than were written"


def as_the_manifest_says(value, files):
    """Of a changed manifest: its own fingerprint may be gone, the rows may not."""
    about = json.loads(files["manifest.json"])
    names = [one["file"] for one in about["shards"]]
    if names == sorted(set(names)) and len(names) == 2 and value[4] is not None:
        assert value[:7] == shards_value()[:7], "other rows than were written"
    in_range(value, files)


def in_range(value, files):
    user, item, rating, time, part, user_ids, item_ids, genres, tags, titles, texts = (
        value
    )
    assert len(user) == len(item) == len(rating) == len(time) > 0
    assert all(0 <= x < len(user_ids) for x in user)
    assert all(0 <= x < len(item_ids) for x in item)
    assert all(0.5 <= x <= 5 for x in rating), "stars out of range"
    assert part is None or (len(part) == len(user) and set(part) <= {0, 1, 2})
    assert len(set(user_ids)) == len(user_ids)
    assert len(set(item_ids)) == len(item_ids) == len(titles) == len(texts)
    assert all(type(x) is str for x in (*titles, *texts))
    assert np.isfinite(np.asarray(tags)).all()
    assert len(genres) == len(tags) == len(item_ids)


def cache_files():
    with tempfile.TemporaryDirectory() as scratch:
        store.save_npz(Path(scratch) / "kept.npz", hundred_k())
        return {"kept.npz": (Path(scratch) / "kept.npz").read_bytes()}


def read_cache(folder):
    found = store.load_npz(folder / "kept.npz")
    if found is None:
        raise DataError(f"{folder / 'kept.npz'}: none, so it is made anew.")
    return of_packed(found)


def of_packed(found):
    arrays, texts = pack(found)
    return {n: (x.dtype.str, x.tolist()) for n, x in arrays.items()}, texts


MEMBERS = {"ratings.csv": b"userId,movieId\n1,1\n" * 3, "movies.csv": b"movieId\n1\n"}


def archive_files():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in MEMBERS.items():
            zipped.writestr(f"small/{name}", content)
    return {"small.zip": out.getvalue()}


def read_archive(folder):
    hashes = {name: releases.content_sha256(text) for name, text in MEMBERS.items()}
    release = releases.Release(
        name="small",
        date="2000-01-01",
        url=f"https://nowhere.example{folder / 'small.zip'}",
        sha256=None,
        members=hashes,
        max_bytes=10**6,
    )
    sent = folder / "small.zip"
    instead = mock.patch.object(download, "_download", return_value=sent)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with instead:
                download.fetch(release, Path(scratch) / "data")
        except DataError:
            assert not list(Path(scratch).iterdir()), "something was left behind"
            raise
        found = [path for path in Path(scratch).rglob("*") if path.is_file()]
        return {str(x.relative_to(scratch)): x.read_bytes() for x in found}


def members(files):
    return {f"data/small/{name}": content for name, content in MEMBERS.items()}


# --- run folders ----------------------------------------------------------------------

HISTORY = [
    dict(epoch=1, train_loss=0.5, valid_loss=None, seconds=0.25, examples_per_second=8),
    dict(
        epoch=2, train_loss=0.25, valid_loss=0.5, seconds=1e-05, examples_per_second=9
    ),
]


@functools.cache
def run_files():
    more = dict(program="experiments.train", name="ncf", baselines={}, floor_rmse=None)
    run = finished.make(users=5, seeds=2, **more)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, allow_pickle=False, **per_user.pack(run.per_user))
    return {
        "metrics.json": report.dumps(run.results).encode(),
        "per_user.npz": arrays.getvalue(),
        "history.csv": history_csv(HISTORY).encode(),
        "timing.json": report.dumps({"train_seconds": 1.5}).encode(),
    }


def read_run(folder):
    found = runs.load_finished(folder)
    arrays = per_user.pack(found.per_user)
    arrays = {n: (x.dtype.str, repr(x.tolist())) for n, x in arrays.items()}
    return found.results, arrays, found.timing, found.history


def run_oracle(files):
    """What the texts say; of the arrays, which have checksums, what was written."""
    with np.load(io.BytesIO(run_files()["per_user.npz"])) as stored:
        arrays = {n: (stored[n].dtype.str, repr(stored[n].tolist())) for n in stored}
    results, timing = (
        oracles.strict_json(files[n]) for n in ("metrics.json", "timing.json")
    )
    oracles.want(isinstance(timing, dict), "timing")
    return results, arrays, timing, oracles.history(files["history.csv"])


def run_check(value, files):
    for metric in value[0]["metrics"].values():
        for number in (metric["mean"], metric["sd"], *metric["values"]):
            assert number is None or math.isfinite(number), number


SPACE = {
    "learning_rate": space.Axis("log", (0.0005, 0.01)),
    "embedding_dim": space.Axis("int", (8, 64, 8)),
    "loss": space.Axis("one_of", ("mse", "huber")),
}


def trial_files():
    found = [
        trials.Trial(
            n, trials.COMPLETE, dict(zip(SPACE, v, strict=True)), 0.9, 0.1, 2.0
        )
        for n, v in enumerate([(0.001, 8, "mse"), (0.0005, 64, "huber")], 1)
    ]
    text = to_csv(trials.header(SPACE, "valid/rmse"), trials.rows(found))
    return {"sweep.csv": text.encode()}


def read_trials(folder):
    return trials.read(folder / "sweep.csv", SPACE, "valid/rmse")


def trials_check(value, files):
    for number, trial in enumerate(value, 1):
        assert trial.number == number
        for figure in (trial.mean, trial.sd, trial.seconds):
            assert figure is None or math.isfinite(figure), figure
        assert 0.0005 <= trial.values["learning_rate"] <= 0.01
        assert trial.values["embedding_dim"] in range(8, 65, 8)
        assert trial.values["loss"] in ("mse", "huber")


# --- options --------------------------------------------------------------------------

COMMANDS = {
    "train": Config,
    "prepare": prepare.PrepareOptions,
    "evaluate": evaluate.EvaluateOptions,
    "recommend": recommend.RecommendOptions,
    "compare": compare.CompareOptions,
    "report": report_command.ReportOptions,
    "sweep": sweep.SweepOptions,
    "benchmark": benchmark.BenchmarkOptions,
    "launch": launch.LaunchOptions,
}
WORDS = [
    *("", "0", "1", "-1", "5", "0.5", "1e-3", "1e400", "nan", "inf", "-inf", "1_000"),
    *("true", "false", "yes", "9" * 30, "9" * 5000, "１２", "x" * 2000, "a,b", "1,2,3"),
    *(
        ",",
        ",,",
        "10,10",
        "./a",
        "a.csv",
        "a b",
        " a ",
        "a/\n--seed=3",
        "é/x",
        "\0",
        "'",
    ),
    *(
        "\udcff.csv",
        "--seed",
        "ncf",
        "mf",
        "synthetic",
        "ml-1m",
        "u1",
        "stored",
        "./x ",
    ),
    *("global_time", "catalogue", "adam", "3.0", "0x10", "None", "+1", "\u2028.", "[]"),
]
LEAD = ["--", "--", "--", "--", "-", "--no", "", "---", "—"]


def flag_files():
    return {
        "arguments.json": b'["train", "--seed=3", "--flagfile=@/run.flags"]',
        "run.flags": flags.to_flagfile(Config(epochs=3, k=(10, 5))).encode(),
    }


def any_arguments(rng, files):
    command = rng.choice(list(COMMANDS))
    fields = dataclasses.fields(COMMANDS[command])
    arguments = []
    for _ in range(rng.randint(0, 4)):
        field = rng.choice(fields)
        name, values = field.name, list(WORDS)
        if rng.random() < 0.5:  # a value that is likely
            values = [*(field.metadata["choices"] or ()), flags_text(field.default)]
        if rng.random() < 0.1:
            name = name[:-1] + rng.choice(WORDS)
        word = rng.choice(values)
        if rng.random() < 0.9:
            arguments.append(f"{rng.choice(LEAD)}{name}={word}")
        else:
            arguments += [f"--{name}", word]
    if rng.random() < 0.3:
        arguments.insert(0, "--flagfile=@/run.flags")
    made = json.dumps([command, *arguments]).encode()
    if rng.random() < 0.5:
        lines = [x for x in arguments if "@" not in x]
        text = "\n".join(lines).encode(errors="surrogateescape")
        return {"arguments.json": b'["train", "--flagfile=@/run.flags"]'} | {
            "run.flags": text
        }
    return files | {"arguments.json": made}


def flags_text(value):
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_flags(folder):
    try:
        command, *arguments = json.loads((folder / "arguments.json").read_bytes())
        arguments = [x.replace("@", str(folder)) for x in arguments]
        options = COMMANDS[command]
    except Exception:  # no reader's concern: the shell's arguments are always texts
        raise ConfigError("no arguments") from None
    return flags.parse(options, arguments)


def flags_check(value, files):
    """Written as a flagfile and read again, it is the same; and it has an identity."""
    if not isinstance(value, Config):
        return  # no flagfile is ever written of it
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "run.flags"
        file.write_bytes(flags.to_flagfile(value).encode())
        back = flags.parse(type(value), [f"--flagfile={file}"])
    fields = dataclasses.fields(value)
    instead = {f.name: f.default for f in fields if f.metadata["machine"]}
    instead |= {f.name: "" for f in fields if f.name == "workdir"}
    for name in ("data_dir", "cache_dir"):
        if getattr(value, name, ""):
            instead[name] = str(Path(getattr(value, name)).resolve())
    assert back == dataclasses.replace(value, **instead), "its flagfile says otherwise"
    assert value.digest() == back.digest()


def space_files():
    text = (
        "# what is varied\nlearning_rate = log 0.0005 0.01\n"
        "embedding_dim = int 8 64 8\ndropout = float 0 0.5  # low, high\n"
        "loss = one_of mse huber\n"
    )
    return {"a.space": text.encode()}


def any_space(rng, files):
    names = [*space.KINDS, "seed", "nothing", "", "k"]
    ways = ["log", "int", "float", "one_of", "oneof", ""]
    lines = []
    for _ in range(rng.randint(1, 3)):
        words = [
            rng.choice([*WORDS, "2", "8", "0.1"]) for _ in range(rng.randint(0, 4))
        ]
        how = rng.choice(ways)
        lines.append(f"{rng.choice(names)} = {how} {' '.join(words)}")
    return {"a.space": "\n".join(lines).encode(errors="surrogateescape")}


def read_space(folder):
    return space.read(folder / "a.space", Config())


def space_check(value, files):
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "again.space"
        lines = [
            f"{name} = {axis}".replace("True", "true") for name, axis in value.items()
        ]
        file.write_text("\n".join(lines).replace("False", "false"))
        back = space.read(file, Config())
    assert {n: a._replace(line=0) for n, a in value.items()} == {
        n: a._replace(line=0) for n, a in back.items()
    }
    for axis in value.values():
        for number in axis.values:
            assert type(number) in (str, bool) or math.isfinite(number)


def old(form, oracle):
    return Target(
        f"dat, {form}",
        lambda: dict(older.FILES[form]),
        lambda folder: of_tables(dat.read(folder, form)),
        oracle,
        share=2,
    )


def own_target(name, suffix, make, oracle, **more):
    return Target(name, make, lambda folder: read_own(folder, suffix), oracle, **more)


def text_of(suffix):
    return lambda files: oracles.own_text(files, suffix)


TARGETS = (
    Target(
        "reading (MovieLens CSV)",
        lambda: dict(older.FILES_CSV),
        lambda folder: of_tables(reading.read(folder)),
        oracles.movielens,
        share=3,
    ),
    Target(
        "csvblocks",
        lambda: {"ratings.csv": older.FILES_CSV["ratings.csv"]},
        blocks_of,
        lambda files: oracles.ratings_alone(files),
        share=2,
    ),
    old("ml-1m", oracles.ml_1m),
    old("ml-10m", oracles.ml_10m),
    old("ml-100k", oracles.ml_100k),
    Target(
        "published",
        published_files,
        read_published,
        oracles.published,
        mutated=("u1.base", "u1.test"),
    ),
    own_target("own, csv", "csv", lambda: own_files("csv"), text_of("csv"), share=2),
    own_target("own, plain csv", "csv", plain_own, text_of("csv"), share=2),
    own_target("own, tsv", "tsv", lambda: own_files("tsv"), text_of("tsv")),
    own_target(
        "own, parquet",
        "parquet",
        parquet_files,
        oracles.parquet,
        change=any_columns,
        share=2,
    ),
    Target("somebody's ratings", somebody_files, read_somebody, oracles.somebody),
    Target(
        "shards",
        shard_files,
        read_shards,
        check=as_written,
        mutated=tuple(n for n in shard_files() if n.endswith("parquet")),
    ),
    Target(
        "shards, manifest",
        shard_files,
        read_shards,
        check=as_the_manifest_says,
        mutated=("manifest.json",),
    ),
    Target(
        "shards without a fingerprint",
        unsigned_shards,
        read_shards,
        check=in_range,
        mutated=tuple(n for n in shard_files() if n.endswith("parquet")),
    ),
    Target(
        "store (cached npz)",
        cache_files,
        read_cache,
        lambda files: of_packed(hundred_k()),
        refuses_more=True,
        share=2,
    ),
    Target("archive", archive_files, read_archive, members, refuses_more=True, share=2),
    Target(
        "run folder",
        run_files,
        read_run,
        run_oracle,
        run_check,
        refuses_more=True,
        share=2,
    ),
    Target("sweep.csv", trial_files, read_trials, check=trials_check),
    Target("flags", flag_files, read_flags, check=flags_check, change=any_arguments),
    Target("space", space_files, read_space, check=space_check, change=any_space),
)
