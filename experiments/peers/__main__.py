"""Train a model of another library on our rows, and judge it as ours are judged.

  python -m experiments.peers --peer=myfm --dataset=ml-latest-small \\
      --metrics=reference --workdir=checkpoints/myfm

The run folder is an ordinary one: `experiments.compare` and `experiments.report` take
it as they take a run of ours. Wants the extra: pip install -e '.[peers]'.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ncf_jax
from experiments import console, finish, flags, folder, train
from experiments.peers.recommenders import PEERS
from ncf_jax import checkpoint, report
from ncf_jax.config import JudgeConfig, option
from ncf_jax.judge import evaluate_scores


@dataclasses.dataclass(frozen=True)
class PeerOptions(JudgeConfig):
    """Options of this command."""

    peer: str = option("myfm", "Which model.", choices=tuple(PEERS))
    seed: int = option(
        0, "Seed of the first run; of no effect where it has none.", minimum=0
    )
    num_seeds: int = option(1, "Train this many seeds, one after another.", minimum=1)
    workdir: str = option(
        "",
        "Run folder; empty: checkpoints/<dataset>-<peer>-<hash of the options>.",
        identity=False,
    )

    def run_name(self) -> str:
        """`<dataset>-<peer>-<8 hex digits>`."""
        return f"{self.dataset}-{self.peer}-{self.digest()}"


def main(config: PeerOptions) -> None:
    """Trains, judges and writes one peer."""
    workdir = Path(config.workdir or Path("checkpoints") / config.run_name())
    console.say(f"ncf_jax {ncf_jax.__version__}, run folder {workdir}")
    with folder.held(workdir, config):
        run(workdir, config)


def run(workdir: Path, config: PeerOptions) -> None:
    """Trains, or recalls, in a folder that is held."""
    if folder.recalled(workdir):
        return
    console.options(config)
    peer = PEERS[config.peer]
    dataset = ncf_jax.prepare(config, console.Later())
    split = ncf_jax.split(dataset, config)
    flags_text = flags.to_flagfile(
        config,
        "experiments.peers",
        data_fingerprint=dataset.fingerprint,
        split_fingerprint=split.fingerprint,
    )
    seeds = range(config.seed, config.seed + config.num_seeds)
    if not peer.seeded:
        seeds = range(config.seed, config.seed + 1)
    console.say("", f"{peer.title}: {peer.settings}")
    began = time.perf_counter()
    fitted = [peer.fit(dataset, split, seed) for seed in seeds]
    seconds = time.perf_counter() - began
    console.say(f"trained in {seconds:.1f} s")

    def score(users: Any) -> jax.Array:
        each = [one.catalogue(np.asarray(users)) for one in fitted]
        return jax.numpy.asarray(np.stack(each), jax.numpy.float32)

    def judge(rows: np.ndarray) -> ncf_jax.Evaluation:
        user, item = dataset.user[rows], dataset.item[rows]
        prediction = np.stack([one.rate(user, item) for one in fitted])
        return evaluate_scores(
            prediction.astype(np.float32),
            dataset,
            rows,
            catalogue=score,
            stars=peer.stars,
            clipped="clipped to 0.5-5",
            **finish.how(config, split),
        )

    report.write_bytes(workdir / "run.flags", flags_text.encode())
    finish.environment(workdir, dataset, split, (peer.package,))
    checkpoint.save_dataset(workdir, dataset, split)
    found = finish.write(
        workdir,
        program="experiments.peers",
        judged=finish.Judged(
            name=config.peer,
            title=peer.title,
            judge=judge,
            score=score,
            seeds=seeds,
            train_seconds=seconds,
            stars=peer.stars,
            uses_tags="tags" in peer.settings,
        ),
        config=config,
        dataset=dataset,
        split=split,
        baselines=train.baselines(config, dataset, split),
        flags_text=flags_text,
    )
    console.results(found)
    console.say("", f"written to {workdir}: metrics.json, report.html, …")


if __name__ == "__main__":
    flags.run(main, PeerOptions, __doc__)
