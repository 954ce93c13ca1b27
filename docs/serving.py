"""Movies a user has not rated, from a folder that experiments.export wrote.

Usage: python serving.py <folder> <userId> <how many>, after pip install jax flatbuffers
"""

import hashlib
import json
import sys
from pathlib import Path

import jax.export
import numpy as np

folder, user_id, k = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
about = json.loads((folder / "export.json").read_text())
for name, file in about["files"].items():
    if hashlib.sha256((folder / name).read_bytes()).hexdigest() != file["sha256"]:
        sys.exit(f"error: {folder / name} is damaged: export the run again")
catalogue = json.loads((folder / "catalogue.json").read_text())
stored = np.load(folder / "arrays.npz", allow_pickle=False)
arrays = [stored[name] for name in about["arrays"]]
exported = jax.export.deserialize((folder / "all_items.jaxexport").read_bytes())

user = catalogue["user_ids"].index(user_id)
stars = np.array(jax.jit(exported.call)(arrays, np.array([user], np.int32))[0])
start, end = stored["seen/start"][user : user + 2]
stars[stored["seen/item"][start:end]] = -np.inf
for item in np.argsort(-stars, kind="stable")[: min(k, len(stars) - (end - start))]:
    shown = f"{np.clip(stars[item], *about['stars']):.6f}"
    print(shown, catalogue["item_ids"][item], catalogue["titles"][item], sep="\t")
