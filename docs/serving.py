"""Movies a user has not rated, from a folder that experiments.export wrote.

Usage: python serving.py <folder> <userId> <how many>, after pip install jax flatbuffers
"""

import json
import sys
from pathlib import Path

import jax.export
import numpy as np

folder, user_id, k = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
about = json.loads((folder / "export.json").read_text())
catalogue = json.loads((folder / "catalogue.json").read_text())
stored = np.load(folder / "arrays.npz", allow_pickle=False)
arrays = [stored[name] for name in about["arrays"]]
exported = jax.export.deserialize((folder / "all_items.jaxexport").read_bytes())

user = catalogue["user_ids"].index(user_id)
stars = np.array(jax.jit(exported.call)(arrays, np.array([user], np.int32))[0])
start, end = stored["seen/start"][user : user + 2]
stars[stored["seen/item"][start:end]] = -np.inf
unseen = len(stars) - (end - start)
for item in np.argsort(-stars, kind="stable")[: min(k, unseen)]:
    shown = np.clip(stars[item], *about["stars"])
    title = catalogue["titles"][item]
    print(f"{shown:.6f}", catalogue["item_ids"][item], title, sep="\t")
