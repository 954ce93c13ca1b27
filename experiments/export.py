"""Write a trained run as a folder that JAX and NumPy alone can serve from.

  python -m experiments.export --workdir=checkpoints/<run> --export_dir=<new folder>
  python docs/serving.py <new folder> 42 10

The folder holds the model as functions for CPUs, GPUs and TPUs (jax.export), its
arrays, titles and ids. It is read again and compared with the model, over all users or
a stated sample, before it is there at all. How long JAX reads it: ncf_jax/portable.py.
"""

import dataclasses
from pathlib import Path

from experiments import console, flags
from experiments import folder as run_folder
from ncf_jax.config import Options, option
from ncf_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ExportOptions(Options):
    """Options of this command."""

    workdir: str = option("", "Run folder of a trained model (required).")
    export_dir: str = option("", "Folder to write, new or empty (required).")


def main(options: ExportOptions) -> None:
    """Exports, checks, and says what is there."""
    if not options.export_dir:
        raise ConfigError("--export_dir is required: a new folder to write into.")
    from ncf_jax import portable, report

    folder = Path(options.export_dir)
    report.check_new(folder, "--export_dir")
    run = run_folder.opened(options.workdir)
    about = portable.write(run, folder)
    unfinished = run.epoch < run.config.epochs
    when = f", after epoch {run.epoch} of {run.config.epochs}" if unfinished else ""
    console.say(f"{about['dataset']}: {about['model']}{when}", "")
    sizes = {name: file["bytes"] for name, file in about["files"].items()}
    console.table(
        ["file", "kB"], [[name, f"{n / 1e3:,.1f}"] for name, n in sizes.items()]
    )
    check = about["check"]
    whose = f"all {check['users']:,} users"
    if check["seed"] is not None:
        whose = f"{check['users']:,} of {check['of_users']:,} users"
    console.say(
        "",
        f"Read again and compared with the model: {check['predictions']:,} predictions "
        f"of {whose} differ by {check['greatest_difference']:.1g} stars at most.",
        f"written to {folder}",
    )


if __name__ == "__main__":
    flags.run(main, ExportOptions, __doc__)
