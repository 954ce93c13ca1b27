"""Figures as other tools read them: lines of JSON always, TensorBoard on request.

Both are functions of the history and the results, so that a run that was resumed leaves
what an uninterrupted one leaves.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncf_jax.errors import RunError
from ncf_jax.results import Results

LOSSES = ("train_loss", "valid_loss", "examples_per_second")


def json_lines(history: Sequence[dict[str, Any]], results: Results | None) -> str:
    """A JSON object a line: one an epoch, then one a figure, each with its `event`.

    Example:
      >>> print(json_lines([{"epoch": 1, "train_loss": 0.5}], None), end="")
      {"event": "epoch", "epoch": 1, "train_loss": 0.5}
    """
    lines: list[dict[str, Any]] = [{"event": "epoch", **row} for row in history]
    for name, figure in (results or {}).get("metrics", {}).items():
        lines.append({"event": "metric", "name": name, **figure})
    return "".join(
        json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines
    )


class TensorBoard:
    """Event files in a folder: losses by epoch, and the figures at the last epoch."""

    def __init__(self, folder: Path, history: Sequence[dict[str, Any]]) -> None:
        """Begins an event file with the epochs that are done already.

        Raises:
          RunError: tensorboardX is not installed, or the folder cannot be written.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise RunError(
                "--tensorboard needs tensorboardX: pip install -e '.[tensorboard]'."
            ) from error
        try:
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()  # of the interrupted run; its epochs are written again
            self._writer = SummaryWriter(str(folder), flush_secs=1)
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written ({error.strerror}). Choose another "
                f"--workdir, or leave out --tensorboard."
            ) from error
        for row in history:
            self.epoch(row)

    def epoch(self, row: dict[str, Any]) -> None:
        """Losses and speed of one epoch."""
        for name in LOSSES:
            if row[name] is not None:
                self._writer.add_scalar(name, row[name], row["epoch"])
        self._writer.flush()

    def finish(self, results: Results, epoch: int) -> None:
        """The figures, and the end of the file."""
        for name, figure in results["metrics"].items():
            if figure["mean"] is not None:
                tag = name.replace("@", "_at_")
                self._writer.add_scalar(tag, figure["mean"], epoch)
        self._writer.close()
