"""The encoder on ONNX Runtime: exported once from the loaded weights into the service's home, and checked against them at every start.

`python -m nlu.onnx` makes the export beforehand, as an image's build does.
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn

from care.settings import settings
from nlu.model import DEFAULT_MODEL, Encoder, Logits, mean_of
from nlu.tokens import Batch, Tokenised, batch_of, tokenise

_OUTPUTS = [field.name for field in fields(Logits)]
_PROBES = ["ok", "the pain in my left knee is worse since last night and I took two of the blue tablets", "no fever. slept well, thank you!"]
_MOST_OFF = 1e-3
_log = logging.getLogger("nlu.onnx")


class EngineMismatch(Exception):
    """The exported file does not answer as the weights do."""


class OnnxEncoder(Encoder):
    """The same encoder, its forwards in ONNX Runtime."""

    def __init__(self, encoder: Encoder, file: Path, threads: int, most_off: float = _MOST_OFF) -> None:
        """`most_off` is how far a logit may be from that of the weights. Raises `EngineMismatch`, or what ONNX Runtime raises for a broken file."""
        super().__init__(encoder.networks, encoder.wide, encoder.labels, encoder.gazetteer)
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # as with torch's threads: one that waits must not burn a core that another process needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        probes = [tokenise(text) for text in _PROBES]
        for ours, theirs in zip(_flat(self.network_logits(probes)), _flat(encoder.network_logits(probes)), strict=True):
            if ours.shape != theirs.shape or float((ours - theirs).abs().max()) > most_off:
                raise EngineMismatch(f"{file} does not answer as the weights do")

    def network_logits(self, texts: list[Tokenised]) -> Logits:
        """One forward of the texts, without the linear reading."""
        batch = batch_of(texts, self.gazetteer)
        given = {"ids": batch.ids.numpy(), "mask": batch.mask.numpy(), "marks": batch.marks.numpy()}
        return Logits(*map(torch.from_numpy, self._session.run(_OUTPUTS, given)))


class _Flat(nn.Module):  # type: ignore[misc]
    """The networks' mean with tensors in and out, as an export needs it."""

    def __init__(self, networks: list[Any]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, ids: Any, mask: Any, marks: Any) -> tuple[Any, ...]:
        return _flat(mean_of([network(Batch(ids, mask, marks)) for network in self.networks]))


def _flat(logits: Logits) -> tuple[Any, ...]:
    return tuple(getattr(logits, name) for name in _OUTPUTS)


def on_onnx(encoder: Encoder, folder: Path, threads: int) -> Encoder:
    """`encoder` on ONNX Runtime, from the file in `folder` or, where that is missing or of other weights, a new export.

    Answers `encoder` itself, which gives the same answers more slowly, where no export can be made; the log says why.
    """
    file = folder / f"{encoder.version}.onnx"
    try:
        if file.exists():
            try:
                return OnnxEncoder(encoder, file, threads)
            except Exception as error:
                _log.warning("%s is exported again: %s", file, type(error).__name__)
        export(encoder, file)
        return OnnxEncoder(encoder, file, threads)
    except Exception as error:
        _log.warning("the encoder stays on torch, which is slower: %s: %s", type(error).__name__, error)
        return encoder


def export(encoder: Encoder, file: Path) -> None:
    """Writes the encoder's network to `file` whole or not at all; about ten seconds. Exports of other weights beside it are removed."""
    batch = batch_of([tokenise(text) for text in _PROBES], encoder.gazetteer)
    texts, tokens = torch.export.Dim("texts", min=1, max=1024), torch.export.Dim("tokens", min=2, max=512)
    for chatty in ("onnx_ir", "onnxscript", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        program: Any = torch.onnx.export(
            _Flat(encoder.networks).eval(),
            (batch.ids, batch.mask, batch.marks),
            input_names=["ids", "mask", "marks"],
            output_names=_OUTPUTS,
            dynamic_shapes={name: {0: texts, 1: tokens} for name in ("ids", "mask", "marks")},
            dynamo=True,
            verbose=False,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        program.save(str(part), external_data=False)
    part.replace(file)
    for other in file.parent.glob("*.onnx"):
        if other != file:
            other.unlink(missing_ok=True)


def exports() -> Path:
    """The folder of the exports."""
    return settings().home / "models" / "nlu"


if __name__ == "__main__":
    shipped = Encoder.load(DEFAULT_MODEL)
    export(shipped, exports() / f"{shipped.version}.onnx")
