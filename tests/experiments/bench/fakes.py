"""Contestants that are made in a worker's process, for tests of the plumbing."""

import os
import subprocess
import tempfile
import time

from experiments.bench.worker import Contestant


def sleeper(seconds, log="", name="", loss=None):
    """Sleeps; writes its name into a file each time it runs."""

    def run():
        time.sleep(seconds)
        if log:
            with open(log, "a") as file:
                file.write(f"{name} {os.getpid()}\n")
        return loss

    return Contestant(run, {"examples": 10, "steps": 2, "name": name})


def missing():
    """Stands for a contestant whose library is not there."""
    import no_such_library

    return Contestant(no_such_library.run, {})


def failing(when):
    """Fails when it is made, or when it runs."""

    def run():
        raise ValueError("it went wrong while running")

    if when == "made":
        raise ValueError("it went wrong while being made")
    return Contestant(run, {})


def dying():
    """Takes its whole process with it."""
    return Contestant(lambda: os._exit(7), {})


def chatty():
    """Prints where answers go."""
    print("hello from a library")
    return Contestant(lambda: print("and again"), {})


def tidy(folder):
    """Has a folder for as long as its process lives."""
    scratch = tempfile.TemporaryDirectory(dir=folder)
    return Contestant(lambda: None if scratch else 0.0, {})


def parent(pid):
    """Starts a process that takes long, and waits for it."""

    def run():
        child = subprocess.Popen(["sleep", "1000"])
        with open(pid, "w") as file:
            file.write(str(child.pid))
        child.wait()

    return Contestant(run, {})


def environment(name):
    """Says what a variable is."""
    return Contestant(lambda: None, {"value": os.environ.get(name)})
