"""Connections between processes, here between threads of one.

Held here: an end without a goodbye is told to all the others, once, with what was said;
an end after a goodbye is told to nobody; a stranger is not let in.
"""

import contextlib
import json
import queue
import socket
import threading
import time

import pytest

from ncf_jax import watch as module
from ncf_jax.watch import Watch

SECONDS = 10.0  # a guard against hanging, not a measure
QUIET = 0.3  # in which nothing must happen


class Group:
    """Watches that are joined, and what each was told."""

    def __init__(self, count):
        self.told = [queue.Queue() for _ in range(count)]
        self.all = [
            Watch(rank, count, lambda *said, to=self.told[rank]: to.put(said))
            for rank in range(count)
        ]
        self.address = self.all[0].serve("localhost")
        for other in self.all[1:]:
            other.join("localhost", self.address, SECONDS)
        until = time.monotonic() + SECONDS
        while len(self.all[0]._peers) < count - 1 and time.monotonic() < until:
            time.sleep(0.01)

    def hears(self, rank):
        return self.told[rank].get(timeout=SECONDS)

    def silent(self, *ranks):
        time.sleep(QUIET)
        return all(self.told[rank].empty() for rank in ranks)


@pytest.fixture
def group(monkeypatch):
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.1)
    made = []

    def make(count):
        made.append(Group(count))
        return made[-1]

    yield make
    for one in made:
        for watch in one.all:
            watch.close()


class TestAnEndWithoutAGoodbye:
    def test_of_process_0_is_seen_by_all(self, group):
        three = group(3)
        three.all[0].close()
        assert three.hears(1) == (0, "")
        assert three.hears(2) == (0, "")

    def test_of_another_is_seen_by_all_by_way_of_process_0(self, group):
        four = group(4)
        four.all[2].close()
        assert [four.hears(rank) for rank in (0, 1, 3)] == [(2, "")] * 3
        assert four.silent(2)

    def test_is_told_once_however_many_follow(self, group):
        four = group(4)
        four.all[2].close()
        four.hears(0)
        four.hears(1)
        four.all[3].close()
        assert four.silent(0, 1)

    def test_is_seen_when_it_comes_before_anything_was_said(self, group):
        two = group(2)
        assert two.silent(0, 1)  # the control: nothing is told while both live
        two.all[1].close()
        assert two.hears(0) == (1, "")

    def test_a_connection_that_is_reset_is_an_end_too(self, group):
        two = group(2)
        reset = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        peer = two.all[1]._peers[0]
        two.all[1]._over = True
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        two.all[1].close()
        assert two.hears(0) == (1, "")


class TestAFailure:
    @pytest.mark.parametrize("who", [0, 1, 2])
    def test_is_told_to_the_others_in_its_own_words(self, group, who):
        three = group(3)
        assert three.all[who].fail("ratings.csv: Zeile „1“\nis missing")
        others = {0, 1, 2} - {who}
        for rank in others:
            assert three.hears(rank) == (who, "ratings.csv: Zeile „1“\nis missing")
        assert three.silent(who)

    def test_is_not_told_by_who_has_been_told_of_one(self, group):
        three = group(3)
        three.all[1].fail("first")
        three.hears(2)
        assert not three.all[2].fail("second")
        assert three.hears(0) == (1, "first")
        assert three.silent(0)

    def test_process_0_goes_last_so_that_it_is_heard(self, group, monkeypatch):
        monkeypatch.setattr(module, "LINGER_SECONDS", SECONDS)
        two = group(2)

        def follow():
            two.hears(1)
            time.sleep(QUIET)
            two.all[1].close()

        threading.Thread(target=follow).start()
        began = time.monotonic()
        two.all[0].fail("enough")
        assert QUIET <= time.monotonic() - began < SECONDS / 2

    def test_process_0_does_not_wait_for_one_that_hangs(self, group, monkeypatch):
        monkeypatch.setattr(module, "LINGER_SECONDS", QUIET)
        two = group(2)
        began = time.monotonic()
        two.all[0].fail("enough")  # nobody closes
        assert QUIET <= time.monotonic() - began < SECONDS / 2


class TestAGoodbye:
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
    def test_nobody_is_missed_in_whatever_order_they_go(self, group, order):
        three = group(3)
        for rank in order:
            three.all[rank].leave()
            three.all[rank].close()
        assert three.silent(0, 1, 2)

    def test_one_of_several_is_not_missed_while_the_others_go_on(self, group):
        three = group(3)
        three.all[1].leave()
        three.all[1].close()
        assert three.silent(0, 2)
        three.all[2].close()  # the control: this one is
        assert three.hears(0) == (2, "")

    def test_process_0_may_wait_until_the_others_have_gone(self, group, monkeypatch):
        monkeypatch.setattr(module, "LINGER_SECONDS", SECONDS)
        three = group(3)
        gone = []

        def follow():
            for other in three.all[1:]:
                other.leave()
                other.linger()  # which only process 0 does
            time.sleep(QUIET)
            for other in three.all[1:]:
                gone.append(other.rank)
                other.close()

        thread = threading.Thread(target=follow)
        thread.start()
        began = time.monotonic()
        three.all[0].leave()
        three.all[0].linger()
        assert gone == [1, 2]
        assert time.monotonic() - began < SECONDS / 2  # and no longer than for them
        thread.join()
        assert three.silent(0, 1, 2)

    def test_who_has_left_is_told_nothing(self, group):
        three = group(3)
        three.all[1].leave()
        three.all[2].close()
        assert three.hears(0) == (2, "")
        assert three.silent(1)


class TestTheDoor:
    def connect(self, one, first):
        port = int(one.address.split()[0])
        peer = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        peer.sendall(first)
        return peer

    @pytest.mark.parametrize(
        "first",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b'["hello", 1, "a guess"]\n',
            b'["hello", 1]\n',
            b"17\n",
            b"\xff\xfe\n",
            b"[" * 1000 + b"\n",
        ],
    )
    def test_a_stranger_is_shown_out_and_nobody_is_told(self, group, first):
        two = group(2)
        unread = contextlib.suppress(ConnectionResetError)
        with self.connect(two, first) as peer, unread:
            assert peer.recv(1) == b""
        assert two.silent(0, 1)

    @pytest.mark.parametrize("rank", [0, 2, -1, "1"])
    def test_the_token_alone_does_not_make_a_process(self, group, rank):
        two = group(2)
        token = two.address.split()[1]
        line = json.dumps(["hello", rank, token]) + "\n"
        with self.connect(two, line.encode()) as peer:
            assert peer.recv(1) == b""
        assert two.silent(0, 1)

    def test_without_anyone_there_joining_raises(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with (
            Watch(1, 2, lambda *_: None) as one,
            pytest.raises(OSError, match="refused"),
        ):
            one.join("localhost", f"{port} token", 1.0)

    def test_only_this_machine_is_listened_to_when_that_is_all(self):
        with Watch(0, 2, lambda *_: None) as hub:
            hub.serve("localhost")
            assert hub._server.getsockname()[0] == "127.0.0.1"
        with Watch(0, 2, lambda *_: None) as hub:
            hub.serve("node1.cluster")
            assert hub._server.getsockname()[0] in ("::", "0.0.0.0")
