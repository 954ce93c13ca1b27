"""Downloads: verified, whole or not at all, and harmless to what is already there.

Held here, against a server on loopback that the test starts: a good archive arrives and
only its verified members do; a cut, corrupt, stalled, missing, redirected, foreign,
oversized or otherwise wrong one gives one `DataError` on one line that says what to do,
and leaves nothing behind; files already there are never overwritten; two threads or two
processes at once both succeed; a process that dies leaves nothing that looks whole.
"""

import hashlib
import io
import re
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ncf_jax.data import download
from ncf_jax.data.download import fetch
from ncf_jax.data.releases import Release, content_sha256
from ncf_jax.errors import DataError

MEMBERS = {
    "ratings.csv": b"userId,movieId,rating,timestamp\r\n1,1,4.0,1\r\n" * 400,
    "movies.csv": b"movieId,title,genres\r\n1,Heat,Crime\r\n",
}


def archive_of(members, prefix="small/", compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        for name, content in members.items():
            zipped.writestr(prefix + name, content)
    return file.getvalue()


GOOD = archive_of(MEMBERS)


class Server(ThreadingHTTPServer):
    """Answers each path with the function given for it; remembers what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = {}
        self.asked = []
        self.half_sent = threading.Event()
        self.closing = threading.Event()

    def url(self, path="small.zip"):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request, client_address):
        pass  # a client that hangs up in the middle is part of these tests


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.answers.get(self.path.strip("/"), missing)(self)

    def log_message(self, format, *args):
        pass

    def head(self, length, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def sends(content):
    def answer(handler):
        handler.head(len(content))
        handler.wfile.write(content)

    return answer


def missing(handler):
    handler.head(0, status=404)


def breaks(handler):
    handler.head(0, status=500)


def hangs_up(handler):
    handler.close_connection = True  # without a word


def sends_half(handler):
    handler.head(len(GOOD))
    handler.wfile.write(GOOD[: len(GOOD) // 2])


def stalls(handler):
    handler.server.closing.wait()


def stalls_half_way(handler):
    sends_half(handler)
    handler.wfile.flush()
    handler.server.half_sent.set()
    handler.server.closing.wait()


def dribbles(handler):
    handler.head(len(GOOD))
    for start in range(0, len(GOOD), len(GOOD) // 5):
        handler.wfile.write(GOOD[start : start + len(GOOD) // 5])
        handler.wfile.flush()
        handler.server.closing.wait(0.2)


def redirects(location, status=302):
    return lambda handler: handler.head(0, status=status, Location=location)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def release_of(server, content=GOOD, path="small.zip", **other):
    """A release at the server whose archive is `content`."""
    server.answers.setdefault(path, sends(content))
    fields = dict(
        name="small",
        date="2000-01-01",
        url=server.url(path),
        sha256=hashlib.sha256(content).hexdigest(),
        members={name: content_sha256(text) for name, text in MEMBERS.items()},
        max_bytes=10**6,
    )
    return Release(**fields | other)


def refused(release, data_dir):
    """The message of the failed download, which must leave `data_dir` as it was."""
    before = contents(data_dir)
    with pytest.raises(DataError) as caught:
        fetch(release, data_dir)
    assert contents(data_dir) == before, "a failed download left something behind"
    message = str(caught.value)
    assert message.isprintable(), repr(message)
    assert release.name in message
    assert "--data_dir" in message, "it does not say what to do"
    return message


def contents(folder):
    """Every file and folder below, with the files' bytes."""
    if not folder.is_dir():
        return {}
    return {
        str(path.relative_to(folder)): path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


WHOLE = {"small": False} | {f"small/{name}": text for name, text in MEMBERS.items()}


# --- what arrives ---------------------------------------------------------------------


def test_a_good_archive_arrives_whole_and_alone(server, tmp_path):
    folder = fetch(release_of(server), tmp_path)
    assert folder == tmp_path / "small"
    assert contents(tmp_path) == WHOLE
    assert server.asked == ["/small.zip"]


def test_folders_on_the_way_are_made(server, tmp_path):
    folder = fetch(release_of(server), tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b" / "small"
    assert contents(tmp_path / "a" / "b") == WHOLE


def test_an_empty_release_folder_is_filled(server, tmp_path):
    (tmp_path / "small").mkdir()
    fetch(release_of(server), tmp_path)
    assert contents(tmp_path) == WHOLE


def test_a_slow_server_is_waited_for(server, tmp_path, monkeypatch):
    # The limit is on silence, not on the whole: a large file may take its time.
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 1)
    server.answers["small.zip"] = dribbles
    fetch(release_of(server), tmp_path)
    assert contents(tmp_path) == WHOLE


@pytest.mark.parametrize("hops", [1, 3])
def test_redirects_on_loopback_are_followed(server, tmp_path, hops):
    for hop in range(hops):
        after = f"hop{hop + 1}" if hop + 1 < hops else "there.zip"
        server.answers[f"hop{hop}"] = redirects(server.url(after))
    server.answers["there.zip"] = sends(GOOD)
    fetch(release_of(server, path="hop0"), tmp_path)
    assert contents(tmp_path) == WHOLE
    assert len(server.asked) == hops + 1


def test_a_relative_redirect_is_followed(server, tmp_path):
    server.answers["here"] = redirects("/there.zip")
    server.answers["there.zip"] = sends(GOOD)
    fetch(release_of(server, path="here"), tmp_path)
    assert contents(tmp_path) == WHOLE


def test_members_hashes_alone_are_enough(server, tmp_path):
    fetch(release_of(server, sha256=None), tmp_path)
    assert contents(tmp_path) == WHOLE


def test_an_archive_with_lf_members_is_the_same_release(server, tmp_path):
    lf = {name: text.replace(b"\r\n", b"\n") for name, text in MEMBERS.items()}
    fetch(release_of(server, content=archive_of(lf)), tmp_path)
    assert (tmp_path / "small" / "movies.csv").read_bytes() == lf["movies.csv"]


def test_the_folder_in_the_archive_may_have_another_name(server, tmp_path):
    content = archive_of(MEMBERS, prefix="small-of-1999/")
    release = release_of(server, content=content, archive_folder="small-of-1999")
    assert fetch(release, tmp_path) == tmp_path / "small"
    assert contents(tmp_path) == WHOLE


def test_a_copy_under_the_archives_own_name_is_not_fetched_again(server, tmp_path):
    release = release_of(server, archive_folder="small-of-1999")
    (tmp_path / "small-of-1999").mkdir()
    for name, content in MEMBERS.items():
        (tmp_path / "small-of-1999" / name).write_bytes(content)
    assert fetch(release, tmp_path) == tmp_path / "small-of-1999"
    assert server.asked == []


def test_extras_come_along_and_are_not_asked_for_again(server, tmp_path):
    content = archive_of(MEMBERS | {"u1.test": b"1"})
    release = release_of(server, content=content, extras=("u1.test",))
    fetch(release, tmp_path)
    assert contents(tmp_path) == WHOLE | {"small/u1.test": b"1"}
    (tmp_path / "small" / "u1.test").unlink()
    fetch(release, tmp_path)
    assert server.asked == ["/small.zip"]


def test_an_archive_without_an_extra_is_not_the_release(server, tmp_path):
    message = refused(release_of(server, extras=("u1.test",)), tmp_path)
    assert "the archive has no small/u1.test" in message


@pytest.mark.parametrize("hashed", [True, False], ids=["archive hash", "no hash"])
def test_members_whose_hashes_are_not_known_are_taken(server, tmp_path, hashed):
    release = release_of(server, members=dict.fromkeys(MEMBERS))
    fetch(release if hashed else release._replace(sha256=None), tmp_path)
    assert contents(tmp_path) == WHOLE


def test_the_archives_hash_is_checked_where_the_members_are_not_known(server, tmp_path):
    release = release_of(server, members=dict.fromkeys(MEMBERS))
    server.answers["small.zip"] = sends(archive_of(MEMBERS | {"more.csv": b""}))
    assert "hash" in refused(release, tmp_path)


def test_a_large_member_is_unpacked_in_pieces(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "BLOCK", 7)
    fetch(release_of(server), tmp_path)
    assert contents(tmp_path) == WHOLE


@pytest.mark.parametrize(
    "extra",
    [
        "../escaped.csv",
        "/escaped.csv",
        "small/../../escaped.csv",
        "small/links.csv",
        "README.txt",
        "small/ratings.csv/deeper",
    ],
)
def test_only_the_known_members_leave_the_archive(server, tmp_path, extra):
    named = {f"small/{name}": text for name, text in MEMBERS.items()}
    content = archive_of({extra: b"evil", **named}, prefix="")
    fetch(release_of(server, content=content), tmp_path / "data")
    assert contents(tmp_path / "data") == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# --- what is refused ------------------------------------------------------------------

BAD_ANSWERS = {
    "not found": (missing, "404"),
    "a server error": (breaks, "500"),
    "a hang-up": (hangs_up, "could not be downloaded"),
    "half of it": (sends_half, "could not be downloaded"),
    "nothing": (sends(b""), "hash"),
    "a web page": (sends(b"<html>Log in to this network</html>"), "hash"),
    "one byte changed": (sends(GOOD[:90] + b"\0" + GOOD[91:]), "hash"),
    "one byte more": (sends(GOOD + b"\0"), "hash"),
    "another archive": (sends(archive_of({"ratings.csv": b"x"})), "hash"),
    "an endless redirect": (redirects("small.zip"), "could not be downloaded"),
    "a redirect to nowhere": (redirects("gone.zip"), "404"),
}


@pytest.mark.parametrize("kind", BAD_ANSWERS)
def test_a_bad_answer_is_one_sentence_and_leaves_nothing(server, tmp_path, kind):
    server.answers["small.zip"], said = BAD_ANSWERS[kind]
    message = refused(release_of(server), tmp_path)
    assert said in message
    assert server.url() in message


def test_after_a_bad_answer_the_next_try_succeeds(server, tmp_path):
    server.answers["small.zip"] = sends_half
    refused(release_of(server), tmp_path)
    server.answers["small.zip"] = sends(GOOD)
    fetch(release_of(server), tmp_path)
    assert contents(tmp_path) == WHOLE


@pytest.mark.parametrize("answer", [stalls, stalls_half_way])
def test_a_stalled_server_is_given_up(server, tmp_path, monkeypatch, answer):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    server.answers["small.zip"] = answer
    message = refused(release_of(server), tmp_path)
    assert "could not be downloaded" in message
    assert "timed out" in message.lower()


def test_a_server_that_is_not_there_is_one_sentence(server, tmp_path):
    release = release_of(server)
    server.shutdown()
    server.server_close()
    message = refused(release, tmp_path)
    assert "small is not in" in message
    assert "refused" in message.lower()


def test_the_message_names_the_files_one_can_supply_by_hand(server, tmp_path):
    server.answers["small.zip"] = missing
    message = refused(release_of(server), tmp_path)
    assert str(tmp_path) in message
    for name in MEMBERS:
        assert name in message


INSECURE = [
    "http://insecure.example/small.zip",
    "http://127.0.0.1.insecure.example/small.zip",
    "http://127.0.0.1@insecure.example/small.zip",
    "http://localhost.insecure.example/small.zip",
    "HTTP://insecure.example/small.zip",
    "ftp://insecure.example/small.zip",
]


@pytest.mark.parametrize("url", INSECURE)
def test_an_insecure_address_is_refused(server, tmp_path, url):
    message = refused(release_of(server, url=url), tmp_path)
    assert "is not https" in message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("url", [*INSECURE, "//insecure.example/small.zip"])
def test_an_insecure_redirect_is_refused(server, tmp_path, url, status):
    server.answers["small.zip"] = redirects(url, status)
    message = refused(release_of(server), tmp_path)
    assert "is not https" in message
    assert server.asked == ["/small.zip"]


def test_an_insecure_redirect_behind_another_one_is_refused(server, tmp_path):
    server.answers["small.zip"] = redirects("next")
    server.answers["next"] = redirects("http://insecure.example/small.zip")
    assert "is not https" in refused(release_of(server), tmp_path)
    assert server.asked == ["/small.zip", "/next"]


# The archive's own hash is right in these, or none is published.
BAD_ARCHIVES = {
    "a missing member": (
        archive_of({"ratings.csv": MEMBERS["ratings.csv"]}),
        "small/movies.csv",
    ),
    "members of another folder": (archive_of(MEMBERS, prefix="big/"), "small/ratings"),
    "members without a folder": (archive_of(MEMBERS, prefix=""), "small/ratings"),
    "another member": (archive_of(MEMBERS | {"movies.csv": b"x"}), "movies.csv"),
    "an empty member": (archive_of(MEMBERS | {"movies.csv": b""}), "movies.csv"),
    "a member that is too large": (
        archive_of(MEMBERS | {"ratings.csv": bytes(10**6 + 1)}),
        "ratings.csv would unpack to 1,000,001 bytes",
    ),
    "no member at all": (archive_of({}), "small/ratings.csv"),
    "no archive": (b"<html>Log in to this network</html>", "not a zip file"),
    "nothing": (b"", "not a zip file"),
    "a cut archive": (GOOD[:-30], "not a zip file"),
}


@pytest.mark.parametrize("hashed", [True, False], ids=["archive hash", "no hash"])
@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_a_wrong_archive_is_one_sentence_and_leaves_nothing(
    server, tmp_path, kind, hashed
):
    content, said = BAD_ARCHIVES[kind]
    release = release_of(server, content=content)
    message = refused(release if hashed else release._replace(sha256=None), tmp_path)
    assert said in message
    assert "thrown away" in message


def test_a_member_of_the_very_limit_is_unpacked(server, tmp_path):
    size = max(map(len, MEMBERS.values()))
    fetch(release_of(server, max_bytes=size), tmp_path)
    assert contents(tmp_path) == WHOLE
    # The control: one byte less is refused.
    message = refused(release_of(server, max_bytes=size - 1), tmp_path / "other")
    assert f"{size:,} bytes" in message


def damaged(where, byte):
    """The good archive with a byte changed, counted from the place of a signature."""
    signature, offset = where
    position = GOOD.index(signature) + offset
    return GOOD[:position] + bytes([byte]) + GOOD[position + 1 :]


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


@pytest.mark.parametrize(
    "content",
    [
        damaged((LOCAL, 60), 0xFF),
        damaged((CENTRAL, 8), 1),
        damaged((CENTRAL, 10), 99),
        damaged((CENTRAL, 10), 0),
        damaged((CENTRAL, 10), 12),
        damaged((CENTRAL, 10), 14),
        damaged((CENTRAL, 16), 0xAA),
        damaged((CENTRAL, 42), 7),
        damaged((LOCAL, 26), 0xF0),
    ],
    ids=[
        "compressed data",
        "marked encrypted",
        "unknown compression",
        "marked stored",
        "marked bzip2",
        "marked lzma",
        "checksum",
        "offset",
        "length of the name",
    ],
)
def test_a_damaged_archive_without_a_published_hash_is_one_sentence(
    server, tmp_path, content
):
    message = refused(release_of(server, content=content, sha256=None), tmp_path)
    assert "thrown away" in message


def test_the_reason_told_is_the_downloads_own(server, tmp_path):
    # An exception the caller is busy with has nothing to do with it.
    server.answers["small.zip"] = missing
    try:
        raise LookupError("the caller's own trouble")
    except LookupError:
        message = refused(release_of(server), tmp_path)
    assert "404" in message
    assert "trouble" not in message


# --- what is already there ------------------------------------------------------------


def test_files_that_lie_there_are_not_overwritten(server, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "ratings.csv").write_bytes(b"mine")
    (tmp_path / "small" / "notes.txt").write_bytes(b"mine too")
    fetch(release_of(server), tmp_path)
    assert contents(tmp_path) == WHOLE | {
        "small/ratings.csv": b"mine",
        "small/notes.txt": b"mine too",
    }


def test_a_release_that_lies_there_is_not_fetched_again(server, tmp_path):
    release = release_of(server)
    fetch(release, tmp_path)
    assert fetch(release, tmp_path) == tmp_path / "small"
    assert server.asked == ["/small.zip"], "downloaded twice"


def test_a_failure_leaves_the_users_files_alone(server, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "ratings.csv").write_bytes(b"mine")
    server.answers["small.zip"] = sends_half
    refused(release_of(server), tmp_path)  # compares before and after


def test_a_file_in_place_of_the_release_folder_is_kept(server, tmp_path):
    (tmp_path / "small").write_bytes(b"a file of that name")
    assert "could not be written" in refused(release_of(server), tmp_path)


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_folder_that_cannot_be_made_is_one_sentence(server, tmp_path, below):
    # A file in the way stops everybody, the superuser included.
    (tmp_path / "file").write_bytes(b"in the way")
    message = refused(release_of(server), tmp_path / "file" / below)
    assert "could not be written" in message
    assert server.asked == [], "asked the network before it looked at the folder"
    assert (tmp_path / "file").read_bytes() == b"in the way"


# --- several at once, and sudden ends -------------------------------------------------


def after_all_have_asked(count):
    """Sends the archive only when `count` clients wait for it."""
    barrier = threading.Barrier(count)

    def answer(handler):
        barrier.wait(20)
        sends(GOOD)(handler)

    return answer


def test_two_threads_at_once_both_succeed(server, tmp_path):
    server.answers["small.zip"] = after_all_have_asked(2)
    release = release_of(server)
    with ThreadPoolExecutor(2) as pool:
        folders = [
            f.result() for f in [pool.submit(fetch, release, tmp_path) for _ in "ab"]
        ]
    assert folders == [tmp_path / "small"] * 2
    assert contents(tmp_path) == WHOLE
    assert len(server.asked) == 2


SCRIPT = """
import sys
from pathlib import Path
from ncf_jax.data.download import fetch
from ncf_jax.data.releases import Release
fetch({release!r}, Path(sys.argv[1]))
"""


def start_fetching(release, data_dir):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(release=release), str(data_dir)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
    )


def test_two_processes_at_once_both_succeed(server, tmp_path):
    server.answers["small.zip"] = after_all_have_asked(2)
    release = release_of(server)
    processes = [start_fetching(release, tmp_path) for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert contents(tmp_path) == WHOLE


def test_a_killed_process_leaves_nothing_that_looks_whole(server, tmp_path):
    server.answers["small.zip"] = stalls_half_way
    release = release_of(server)
    process = start_fetching(release, tmp_path)
    assert server.half_sent.wait(60)
    process.kill()
    process.communicate(timeout=60)
    assert not (tmp_path / "small").exists()
    visible = [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert visible == []
    # And the next process is not disturbed by what the dead one left.
    server.answers["small.zip"] = sends(GOOD)
    fetch(release, tmp_path)
    assert {k: v for k, v in contents(tmp_path).items() if "small/" in k}.keys() >= {
        f"small/{name}" for name in MEMBERS
    }


def test_downloads_leave_the_librarys_logging_as_it_was(server, tmp_path):
    import pooch

    log = pooch.get_logger()
    level = log.level
    fetch(release_of(server), tmp_path / "a")
    server.answers["small.zip"] = missing
    refused(release_of(server), tmp_path / "b")
    assert log.level == level


def test_a_download_is_quiet(server, tmp_path, capfd):
    fetch(release_of(server), tmp_path)
    out, err = capfd.readouterr()
    assert re.sub(r"\s", "", out + err) == ""
