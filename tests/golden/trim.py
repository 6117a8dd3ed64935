"""Cuts the reference values of SMARTIES down to what a clone can carry.

    scripts/python tests/golden/trim.py FOLDER

FOLDER holds `smarties_small.npz` and `smarties_small.safetensors`: a small SMARTIES with random weights and what the
authors' code made of it (specification, section 11). Written beside this script: `smarties.safetensors`, the weights
under `weights/` and the values under the names of the full set, and `smarties.json`, the sizes and tables.

All blocks of the encoder would take 7 MB. Kept are the projections of Sentinel-1 and of the interpolated ranges, the
last norm, and the whole decoder, whose blocks are of the same kind, with the output layers of Sentinel-1: one stream of
the pair Sentinel-2 / Sentinel-1 consists of Sentinel-1 alone. Of a batch the first sample is kept.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHTS = re.compile(
    r"cls_token|pos_embed|mask_token|decoder_pos_embed|norm\..*|decoder_(embed|norm|blocks)\..*"
    r"|spectrum_projection\.spectrum_embeds\.(0|1|14|15|16)\..*|decoder_preds\.(15|16)\..*"
)
WHOLE = re.compile(
    r"(head|fc_norm|interpolation|knn|normalise|position)/.*"
    r"|pair_.*/(noise_mixup|noise_mask|mixed_index_.|mask|ids_restore)|mixup_concat/(noise|mixed_index_.)"
    r"|(s1|s2|rgb|unseen)/projection_index"
)
FIRST_SAMPLE = re.compile(
    r"s1/(image|token_embedding|block_last|tokens_normed|dense_map|cls_feature|logits|logits_global_pool)"
    r"|pair_s2_s1/latent_2"
)
SLOTS = ("pair_s2_s1/prediction_2", 2 * 256)  # the further ten slots of this stream repeat the first two


def trim(source: Path, target: Path) -> None:
    """Writes the trimmed set into the folder `target`."""
    weights = load_file(source / "smarties_small.safetensors")
    kept = {f"weights/{name}": values for name, values in weights.items() if WEIGHTS.fullmatch(name)}
    with np.load(source / "smarties_small.npz") as full:
        meta = json.loads(str(full["meta"]))
        for name in full.files:
            if WHOLE.fullmatch(name):
                kept[name] = full[name]
            elif FIRST_SAMPLE.fullmatch(name):
                kept[name] = full[name][:1]
        name, count = SLOTS
        kept[name] = full[name][:1, :, :count]
    tensors = {name: np.ascontiguousarray(values) for name, values in sorted(kept.items())}
    save_file(tensors, target / "smarties.safetensors")
    (target / "smarties.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    trim(Path(sys.argv[1]), Path(__file__).parent)
