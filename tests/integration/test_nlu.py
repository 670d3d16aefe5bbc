"""The nlu service as its callers meet it: the shipped weights, over HTTP. Skipped where the nlu environment is not built."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from care.knowledge import knowledge
from care.lexicon import present_symptoms
from care.retrieval import advice_for
from care.settings import ROOT
from care.triage.model import PatientContext
from care.understanding import UnderstandingUnavailable
from nlu.client import NluClient

PYTHON = ROOT / "var" / "envs" / "nlu" / "bin" / "python"
HOME = ROOT / "var"
WEIGHTS = ROOT / "nlu" / "weights"
ENGLISH = [
    "knee still swole up cant sleep",
    "ok",
    "yes",
    "no thx",
    "temp 101.4",
    "bp 150 over 90",
    "wat time is my apt",
    "im good ty",
    "chest hurts real bad cant breath",
    "lol whos this",
    "took my meds at 8",
    "stop texting me",
    "gonna throw up again",
    "pain 7",
    "my pooh is black n sticky",
    "aight thanks doc",
    "no fever no chills",
    "i fell",
    "dizzy",
    "metoprolol or lisinopril?",
    "poo is runny 4x 2day",
    "woun is leakin green stuf",
    "how long til i can drive",
    "me hurts so much since operation",
    "am not having pain again sir",
    "pls call my daughter maria",
    "hola doc my knee hurts",
    "diarrhea x3 nausea vomiting",
    "sugar 5.5",
    "incision red hot oozing",
    "nope",
    "k",
    "cough cough cough",
    "i want die",
    "help",
    "cant pee",
    "left leg swollen n warm",
    "bless you hun feeling grand",
    "innit babe still sore tho",
    "husband says im grey",
]
FOREIGN = [
    "me duele mucho la rodilla",
    "tengo fiebre desde ayer",
    "no puedo respirar bien",
    "si",
    "gracias",
    "estoy bien gracias a dios",
    "ya tome la pastilla",
    "cuando es mi cita",
    "la herida esta roja y caliente",
    "me siento mareado",
    "tengo mucho dolor en el pecho",
    "no me siento bien",
    "vomite tres veces hoy",
    "quiero hablar con una persona",
    "mi mama se cayo anoche",
    "sangro mucho",
    "hola buenos dias",
    "hinchazon en la pierna izquierda",
    "no tengo dolor",
    "que medicina debo tomar",
    "ayuda por favor",
    "me olvide la medicina",
    "la presion 150 sobre 90",
    "ando bien malo del estomago",
    "ya no me escriban",
    "我膝盖很痛",
    "发烧三十九度",
    "好的",
    "谢谢",
    "我喘不过气来",
    "伤口红肿流脓",
    "没有吃药",
    "什么时候复诊",
    "头晕想吐",
    "不知道",
    "胸口痛",
    "还好 没事",
    "我要找医生",
    "昨晚没睡好",
    "血压150/90",
    "tôi bị đau đầu gối",
    "tôi không thở được",
    "vết mổ bị sưng đỏ",
    "cảm ơn bác sĩ",
    "masakit ang tuhod ko",
    "hindi ako makahinga",
    "salamat po",
    "nahihilo ako mula kahapon",
    "j'ai mal au genou",
    "je n'arrive pas à respirer",
    "merci beaucoup",
    "mwen gen doulè nan pwatrin",
    "jenou m ap fè m mal",
    "estou com muita dor no joelho",
    "não consigo respirar",
    "у меня болит колено",
    "не могу дышать",
    "عندي ألم في الركبة",
    "لا أستطيع التنفس",
    "무릎이 너무 아파요",
    "숨을 못 쉬겠어요",
    "mein knie tut weh",
    "ich kann nicht atmen",
    "boli mnie kolano",
    "mi fa male il ginocchio",
    "मेरे घुटने में दर्द है",
    "膝がとても痛いです",
    "jilibka ayaa i xanuunaya",
]
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the nlu environment is not built: make envs")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nlu") / "nlu.log"


@pytest.fixture(scope="module")
def url(log: Path) -> Iterator[str]:
    port = _free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(PYTHON), "-m", "nlu.service", "--port", str(port)], stdout=out, stderr=out, cwd=ROOT, env={**os.environ, "AFTERCARE_HOME": str(HOME)}
        )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(720):
            if process.poll() is not None:
                pytest.fail(f"the nlu service ended: {log.read_text()[-2000:]}")
            try:
                if httpx.get(f"{base}/healthz", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.25)
        else:
            pytest.fail("the nlu service did not become ready in 180 s")
        yield base
    finally:
        process.terminate()
        process.wait(10)


def test_the_client_gets_an_understanding_with_spans_in_the_text(url: str) -> None:
    text = "my calf is swollen and it hurts since last night"
    answer = NluClient(url).understand(text)
    assert answer.text == text and "report_symptom" in [intent.name for intent in answer.intents]
    assert answer.spans and all(text[span.start : span.end] == span.text for span in answer.spans)
    assert sum(answer.acuity.values()) == pytest.approx(1, abs=1e-6)


def test_a_symptom_says_whose_it_is(url: str) -> None:
    answer = NluClient(url).understand("no fever today but my knee is sore")
    assert {span.text: span.status for span in answer.spans if span.label == "symptom"} == {"fever": "denied", "sore": "present"}
    assert all(span.status is None for span in answer.spans if span.label != "symptom")


def test_rasa_gets_its_contract_and_not_sure_where_nothing_is_said(url: str) -> None:
    answer = httpx.post(f"{url}/model/parse", json={"text": "yes please", "message_id": "m1", "token": None}).json()
    assert {"text", "intent", "intent_ranking", "entities", "understanding"} == set(answer)
    assert answer["intent_ranking"][0]["confidence"] >= answer["intent_ranking"][-1]["confidence"]
    assert httpx.post(f"{url}/model/parse", json={"text": " \u200b "}).json()["intent"]["name"] == "not_sure"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "👍" * 500,
        "\u202eniap tsehc",
        "\x00\x01",
        "e\u0301" * 4000,
        "a" * 10_000,
        "word " * 2000,
        "\ud83d",
        "سلام",
        "𝒻𝑒𝓋𝑒𝓇",
        "/restart",
    ],
)
def test_any_unicode_is_answered(url: str, text: str) -> None:
    answer = httpx.post(f"{url}/v1/understand", content=json.dumps({"text": text}), headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert all(0 <= span["start"] < span["end"] <= len(text) for span in answer.json()["spans"])


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(part=st.text(min_size=1, max_size=60), times=st.integers(1, 10_000))
def test_any_text_up_to_ten_thousand_characters_is_answered(url: str, part: str, times: int) -> None:
    text = (part * times)[:10_000]
    answer = httpx.post(f"{url}/v1/understand", content=json.dumps({"text": text}), headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert all(0 <= span["start"] < span["end"] <= len(text) for span in answer.json()["spans"])


def test_a_text_in_another_language_is_not_sure_and_english_is_not_refused(url: str) -> None:
    code = "import json, sys; from nlu.language import language_of; print(json.dumps([language_of(text) for text in json.load(sys.stdin)]))"
    done = subprocess.run([str(PYTHON), "-c", code], input=json.dumps(ENGLISH + FOREIGN), capture_output=True, text=True, cwd=ROOT, check=True)
    heard = json.loads(done.stdout)
    assert [text for text, language in zip(ENGLISH, heard, strict=False) if language != "en"] == []
    missed = [text for text, language in zip(FOREIGN, heard[len(ENGLISH) :], strict=True) if language == "en"]
    assert len(missed) <= 3, missed
    answer = httpx.post(f"{url}/model/parse", json={"text": "quiero hablar con una persona"}).json()
    assert (
        answer["intent"]["name"] == "not_sure"
        and answer["understanding"]["intents"] == []
        and answer["understanding"]["language"] == "es"
        and sum(answer["understanding"]["acuity"].values()) == pytest.approx(1)
    )


def test_the_service_runs_on_the_checked_export_of_its_weights(url: str, log: Path) -> None:
    version = httpx.get(f"{url}/healthz", timeout=5).json()["version"]
    assert (HOME / "models" / "nlu" / f"{version}.onnx").exists()
    assert "stays on torch" not in log.read_text()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"text": "' + b"a" * 10_001 + b'"}', 413),
        (b'{"text": 5}', 422),
        (b"{}", 422),
        (b"{", 422),
        (b"[" * 50_000, 422),
        (b"\xff\xfe", 422),
        (b" " * 200_000, 413),
    ],
)
def test_a_wrong_request_is_refused_without_repeating_it(url: str, body: bytes, status: int) -> None:
    answer = httpx.post(f"{url}/v1/understand", content=body, headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == status, answer.text
    assert len(answer.content) < 500
    assert httpx.get(f"{url}/healthz", timeout=5).json()["status"] == "ok"


def test_concurrent_texts_get_their_own_answers_and_no_words_reach_the_log(url: str, log: Path) -> None:
    client = NluClient(url, timeout_s=30)
    texts = [f"xylophonist {number} has knee pain" for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(client.understand, texts))
    assert [answer.text for answer in answers] == texts
    assert "xylophonist" not in log.read_text()


def test_the_client_fails_in_one_way_and_never_tells_the_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(UnderstandingUnavailable) as caught:
        NluClient(f"http://127.0.0.1:{_free_port()}", timeout_s=1).understand("private words")
    assert "private" not in str(caught.value) and "private" not in caplog.text


def test_with_no_time_left_the_service_is_not_asked(url: str) -> None:
    for ask in (NluClient(url).understand, NluClient(url).alike):
        with pytest.raises(UnderstandingUnavailable, match="no time is left"):
            ask("knee pain", 0)


def test_the_client_needs_no_torch() -> None:
    code = "import sys, nlu.client; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("change", ["intents", "sha", "weights", "gazetteer"])
def test_a_model_that_does_not_match_its_labels_is_refused(tmp_path: Path, change: str) -> None:
    labels = json.loads((WEIGHTS / "labels.json").read_text())
    weights = (WEIGHTS / "weights.safetensors").read_bytes()
    gazetteer = (WEIGHTS / "gazetteer.json").read_text()
    if change == "intents":
        labels["intents"] = labels["intents"][1:]
    elif change == "sha":
        labels["weights_sha256"] = "0" * 64
    elif change == "weights":
        weights = weights[:-1000]
    else:
        gazetteer = gazetteer.replace("swollen", "swollem")
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    (tmp_path / "weights.safetensors").write_bytes(weights)
    (tmp_path / "gazetteer.json").write_text(gazetteer)
    done = subprocess.run(
        [str(PYTHON), "-m", "nlu.service", "--port", str(_free_port()), "--model", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and str(tmp_path) in done.stderr


def test_the_shipped_weights_are_small_enough_for_git() -> None:
    assert (WEIGHTS / "weights.safetensors").stat().st_size < 6_000_000


def test_a_question_is_like_the_statement_that_answers_it(url: str) -> None:
    likeness = NluClient(url).alike("is swimming ok with my scar")
    assert max(likeness, key=lambda each: likeness[each]) == "wound_no_soak"
    assert set(likeness) == set(knowledge().advice)


def test_advice_is_found_by_meaning_in_hundreds_of_reports(url: str) -> None:
    """Recall at 5 on tests/clinical/suites/advice.jsonl; who wrote how patients ask (`asked`) never saw them."""
    client = NluClient(url)
    rows = [json.loads(line) for line in (ROOT / "tests/clinical/suites/advice.jsonl").read_text(encoding="utf-8").splitlines()]
    found = []
    for row in rows:
        context = PatientContext(protocol=row.get("protocol"), day=10)
        offered = {each.id for each in advice_for(row["text"], present_symptoms(row["text"]), context, likeness=client.alike(row["text"]))}
        found.append(len(offered & set(row["advice"])) / len(row["advice"]))
    assert len(rows) >= 300
    assert sum(found) / len(found) >= 0.95
