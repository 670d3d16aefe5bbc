"""One network out of several: the mean of their weights (`aftercare train nlu --merge`).

Networks that were trained on from the same weights, and those weights themselves, lie in one basin: the mean of their weights does about
what the mean of their answers does, at the price of one (Wortsman et al., Model soups, 2022).
"""

from __future__ import annotations

from pathlib import Path

import torch

from nlu.corpus import Corpus
from nlu.labels import LABELS_FILE, ModelMismatch, read_labels
from nlu.model import Encoder, MultiTask, first_member, load_trained
from nlu.saving import save


def merge(folders: list[Path], out: Path, corpus: Corpus) -> None:
    """Writes the mean of the models in `folders` to `out`, its thresholds chosen on the validation voices.

    The linear part is that of the first. Raises `ModelMismatch` where the models are not of one kind.
    """
    first, *others = (read_labels(folder) for folder in folders)
    for folder, labels in zip(folders[1:], others, strict=True):
        if (labels.shape, labels.gazetteer_sha256, labels.members) != (first.shape, first.gazetteer_sha256, 1):
            raise ModelMismatch(
                f"{folder / LABELS_FILE}: another shape, gazetteer or number of members than {folders[0]}; merge what began with the same weights"
            )
    encoder = Encoder.load(folders[0])
    states = [first_member(folder) for folder in folders]
    network = MultiTask(first.shape, encoder.gazetteer.width)
    load_trained([network], {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}, folders[0])
    save(out, [network], encoder.wide, first.shape, encoder.gazetteer, corpus.validation, first.prior)
