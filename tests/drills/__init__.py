"""Drills: what must hold when machines, disks and files fail, tried again and again.

`python -m tests.drills` runs the short form, `--long` the long one; see
docs/reliability.md, whose table `--long --write` makes.
"""
