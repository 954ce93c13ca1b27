"""A trained run as files that JAX and NumPy alone can use: a portable artefact.

A folder with

  all_items.jaxexport   (arrays, user [b] int32) -> stars of every item [b, I] float32
  pairs.jaxexport       (arrays, user [b] int32, item [b] int32) -> stars [b] float32
  arrays.npz            the arrays; and what user u has rated, in all parts of a split,
                        is seen/item[seen/start[u] : seen/start[u + 1]]
  catalogue.json        userId of each user index; movieId, title, genres of each item
  export.json           what this is, and what the other files must hash to

The functions are the library's own scoring, by `jax.export`, for any b of 1 or more.
Stars are the mean over seeds and networks and not clipped, as `recommend` orders by.
Arrays are arguments, in the order of export.json's `arrays`; those that no prediction
depends on, such as the spread of rows, are left out.

How long it lasts is JAX's word: an artefact runs on a JAX up to six months newer and up
to three weeks older than the one that wrote it
(https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees). A run
folder lasts longer, and can be exported again.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

import ncf_jax
from ncf_jax import catalogue, models, report, staged
from ncf_jax.errors import RunError
from ncf_jax.evaluate import predict
from ncf_jax.recommend import NOT_FINITE
from ncf_jax.runs import Run
from ncf_jax.types import RATING_MAX, RATING_MIN, Dataset

FORMAT = 1  # raise it when older artefacts would be misread
TOLERANCE = 1e-6  # of the scale of stars, which is RATING_MAX
CHECKED = 2**24  # predictions that are compared, at most
AT_ONCE = 2**22  # of them in memory
SEED = 0  # of the users who are compared, when they are not all
CONTENT = (
    *(f"{name}.jaxexport" for name in staged.FUNCTIONS),
    "arrays.npz",
    "catalogue.json",
)


class Artefact(NamedTuple):
    """An artefact, read.

    Attributes:
      about: the content of export.json.
      catalogue: the content of catalogue.json.
      arrays: the functions' first argument.
      seen: [U] item indices each user has rated.
      all_items: (arrays, user [b]) -> stars [b, I].
      pairs: (arrays, user [b], item [b]) -> stars [b].
    """

    about: dict[str, Any]
    catalogue: dict[str, Any]
    arrays: list[np.ndarray]
    seen: list[np.ndarray]
    all_items: Callable[..., jax.Array]
    pairs: Callable[..., jax.Array]


def write(run: Run, folder: Path) -> dict[str, Any]:
    """Writes an artefact, reads it again, and compares it with the run's model.

    Args:
      run: a trained model with its data.
      folder: new or empty.

    Returns:
      The content of export.json.

    Raises:
      ConfigError: flatbuffers, in which JAX stores functions, is not installed.
      RunError: the folder is not empty, cannot be written, or the artefact is not the
        model; nothing is then left behind.

    Example:
      >>> about = write(ncf_jax.load_run("checkpoints/run"), Path("artefact"))
      ... # doctest: +SKIP
    """
    with report.new_folder(folder, "--export_dir") as partial:
        functions, arrays = staged.stage(run.model, run.params, run.dataset.features)
        packed = {**arrays, **seen_by_user(run.dataset)}
        for name, content in functions.items():
            report.write_bytes(partial / f"{name}.jaxexport", content)
        report.write_npz(partial / "arrays.npz", packed)
        text = report.dumps(vocabulary(run.dataset))
        report.write_bytes(partial / "catalogue.json", text.encode())
        about = describe(run, partial, arrays)
        report.write_bytes(partial / "export.json", report.dumps(about).encode())
        about["check"] = check(run, load(partial))
        report.write_bytes(partial / "export.json", report.dumps(about).encode())
    return about


def seen_by_user(dataset: Dataset) -> dict[str, np.ndarray]:
    """What each user has rated, in all parts of a split, as rows of a sparse matrix."""
    pairs = np.unique(np.stack([dataset.user, dataset.item], axis=1), axis=0)
    count = np.bincount(pairs[:, 0], minlength=dataset.num_users)
    start = np.concatenate([[0], np.cumsum(count)])
    return {"seen/start": start, "seen/item": pairs[:, 1].astype(np.int32)}


def vocabulary(dataset: Dataset) -> dict[str, Any]:
    """What the indices stand for: JSON-ready."""
    return {
        "dataset": dataset.label,
        "synthetic": dataset.synthetic,
        "user_ids": dataset.user_ids.tolist(),
        "item_ids": dataset.item_ids.tolist(),
        "titles": list(dataset.titles),
        "genres": list(dataset.genres),
    }


def describe(run: Run, folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The content of export.json but for its check, of the files in `folder`."""
    dataset = run.dataset
    return {
        "format": FORMAT,
        "ncf_jax": ncf_jax.__version__,
        "jax": jax.__version__,
        "calling_convention": jax_export.maximum_supported_calling_convention_version,
        "platforms": list(staged.PLATFORMS),
        "model": models.title(run.config),
        "networks": int(jax.tree.leaves(run.params)[0].shape[0]),
        "epoch": run.epoch,
        "epochs": run.config.epochs,
        "dataset": dataset.label,
        "synthetic": dataset.synthetic,
        "data": dataset.fingerprint,
        "split": run.split.fingerprint,
        "users": dataset.num_users,
        "items": dataset.num_items,
        "stars": [RATING_MIN, RATING_MAX],
        "arrays": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape)}
            for name, array in arrays.items()
        },
        "files": {
            name: {
                "bytes": (folder / name).stat().st_size,
                "sha256": _hash(folder, name),
            }
            for name in CONTENT
        },
    }


def load(folder: str | Path) -> Artefact:
    """Reads an artefact; no code of a model is used.

    Raises:
      ConfigError: flatbuffers is not installed.
      RunError: a file is missing, is not what was written, or is of another format.
    """
    path = Path(folder)
    about = report.read_json(path / "export.json")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise RunError(
            f"{path / 'export.json'} has format {found!r}; this version reads format "
            f"{FORMAT}. Export the run again."
        )
    try:
        for name in CONTENT:
            if _hash(path, name) != about["files"][name]["sha256"]:
                raise ValueError(f"{name} is not what was written")
        stored = report.read_npz(path / "arrays.npz")
        functions = [
            jax_export.deserialize(bytearray((path / name).read_bytes())).call
            for name in CONTENT[: len(staged.FUNCTIONS)]
        ]
        return Artefact(
            about,
            json.loads((path / "catalogue.json").read_text()),
            [stored[name] for name in about["arrays"]],
            np.split(stored["seen/item"], stored["seen/start"][1:-1]),
            *map(jax.jit, functions),
        )
    except ImportError as error:
        raise staged.no_flatbuffers() from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}). Export the run again.") from error


def check(run: Run, artefact: Artefact) -> dict[str, Any]:
    """Compares an artefact with the live model: what was compared, and how far it is.

    All items of all users; of a catalogue with more than `CHECKED` pairs those of
    users drawn by `SEED`. And of each of these users one pair, drawn too.

    Raises:
      RunError: a prediction differs by more than `TOLERANCE` of the scale of stars, or
        is not finite.
    """
    users, items = run.dataset.num_users, run.dataset.num_items
    number = min(users, max(1, CHECKED // items))
    rng = np.random.default_rng(SEED)
    chosen = np.sort(rng.permutation(users)[:number]).astype(np.int32)
    drawn = rng.integers(items, size=number).astype(np.int32)
    about = (run.model, run.params, run.dataset.features)
    score = catalogue.scorer(*about)
    networks = jax.tree.leaves(run.params)[0].shape[0]
    size = max(1, AT_ONCE // (items * networks))
    found = []
    for start in range(0, number, size):
        user = chosen[start : start + size]
        live = np.asarray(score(jnp.asarray(user))).mean(axis=0)
        found.append(_apart(artefact.all_items(artefact.arrays, user), live))
    context = staged.context_of_pairs(run.model, run.dataset.features, chosen, drawn)
    seen = None if context is None else np.asarray(context)
    live = predict(run.model, run.params, chosen, drawn, about[2], context=seen)
    stars = artefact.pairs(artefact.arrays, chosen, drawn)
    found.append(_apart(stars, live.mean(axis=0)))
    greatest, allowed = max(found), TOLERANCE * RATING_MAX
    if not greatest <= allowed:
        raise RunError(
            f"The artefact differs from the model by {greatest:.2g} stars, and "
            f"{allowed:.2g} are allowed: nothing was written. Report it as a bug, with "
            f"the run's run.flags and environment.json."
        )
    return {
        "platform": jax.devices()[0].platform,
        "users": number,
        "of_users": users,
        "seed": None if number == users else SEED,
        "predictions": number * items + number,
        "greatest_difference": greatest,
        "allowed_difference": allowed,
    }


def _apart(theirs: Any, ours: np.ndarray) -> float:
    """The greatest difference, in stars.

    Raises:
      RunError: a prediction of the model is not finite.
    """
    if not np.isfinite(ours).all():
        raise RunError(NOT_FINITE.replace("recommended", "exported"))
    return float(np.max(np.abs(np.asarray(theirs) - ours)))


def _hash(folder: Path, name: str) -> str:
    with (folder / name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
