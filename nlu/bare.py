"""The bare engine that `aftercare bench nlu` compares with: forwards of texts that are tokens already, and nothing else.

Reads one JSON object a line, `{"texts": [...], "batch": N, "engine": "torch" or "onnx"}`, and writes the seconds of each forward as a JSON list.
Run with `python -m nlu.bare`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from nlu.model import DEFAULT_MODEL, Encoder
from nlu.onnx import exports, on_onnx
from nlu.tokens import tokenise


def main() -> None:
    """Answers each line until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m nlu.bare")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = Encoder.load(options.model)
    engines = {"torch": encoder, "onnx": on_onnx(encoder, exports(), options.threads)}
    for line in sys.stdin:
        asked = json.loads(line)
        tokens = [tokenise(text) for text in asked["texts"]]
        seconds = []
        for at in range(0, len(tokens), asked["batch"]):
            began = time.perf_counter()
            engines[asked["engine"]].logits(tokens[at : at + asked["batch"]])
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
