"""From trained networks to the files that are served: thresholds and temperatures chosen on the validation voices, weights, labels, gazetteer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from care.acuity import Acuity
from care.understanding import Understanding
from nlu.calibrate import acuity_heat, best_heat, best_leaning, best_least, best_shares, best_thresholds, intent_heat, level_probabilities
from nlu.corpus import Example
from nlu.gazetteer import GAZETTEER_FILE, Gazetteer
from nlu.labels import LABELS_FILE, WEIGHTS_FILE, LabelFile, Shape, Temperatures, weights_digest
from nlu.model import Encoder, Logits, with_wide
from nlu.scores import span_f1
from nlu.targets import ACUITIES, IGNORED, INTENTS, SPANS, STATUSES, targets_of
from nlu.tokens import Tokenised, tokenise
from nlu.wide import Wide

_BATCH = 32
_OUTSIDE = (-1.0, -0.5, 0.0, 0.5, 1.0)


def calibrated(
    networks: list[Any], wide: Wide, shape: Shape, gazetteer: Gazetteer, held_out: list[Example], prior: dict[Acuity, float]
) -> tuple[LabelFile, list[Understanding]]:
    """The label file of the networks, but for the weights' digest, and their answers to the held-out messages that it was chosen on."""
    plain = LabelFile(
        shape=shape,
        members=len(networks),
        intents=INTENTS,
        acuities=ACUITIES,
        spans=SPANS,
        statuses=STATUSES,
        thresholds=dict.fromkeys(INTENTS, 0.5),
        prior=prior,
        gazetteer_sha256=gazetteer.digest,
        weights_sha256="",
    )
    encoder = Encoder(networks, wide, plain, gazetteer)
    ordered = sorted(held_out, key=lambda example: len(example.text))
    parts: list[tuple[list[Example], list[Tokenised], Logits]] = []
    for at in range(0, len(ordered), _BATCH):
        examples = ordered[at : at + _BATCH]
        tokenised = [tokenise(example.text) for example in examples]
        parts.append((examples, tokenised, encoder.network_logits(tokenised)))
    targets = [targets_of(examples, tokenised) for examples, tokenised, _ in parts]
    wanted, level = torch.cat([one.intents for one in targets]), torch.cat([one.acuity for one in targets])
    added = [wide.scores(tokenised) for _, tokenised, _ in parts]
    shares = best_shares(
        (torch.cat([logits.intents for _, _, logits in parts]), torch.cat([intents for intents, _ in added])),
        (torch.cat([logits.acuity for _, _, logits in parts]), torch.cat([acuity for _, acuity in added])),
        wanted,
        level,
    )
    batches = [
        (examples, tokenised, with_wide(logits, shares.intents * more[0], shares.acuity * more[1]))
        for (examples, tokenised, logits), more in zip(parts, added, strict=True)
    ]
    intents, acuity = torch.cat([logits.intents for _, _, logits in batches]), torch.cat([logits.acuity for _, _, logits in batches])
    tags = torch.cat([logits.tags.flatten(0, 1) for _, _, logits in batches])
    marked = torch.cat([one.tags.flatten() for one in targets])
    heats = Temperatures(
        intents=intent_heat(intents, wanted),
        acuity=acuity_heat(acuity, level),
        spans=best_heat(lambda cooled: nn.functional.cross_entropy(cooled, marked, ignore_index=IGNORED), tags),
    )
    probabilities = torch.sigmoid(intents / heats.intents)
    thresholds = best_thresholds(probabilities, wanted, INTENTS)
    labels = plain.model_copy(
        update={
            "shares": shares,
            "temperatures": heats,
            "thresholds": thresholds,
            "least": best_least(probabilities, wanted, list(thresholds.values()), INTENTS),
            "leaning": best_leaning(level_probabilities(acuity / heats.acuity), level),
        }
    )

    def answers(outside: float) -> list[Understanding]:
        reader = Encoder(networks, wide, labels.model_copy(update={"outside": outside}), gazetteer)
        return [answer for examples, tokenised, logits in batches for answer, _ in reader.answers([example.text for example in examples], tokenised, logits)]

    tried = {outside: answers(outside) for outside in _OUTSIDE}
    outside = max(_OUTSIDE, key=lambda one: span_f1([(ex.spans, answer.spans) for ex, answer in zip(ordered, tried[one], strict=True)], exact=True) or 0.0)
    by_example = {id(example): answer for example, answer in zip(ordered, tried[outside], strict=True)}
    return labels.model_copy(update={"outside": outside}), [by_example[id(example)] for example in held_out]


def save(folder: Path, networks: list[Any], wide: Wide, shape: Shape, gazetteer: Gazetteer, held_out: list[Example], prior: dict[Acuity, float]) -> None:
    """Writes the trained weights of the networks and of the linear part, their label file and the gazetteer they read with."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, _ = calibrated(networks, wide, shape, gazetteer, held_out, prior)
    state = {f"{number}.{name}": value for number, network in enumerate(networks) for name, value in network.trained_state().items()}
    state |= wide.state()
    save_file(state, str(folder / WEIGHTS_FILE))
    (folder / GAZETTEER_FILE).write_text(gazetteer.dump(), encoding="utf-8")
    labels = labels.model_copy(update={"weights_sha256": weights_digest(folder)})
    (folder / LABELS_FILE).write_text(labels.model_dump_json(indent=2) + "\n", encoding="utf-8")


def calibrate_anew(folder: Path, held_out: list[Example]) -> None:
    """Chooses the temperatures and thresholds of a saved model again, on these messages; the weights stay. Raises `ModelMismatch`."""
    encoder = Encoder.load(folder)
    labels, _ = calibrated(encoder.networks, encoder.wide, encoder.labels.shape, encoder.gazetteer, held_out, encoder.labels.prior)
    labels = labels.model_copy(update={"weights_sha256": encoder.labels.weights_sha256})
    (folder / LABELS_FILE).write_text(labels.model_dump_json(indent=2) + "\n", encoding="utf-8")
