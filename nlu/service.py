"""The nlu service: Rasa's `/model/parse`, our `/v1/understand` and `/v1/alike` (advice like a text), and `/healthz`.

Run with `python -m nlu.service --port N`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import torch
import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from care.knowledge import KnowledgeInvalid, knowledge
from care.settings import SettingsInvalid, settings
from care.understanding import Intent, IntentScore, Understanding
from nlu.alike import AdviceLikeness, SentenceEncoder
from nlu.batching import MAX_BATCH, Answered, Batcher, Overloaded
from nlu.labels import ModelMismatch
from nlu.language import language_of
from nlu.model import DEFAULT_MODEL, Encoder
from nlu.onnx import exports, on_onnx
from nlu.text import without_surrogates

MAX_CHARACTERS = 10_000
_MAX_BYTES = 128_000
"""10,000 characters as JSON escapes of surrogate pairs are 120,000 bytes."""
_HEALTH_S = 5.0
_LEADING = (Intent.CRISIS, Intent.REPORT_SYMPTOM)
_WARMING = ["how are you today", *["the words of an ordinary message about how the knee is and what helped " * 2] * MAX_BATCH]
_log = logging.getLogger("nlu.service")


class Refused(Exception):
    """A request that gets no answer: the status, and what is told instead."""

    def __init__(self, status: int, error: str, *, field: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.headers = status, headers
        self.told = {"error": error} | ({"field": field} if field else {})


class RankedIntent(BaseModel):
    """An intent's name and probability; `not_sure` stands for none."""

    name: str
    confidence: float


class Entity(BaseModel):
    """Marked words as Rasa reads them."""

    entity: str
    value: str
    start: int
    end: int
    confidence_entity: float


class ParseAnswer(BaseModel):
    """Rasa's answer of `/model/parse`, with ours under `understanding`."""

    text: str
    intent: RankedIntent
    intent_ranking: list[RankedIntent]
    entities: list[Entity]
    understanding: Understanding


class Health(BaseModel):
    """That a forward went through, and how long it took."""

    status: str
    version: str
    seconds: float


def parse_answer(answered: Answered) -> ParseAnswer:
    """The answer in Rasa's words. One intent leads: a crisis, else a symptom, else the most probable; `not_sure` where none passes."""
    understanding = answered.understanding
    return ParseAnswer(
        text=understanding.text,
        intent=_leading(understanding.intents, answered.ranking),
        intent_ranking=[RankedIntent(name=score.name, confidence=score.confidence) for score in answered.ranking],
        entities=[
            Entity(entity=span.label, value=span.text, start=span.start, end=span.end, confidence_entity=span.confidence) for span in understanding.spans
        ],
        understanding=understanding,
    )


def _leading(intents: list[IntentScore], ranking: list[IntentScore]) -> RankedIntent:
    by_name = {score.name: score for score in intents}
    lead = next((by_name[name] for name in _LEADING if name in by_name), intents[0] if intents else None)
    if lead is None:
        return RankedIntent(name="not_sure", confidence=1.0 - ranking[0].confidence)
    return RankedIntent(name=lead.name, confidence=lead.confidence)


def create_app(encoder: Encoder, advice: AdviceLikeness) -> Starlette:
    """The service on a loaded encoder and the index of advice.

    Plain Starlette: what a typed framework does for each request took as long as a short text's forward.
    """
    batcher = Batcher(encoder)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        worker = asyncio.create_task(batcher.run())
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    async def understand(request: Request) -> Response:
        return _written((await _answer(batcher, await _text_of(request))).understanding)

    async def parse(request: Request) -> Response:
        return _written(parse_answer(await _answer(batcher, await _text_of(request))))

    async def alike(request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(advice.of, await _text_of(request)))

    async def healthz(_: Request) -> Response:
        began = time.perf_counter()
        try:
            answered = await asyncio.wait_for(_answer(batcher, "ok"), _HEALTH_S)
        except TimeoutError:
            raise Refused(503, "no forward went through in time") from None
        return _written(Health(status="ok", version=answered.understanding.version, seconds=round(time.perf_counter() - began, 4)))

    return Starlette(
        routes=[
            Route("/v1/understand", understand, methods=["POST"]),
            Route("/model/parse", parse, methods=["POST"]),
            Route("/v1/alike", alike, methods=["POST"]),
            Route("/healthz", healthz),
        ],
        exception_handlers={Refused: _told},
        lifespan=lifespan,
    )


def _written(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


async def _told(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    return JSONResponse(refused.told, refused.status, headers=refused.headers)


async def _text_of(request: Request) -> str:
    """The body's `text`; other fields are ignored. Raises `Refused`, which never repeats what was sent."""
    size = request.headers.get("content-length", "")
    if not size.isdigit():
        raise Refused(411, "a Content-Length is required")
    if int(size) > _MAX_BYTES:
        raise Refused(413, f"the body is over {_MAX_BYTES} bytes", field="text")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Refused(422, 'the body is not JSON; send {"text": "..."} in UTF-8', field="body") from None
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str):
        raise Refused(422, 'text is missing or not a string; send {"text": "..."}', field="text")
    if len(text) > MAX_CHARACTERS:
        raise Refused(413, f"text has over {MAX_CHARACTERS} characters", field="text")
    return without_surrogates(text)


def _not_sure(answered: Answered, language: str) -> Answered:
    """The answer to a text in a `language` that the encoder does not know: no intent and no marked words.

    Its acuity stands: triage takes the most serious of its layers, so that it can only raise what the rules say.
    """
    return Answered(answered.understanding.model_copy(update={"intents": [], "spans": [], "language": language}), answered.ranking)


async def _answer(batcher: Batcher, text: str) -> Answered:
    try:
        answered = await batcher.understand(text)
        language = language_of(text)
        return answered if language == "en" else _not_sure(answered, language)
    except Overloaded:
        raise Refused(503, "too many texts wait; try again", headers={"Retry-After": "1"}) from None
    except Exception as error:
        # the exception's message can hold the text: only its type is told
        _log.error("a forward failed: %s", type(error).__name__)
        raise Refused(503, "the encoder failed") from None


def main(arguments: list[str] | None = None) -> int:
    """Serves until stopped. Answers the exit code: 2 where the model or a setting is wrong."""
    parser = argparse.ArgumentParser(prog="python -m nlu.service", description="Serve the encoder.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="port (default: AFTERCARE_NLU_PORT)")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="folder of the weights (default: nlu/weights)")
    parser.add_argument("--threads", type=int, default=2, help="threads of a forward")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        port = options.port or settings().nlu_port
        torch.set_num_threads(options.threads)
        encoder = on_onnx(Encoder.load(options.model), exports(), options.threads)
        advice = AdviceLikeness(SentenceEncoder(), knowledge(), exports())
    except (ModelMismatch, SettingsInvalid, KnowledgeInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    language_of(_WARMING[0])
    encoder.understand(_WARMING[:1])
    encoder.understand(_WARMING[1:])
    _log.info("serving %s on port %d", encoder.version, port)
    uvicorn.run(create_app(encoder, advice), host=options.host, port=port, access_log=False, log_level="warning", loop="uvloop", http="httptools", ws="none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
