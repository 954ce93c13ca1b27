"""How a process ends when another has gone.

What takes over a process's streams, or aborts it, is shown in a process of its own.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from ncf_jax.ending import AGAIN, FATAL, GONE, SURE, UNHEARD, Lines

TOLD = "F1126 03:00:33.725707   17475 client.h:80] Terminating process because the "
TOLD += "JAX distributed service detected fatal errors. This most likely indicates …\n"
SILENT = "E1126 03:00:40.502701   17600 coordination_service.cc:1549] [4364] Use error "
SILENT += "polling to propagate the following error to all tasks: UNAVAILABLE: The "
SILENT += "following tasks are unhealthy (stopped sending heartbeats):\n2\nThe tasks "
SILENT += "have crashed.\n"
WARNING = "W1126 03:00:40.502701   17600 other.cc:1] something to know\n"


def program(text, seconds=60):
    """Runs a program; its exit code, output, errors and seconds."""
    head = "import os, sys, time\nfrom ncf_jax.ending import *\n"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", head + text],
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


def ending(text, rank=1, count=4):
    """The same, of a process with an `Ending`; `c` writes as C++ does."""
    return program(
        "ending = Ending(heartbeat_seconds=9)\n"
        f"ending.rank, ending.count = {rank}, {count}\n"
        "def c(text, to=2): os.write(to, text.encode())\n" + text
    )


class TestHoldAborts:
    def test_an_abort_waits_for_six_seconds_and_then_comes(self):
        code, _, _, seconds = program("hold_aborts()\nos.abort()")
        assert code == -signal.SIGABRT
        assert seconds >= signal.SIGABRT

    def test_meanwhile_another_thread_may_end_the_process(self):
        code, _, _, seconds = program(
            "import threading\nhold_aborts()\n"
            "threading.Timer(0.2, os._exit, (7,)).start()\n"
            "import ctypes; ctypes.CDLL(None).abort()"  # as C++ does: without the GIL
        )
        assert code == 7
        assert seconds < signal.SIGABRT

    def test_without_it_an_abort_comes_at_once(self):
        code, _, _, seconds = program("os.abort()")
        assert code == -signal.SIGABRT
        assert seconds < signal.SIGABRT


class TestLines:
    @pytest.fixture
    def taken(self):
        """What is written to a descriptor that is neither 1 nor 2, and its end."""
        read, write = os.pipe()
        lines = Lines(write, lambda line: "secret" not in line)
        yield lines, write, read
        os.close(read)

    def test_what_is_not_to_be_seen_is_left_out(self, taken):
        lines, write, read = taken
        os.write(write, b"one\na secret\ntwo\nhalf a li")
        os.write(write, b"ne\n")
        lines.restore()
        assert os.read(read, 1000) == b"one\ntwo\nhalf a line\n"
        os.close(write)

    def test_restored_the_descriptor_is_as_before(self, taken):
        lines, write, read = taken
        lines.restore()
        os.write(write, b"a secret no more")
        assert os.read(read, 1000) == b"a secret no more"
        os.close(write)

    def test_what_is_no_text_is_shown_as_well_as_may_be(self, taken):
        lines, write, read = taken
        os.write(write, b"\xff\xfe is no text\nZ\xc3\xbcrich\n")
        lines.restore()
        assert os.read(read, 1000).decode() == "\ufffd\ufffd is no text\nZürich\n"
        os.close(write)

    def test_a_last_line_without_an_end_is_not_lost(self, taken):
        lines, write, read = taken
        os.write(write, b"unfinished")
        lines.restore()
        assert os.read(read, 1000) == b"unfinished"
        os.close(write)

    def test_pythons_own_stream_goes_around_it(self):
        code, out, err, _ = program(
            "lines = Lines(2, lambda line: False)\n"
            "print('of Python', file=sys.stderr)\n"
            "os.write(2, b'of C++\\n')\n"
            "lines.write('past all\\n')\n"
            "lines.restore()\n"
            "print('after', file=sys.stderr)\n"
            "os.write(2, b'of C++, after\\n')\n"
        )
        assert (code, out) == (0, "")
        assert err == "of Python\npast all\nafter\nof C++, after\n"

    def test_who_took_the_stream_may_use_it_to_the_end(self):
        code, _, err, _ = program(
            "import atexit, logging\n"
            "lines = Lines(2, lambda line: True)\n"
            "logging.basicConfig(format='%(message)s')\n"
            "atexit.register(logging.warning, 'the very last')\n"
            "lines.restore()\n"
        )
        assert (code, err) == (0, "the very last\n")


class TestEnding:
    def test_another_that_failed_is_quoted(self):
        code, out, err, _ = ending("ending.stop(2, 'ratings.csv is missing.')")
        assert (code, out) == (GONE, "")
        assert err == (
            "error: process 2 of 4 (counted from 0) has failed: ratings.csv is missing."
            f" All stop. {AGAIN}\n"
        )

    def test_another_that_said_nothing_has_gone(self):
        code, _, err, _ = ending("ending.stop(0, '')")
        assert code == GONE
        assert err.startswith("error: process 0 of 4 (counted from 0) has gone. All")
        assert err.count("\n") == 1

    def test_what_was_printed_before_is_not_lost(self):
        _, out, _, _ = ending("print('epoch 1')\nending.stop(0, '')")
        assert out == "epoch 1\n"

    def test_it_ends_whatever_the_main_thread_does(self):
        code, _, _, seconds = ending(
            "import threading\n"
            "threading.Timer(0.2, ending.stop, (0, '')).start()\n"
            "time.sleep(50)"
        )
        assert code == GONE
        assert seconds < 40

    @pytest.mark.parametrize("own", [True, False])
    def test_of_two_reasons_the_first_alone_is_told(self, own):
        said = "ending.say('Interrupted.', 130)\n" if own else ""
        code, _, err, _ = ending(f"{said}ending.stop(0, '')")
        assert code == (130 if own else GONE)
        assert err.count("\n") == 1
        assert ("Interrupted" in err) == own

    def test_the_pages_of_the_runtime_become_a_sentence(self):
        code, _, err, _ = ending(f"c({SILENT + TOLD!r})\ntime.sleep(50)")
        assert code == GONE
        assert err == (
            "error: process 2 of 4 (counted from 0) was not heard of for 9 s. All stop."
            f" {AGAIN}\n"
        )

    def test_without_a_name_it_is_process_0_which_serves_the_others(self):
        code, _, err, _ = ending(f"c({TOLD!r})\ntime.sleep(50)")
        assert code == GONE
        assert err.startswith("error: process 0 of 4 (counted from 0) was not heard of")

    def test_it_ends_before_the_abort_does(self):
        code, _, err, seconds = ending(
            f"import ctypes\nc({TOLD!r})\nctypes.CDLL(None).abort()"
        )
        assert code == GONE
        assert seconds < signal.SIGABRT
        assert err.count("\n") == 1

    def test_the_watch_that_knows_more_comes_first(self):
        code, _, err, _ = ending(
            f"c({TOLD!r})\ntime.sleep(0.3)\nending.stop(3, 'enough.')"
        )
        assert code == GONE
        assert err.startswith("error: process 3 of 4 (counted from 0) has failed: enou")
        assert err.count("\n") == 1

    def test_when_all_are_through_the_pages_are_no_failure(self):
        code, _, err, _ = ending(f"ending.over = True\nc({TOLD!r})\ntime.sleep(2)")
        assert (code, err) == (0, TOLD)

    def test_another_trouble_of_the_runtime_is_shown_a_moment_later(self):
        said = SILENT.replace("UNAVAILABLE", "OTHER")
        code, _, err, _ = ending(
            f"c({said!r})\ntime.sleep(2)\nc({WARNING!r})\nending.restore()"
        )
        assert (code, err) == (0, said + WARNING)

    def test_other_words_of_cpp_are_shown_at_once(self):
        greetings = "[Gloo] Rank 0 is connected\n[Gloo] Rank [Gloo] Rank 1 is\n"
        greetings += " 0 is connected to 1 peer ranks. Ex\n\n : 1\n"  # interleaved
        code, out, err, _ = ending(
            f"c({WARNING!r})\nc({greetings!r} 'of C++\\n\\n12\\n', 1)\nending.restore()"
        )
        assert (code, out, err) == (0, "of C++\n\n12\n", WARNING)


class TestTheWordsOfTheRuntime:
    """Patterns match what this version of JAX writes; see test_processes for others."""

    def test_an_end(self):
        assert FATAL.match(TOLD)
        assert FATAL.match(SILENT)
        assert SURE.search(TOLD)

    def test_who_was_not_heard_of(self):
        assert UNHEARD.search(SILENT)[1] == "2"
        assert UNHEARD.search("UNAVAILABLE: Task 13 heartbeat timeout.")[2] == "13"
        assert not UNHEARD.search(TOLD)

    @pytest.mark.parametrize(
        "line",
        [
            WARNING,
            "W1126 03:00:40.5 17600 coordination_service.cc:185] a warning only",
            "coordination_service",
            "E1126 03:00:40.5 17600 cuda.cc:1] out of memory",
        ],
    )
    def test_no_end(self, line):
        assert not FATAL.match(line)
