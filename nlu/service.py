"""The nlu service: Rasa's `/model/parse`, our `/v1/understand`, and `/healthz`. Run with `python -m nlu.service --port N`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict

from care.settings import SettingsInvalid, settings
from care.understanding import Intent, IntentScore, Understanding
from nlu.batching import Answered, Batcher, Overloaded
from nlu.labels import ModelMismatch
from nlu.model import DEFAULT_MODEL, Encoder
from nlu.text import without_surrogates

MAX_CHARACTERS = 10_000
_MAX_BYTES = 128_000
"""10,000 characters as JSON escapes of surrogate pairs are 120,000 bytes."""
_HEALTH_S = 5.0
_LEADING = (Intent.CRISIS, Intent.REPORT_SYMPTOM)
_log = logging.getLogger("nlu.service")


def _plain(value: object) -> object:
    return without_surrogates(value) if isinstance(value, str) else value


class UnderstandRequest(BaseModel):
    """A text to understand; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")
    text: Annotated[str, BeforeValidator(_plain)]


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


def create_app(encoder: Encoder) -> FastAPI:
    """The service on a loaded encoder."""
    batcher = Batcher(encoder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(batcher.run())
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    app = FastAPI(title="Aftercare nlu", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def refuse_large(request: Request, follow: Any) -> Response:
        size = request.headers.get("content-length", "")
        if request.method == "POST" and not size.isdigit():
            return JSONResponse({"error": "a Content-Length is required"}, status_code=411)
        if size.isdigit() and int(size) > _MAX_BYTES:
            return JSONResponse({"error": f"the body is over {_MAX_BYTES} bytes", "field": "text"}, status_code=413)
        response: Response = await follow(request)
        return response

    @app.exception_handler(RequestValidationError)
    async def name_the_field(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = [{"field": ".".join(str(part) for part in found["loc"][1:]) or "body", "problem": found["msg"]} for found in error.errors()]
        return JSONResponse({"error": "the request is not valid", "problems": problems}, status_code=422)

    @app.post("/v1/understand")
    async def understand(body: UnderstandRequest) -> Understanding:
        return (await _answer(batcher, body.text)).understanding

    @app.post("/model/parse")
    async def parse(body: UnderstandRequest) -> ParseAnswer:
        return parse_answer(await _answer(batcher, body.text))

    @app.get("/healthz")
    async def healthz() -> Health:
        began = time.perf_counter()
        try:
            answered = await asyncio.wait_for(_answer(batcher, "ok"), _HEALTH_S)
        except TimeoutError:
            raise HTTPException(503, "no forward went through in time") from None
        return Health(status="ok", version=answered.understanding.version, seconds=round(time.perf_counter() - began, 4))

    return app


async def _answer(batcher: Batcher, text: str) -> Answered:
    if len(text) > MAX_CHARACTERS:
        raise HTTPException(413, f"text has over {MAX_CHARACTERS} characters")
    try:
        return await batcher.understand(text)
    except Overloaded:
        raise HTTPException(503, "too many texts wait; try again", headers={"Retry-After": "1"}) from None
    except Exception as error:
        # the exception's message can hold the text: only its type is told
        _log.error("a forward failed: %s", type(error).__name__)
        raise HTTPException(503, "the encoder failed") from None


def main(arguments: list[str] | None = None) -> int:
    """Serves until stopped. Answers the exit code: 2 where the model or a setting is wrong."""
    parser = argparse.ArgumentParser(prog="python -m nlu.service", description="Serve the encoder.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="port (default: AFTERCARE_NLU_PORT)")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="folder of the weights (default: nlu/weights)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of a forward")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        port = options.port or settings().nlu_port
        torch.set_num_threads(options.threads)
        encoder = Encoder.load(options.model)
    except (ModelMismatch, SettingsInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    encoder.understand(["how are you today"])
    _log.info("serving %s on port %d", encoder.version, port)
    uvicorn.run(create_app(encoder), host=options.host, port=port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
