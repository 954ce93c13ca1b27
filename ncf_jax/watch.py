"""Who is still there: every process keeps a connection to process 0, which tells all.

The system closes the connections of a process that dies, however it dies, so the
others learn of it at once and without a question asked. A process that fails says why
before it goes; one that is done says goodbye, and is not missed. What is only hung
keeps its connection: that is for JAX's own heartbeat (`ncf_jax.processes`).
"""

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable

LOCAL = ("localhost", "127.0.0.1", "::1")
LINGER_SECONDS = 2.0  # process 0 goes last, so that the others read what it said


class Watch:
    """One process's view of the others.

    Example:
      >>> with Watch(0, 2, print) as hub, Watch(1, 2, print) as other:
      ...     other.join("localhost", hub.serve("localhost"), seconds=5)
      ...     hub.leave(), other.leave()
      (None, None)
    """

    def __init__(
        self, rank: int, count: int, stop: Callable[[int, str], object]
    ) -> None:
        """Watches nobody yet.

        Args:
          rank: of this process, from 0.
          count: of processes.
          stop: called once, in a thread of the watch, with the rank of a process that
            has gone and what it said: an empty text if it said nothing.
        """
        self.rank, self.count = rank, count
        self._stop = stop
        self._token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._over = False
        self._server: socket.socket | None = None
        self._peers: dict[int, socket.socket] = {}
        self._readers: dict[int, threading.Thread] = {}

    def __enter__(self) -> "Watch":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes every connection."""
        self.close()

    def serve(self, host: str) -> str:
        """Process 0 waits for the others; returns what they need to `join`."""
        self._server = _listen("127.0.0.1" if host in LOCAL else "")
        threading.Thread(target=self._accept, daemon=True).start()
        return f"{self._server.getsockname()[1]} {self._token}"

    def join(self, host: str, address: str, seconds: float) -> None:
        """Connects to process 0.

        Args:
          host: of process 0.
          address: what its `serve` returned.
          seconds: to try for.

        Raises:
          OSError: there is no way to it.
        """
        port, token = address.split()
        host = "127.0.0.1" if host in LOCAL else host
        peer = socket.create_connection((host, int(port)), timeout=seconds)
        peer.settimeout(None)
        _tell(peer, "hello", self.rank, token)
        self._follow(0, peer)

    def leave(self) -> None:
        """Says goodbye: from now on nobody's end is a failure, this one's neither."""
        with self._lock:
            self._over = True
            peers = list(self._peers.values())
        for peer in peers:
            _tell(peer, "bye", self.rank, "")

    def fail(self, sentence: str) -> bool:
        """Tells all that this process ends, and why; false if all are ending already.

        Process 0 returns when the others have gone, or after LINGER_SECONDS.
        """
        with self._lock:
            if self._over:
                return False
            self._over = True
        self._spread(self.rank, sentence)
        return True

    def linger(self) -> None:
        """Process 0 waits until the others have gone, but not for long."""
        with self._lock:
            readers = list(self._readers.values()) if self.rank == 0 else []
        until = time.monotonic() + LINGER_SECONDS
        for reader in readers:
            if reader is not threading.current_thread():
                reader.join(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Closes every connection."""
        with self._lock:
            self._over = True
            open_ = [self._server, *self._peers.values()]
        for one in open_:
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in it
                one.close()

    def _accept(self) -> None:
        assert self._server is not None
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._greet, args=(peer,), daemon=True).start()

    def _greet(self, peer: socket.socket) -> None:
        """Lets in whoever knows the token: the port is open to anyone."""
        peer.settimeout(10.0)
        try:
            with peer.makefile("r", encoding="utf-8") as lines:
                kind, rank, token = json.loads(lines.readline(200))
            known = secrets.compare_digest(str(token), self._token)
            if kind != "hello" or not known or rank not in range(1, self.count):
                raise ValueError
        except (OSError, ValueError, TypeError):
            peer.close()
            return
        peer.settimeout(None)
        self._follow(rank, peer)

    def _follow(self, rank: int, peer: socket.socket) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        reader = threading.Thread(target=self._read, args=(rank, peer), daemon=True)
        with self._lock:
            self._peers[rank], self._readers[rank] = peer, reader
            reader.start()  # before anyone waits for its end

    def _read(self, rank: int, peer: socket.socket) -> None:
        """Reads what a process says until it ends."""
        try:
            with peer.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    kind, who, sentence = json.loads(line)
                    if kind == "bye":
                        lines.read()  # until it closes
                        return
                    self._lost(who if self.rank else rank, sentence)
        except (OSError, ValueError, TypeError):
            pass  # as good as closed
        self._lost(rank, "")

    def _lost(self, rank: int, sentence: str) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        if self.rank == 0:
            self._spread(rank, sentence)
        self._stop(rank, sentence)

    def _spread(self, rank: int, sentence: str) -> None:
        """Tells all the others; process 0 then waits until they have gone."""
        with self._lock:
            peers = dict(self._peers)
        for other, peer in peers.items():
            if other != rank:
                _tell(peer, "failed", rank, sentence)
        self.linger()


def _listen(host: str) -> socket.socket:
    """A server on a free port: of this machine alone, or of every address."""
    if host or not socket.has_dualstack_ipv6():
        return socket.create_server((host, 0))
    return socket.create_server(
        ("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
    )


def _tell(peer: socket.socket, kind: str, rank: int, sentence: str) -> None:
    with contextlib.suppress(OSError):  # it has gone; its reader knows
        peer.sendall((json.dumps([kind, rank, sentence]) + "\n").encode())
