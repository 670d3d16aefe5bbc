"""The ways to run the encoder side by side: how fast one text and sixteen are, and how well each does on the test voices. `python -m nlu.engines`."""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from rich.console import Console
from rich.table import Table

from nlu.corpus import Corpus, read_corpus, voices_of
from nlu.evaluate import SHOWN, evaluate_voices
from nlu.model import DEFAULT_MODEL, Encoder, Logits
from nlu.onnx import OnnxEncoder, export
from nlu.tokens import Tokenised, tokenise

_BATCH = 16
_FIGURES = ("intent_macro_f1", "span_f1", "acuity_accuracy", "emergency_sensitivity", "acuity_ece")


class _Half(Encoder):
    """Multiplied in bfloat16, logits in float32."""

    def network_logits(self, texts: list[Tokenised]) -> Logits:
        """One forward of the texts."""
        with torch.autocast("cpu", torch.bfloat16):
            logits = super().network_logits(texts)
        return Logits(*(getattr(logits, field.name).float() for field in fields(Logits)))


def engines(encoder: Encoder, folder: Path, threads: int) -> Iterator[tuple[str, Encoder]]:
    """Each way by its name. int8 is dynamic: weights once, activations text by text."""
    yield "torch float32", encoder
    with warnings.catch_warnings(action="ignore"):
        quantised: list[Any] = [
            torch.ao.quantization.quantize_dynamic(copy.deepcopy(network), {torch.nn.Linear}, dtype=torch.qint8) for network in encoder.networks
        ]
    yield "torch int8", Encoder(quantised, encoder.wide, encoder.labels, encoder.gazetteer)
    yield "torch bfloat16", _Half(encoder.networks, encoder.wide, encoder.labels, encoder.gazetteer)
    whole, small = folder / "whole.onnx", folder / "small.onnx"
    export(encoder, whole)
    yield "ONNX Runtime float32", OnnxEncoder(encoder, whole, threads)
    quantize_dynamic(whole, small, weight_type=QuantType.QInt8)
    yield "ONNX Runtime int8", OnnxEncoder(encoder, small, threads, most_off=float("inf"))


def timings(found: dict[str, Encoder], corpus: Corpus, rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of one text's forward and of sixteen's, all ways by turns."""
    texts = [tokenise(example.text) for example in corpus.of("test")[:: max(1, len(corpus.of("test")) // (rounds * _BATCH))]]
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in found}
    for number in range(rounds):
        some = texts[number * _BATCH : (number + 1) * _BATCH] or texts[:_BATCH]
        for name, encoder in found.items():
            for text in some:
                seconds[name][0].append(_timed(encoder, [text]))
            seconds[name][1].append(_timed(encoder, some))
    return {name: (median(single) * 1000, median(batched) * 1000) for name, (single, batched) in seconds.items()}


def _timed(encoder: Encoder, texts: list[Tokenised]) -> float:
    began = time.perf_counter()
    encoder.logits(texts)
    return time.perf_counter() - began


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m nlu.engines")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus = read_corpus()
    names = dict(SHOWN)
    table = Table("engine", "one text, ms", f"{_BATCH} texts, ms", *(names[figure] for figure in _FIGURES))
    with tempfile.TemporaryDirectory() as folder:
        found = dict(engines(Encoder.load(DEFAULT_MODEL), Path(folder), options.threads))
        measured = timings(found, corpus, options.rounds)
        for name, encoder in found.items():
            scores = evaluate_voices(encoder, corpus, voices_of(corpus, "test")).overall
            table.add_row(name, *(f"{each:.1f}" for each in measured[name]), *(f"{getattr(scores, figure):.3f}" for figure in _FIGURES))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
