"""The running service, on the real engines: a patient by SMS, hostile input, forged webhooks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from twilio.request_validator import RequestValidator

from care.messages.twilio_client import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from tests.conftest import Service
from tests.integration.bad_texts import FLAGGED, ODD

TOM, MEI = "+15550100002", "+15550100003"


_twilio = httpx.Client(timeout=30, limits=httpx.Limits(keepalive_expiry=1))
"""One for all webhooks: making a client takes longer than a webhook."""


def webhook(service: Service, body: str, sender: str = MEI, sid: str = "", **changed: str) -> httpx.Response:
    """A signed inbound webhook, as Twilio posts it."""
    url = f"{service.web}/sms/inbound"
    fields = {"MessageSid": sid or f"SM{uuid4().hex}", "AccountSid": DEMO_ACCOUNT_SID, "From": sender, "To": "+15550100000", "Body": body, "NumMedia": "0"}
    fields |= changed
    signature = RequestValidator(DEMO_AUTH_TOKEN).compute_signature(url, fields)
    return _twilio.post(url, data=fields, headers={"X-Twilio-Signature": signature})


def _of(reference: str) -> str:
    """The patient with this reference, as a subquery."""
    return f"SELECT id FROM patients WHERE reference = '{reference}'"


def read(service: Service) -> None:
    """Waits until the rules have read every message."""
    end = time.monotonic() + 30
    while service.sql("SELECT 1 FROM inbound WHERE state = 'stored' LIMIT 1"):
        assert time.monotonic() < end, "messages are not read"
        time.sleep(0.05)


def settled(service: Service, within_s: float = 60) -> None:
    """Waits until no message waits for its turn."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not service.sql("SELECT 1 FROM inbound WHERE state IN ('stored', 'accepted') LIMIT 1"):
            return
        time.sleep(0.3)
    raise AssertionError("messages still wait for their turn")


@contextmanager
def chat(service: Service, phone: str, born: str) -> Iterator[httpx.Client]:
    """A browser in the patient's chat, opened with a link by SMS."""
    before = set(service.received(phone))
    service.text(phone, "CHAT")
    end = time.monotonic() + 30
    while not (links := [body for body in service.received(phone) if "#open=" in body and body not in before]):
        assert time.monotonic() < end, "no link came"
        time.sleep(0.2)
    with httpx.Client(base_url=service.web, timeout=60) as browser:
        opened = browser.post("/chat/open", json={"token": links[0].rpartition("#open=")[2].strip(), "date_of_birth": born})
        assert opened.status_code == 204, opened.text
        yield browser


def test_a_check_in_by_sms_runs_on_the_real_engines(service: Service) -> None:
    service.wait_for(TOM, "reply YES to agree")
    service.text(TOM, "yes")
    service.wait_for(TOM, "How bad is your pain")
    service.text(TOM, "about a 4 I guess")
    service.wait_for(TOM, "temperature")
    service.text(TOM, "no fever, 99.1")
    service.wait_for(TOM, "How does your wound look")
    service.text(TOM, "when can I shower?")
    service.wait_for(TOM, "Let water run over the wound")
    service.text(TOM, "clean and dry")
    service.wait_for(TOM, "Is either calf")
    service.text(TOM, "nope")
    service.wait_for(TOM, "Did you take your blood thinner")
    service.text(TOM, "took it")
    service.wait_for(TOM, "that is all for today")
    assert service.sql(f"SELECT count(*) FROM answers WHERE patient_id IN ({_of('demo-2')})") == [(5,)]
    assert service.sql(f"SELECT count(*) FROM contacts WHERE state = 'completed' AND patient_id IN ({_of('demo-2')})") == [(1,)]


def test_a_red_flag_is_answered_at_once_and_put_before_a_person(service: Service) -> None:
    service.wait_for(MEI, "reply YES")
    service.text(MEI, "my chest feels tight and I cant breathe")
    service.wait_for(MEI, "Call 911 now")
    assert service.sql(f"SELECT count(*) FROM escalations WHERE reason = 'red_flag' AND acuity = 'emergency' AND patient_id IN ({_of('demo-3')})") == [(1,)]


def test_a_report_is_triaged_by_rules_encoder_and_model(service: Service) -> None:
    answer = service.run("triage", "my calf is swollen and hot").stdout
    assert '"acuity": "urgent"' in answer
    assert all(f'"layer": "{layer}"' in answer for layer in ("rules", "encoder", "model"))
    assert "away" not in answer


def test_an_unsigned_webhook_stores_nothing(service: Service) -> None:
    before = service.sql("SELECT count(*) FROM inbound")
    fields = {"MessageSid": f"SM{uuid4().hex}", "AccountSid": DEMO_ACCOUNT_SID, "From": MEI, "To": "+15550100000", "Body": "forged"}
    assert httpx.post(f"{service.web}/sms/inbound", data=fields).status_code == 403
    assert httpx.post(f"{service.web}/sms/inbound", data=fields, headers={"X-Twilio-Signature": "x", "X-Forwarded-Host": "evil"}).status_code == 403
    assert webhook(service, "hello", AccountSid="AC" + "9" * 32).status_code == 403
    assert httpx.get(f"{service.web}/sms/inbound").status_code == 405
    assert httpx.post(f"{service.web}/sms/inbound", content="x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert service.sql("SELECT count(*) FROM inbound") == before


def test_a_repeated_message_sid_is_acknowledged_and_has_no_second_effect(service: Service) -> None:
    sid = f"SM{uuid4().hex}"
    assert [webhook(service, "hello there", sid=sid).status_code for _ in range(3)] == [200, 200, 200]
    assert service.sql(f"SELECT count(*) FROM inbound WHERE external_id = '{sid}'") == [(1,)]


def test_a_number_nobody_knows_gets_one_neutral_answer(service: Service) -> None:
    first, second = webhook(service, "hi", "+15557654321"), webhook(service, "hi again", "+15557654321")
    assert "We do not know your number" in first.text
    assert "Message" not in second.text


def _raw(service: Service, body: str, sender: str = MEI) -> tuple[str, httpx.Response]:
    """A signed webhook; lone surrogates go over the wire as the bytes they are, as a broken phone would send them."""
    sid = f"SM{uuid4().hex}"
    url = f"{service.web}/sms/inbound"
    fields = {"MessageSid": sid, "AccountSid": DEMO_ACCOUNT_SID, "From": sender, "To": "+15550100000", "Body": body, "NumMedia": "0"}
    content = urlencode({name: value.encode("utf-8", "surrogatepass") for name, value in fields.items()})
    received = {name: value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for name, value in fields.items()}
    headers = {"X-Twilio-Signature": RequestValidator(DEMO_AUTH_TOKEN).compute_signature(url, received), "Content-Type": "application/x-www-form-urlencoded"}
    return sid, httpx.post(url, content=content, headers=headers, timeout=30)


def test_no_odd_text_breaks_the_service_or_is_written_to_a_log(service: Service) -> None:
    tracebacks = service.logs().count("Traceback")
    for number, texts in ODD.items():
        for text in [*texts, f"my canary-word-zebra, {texts[0]}"[:1600]]:
            _, answer = _raw(service, text)
            assert answer.status_code == 200, (number, text)
    settled(service, 300)
    assert service.sql(f"SELECT count(*) FROM inbound WHERE state = 'set_aside' AND patient_id IN ({_of('demo-3')})") == [(0,)]
    assert "canary" not in service.logs()
    assert "crushing" not in service.logs()
    assert service.logs().count("Traceback") == tracebacks


@pytest.mark.parametrize(("number", "text"), [(number, text) for number, texts in FLAGGED.items() for text in texts])
def test_a_red_flag_inside_an_odd_text_is_never_lost(service: Service, number: int, text: str) -> None:
    sid, answer = _raw(service, text, sender="+15550100001")
    assert answer.status_code == 200
    read(service)
    assert service.sql(f"SELECT flagged FROM inbound WHERE external_id = '{sid}'") == [("emergency",)]


def test_a_picture_without_words_is_kept_and_words_are_asked_for(service: Service) -> None:
    webhook(service, "START", "+15550100001")
    assert webhook(service, "", "+15550100001", NumMedia="3", MediaUrl0="http://169.254.169.254/x").status_code == 200
    settled(service)
    assert service.sql(f"SELECT body IS NOT NULL, media FROM inbound WHERE patient_id IN ({_of('demo-1')}) ORDER BY id DESC LIMIT 1") == [(1, 3)]
    service.wait_for("+15550100001", "in words")


@pytest.mark.parametrize(
    "words", ["stop", "STOP.", " Stop ", "STOPALL", "Stop!!", "ARRET", "CANCEL", "please stop texting me", "remove me from this list", "leave me alone"]
)
def test_a_wish_to_be_left_alone_is_honoured(service: Service, words: str) -> None:
    assert webhook(service, "START", "+15550100001").status_code == 200
    assert webhook(service, words, "+15550100001").status_code == 200
    settled(service)
    newest = f"SELECT granted FROM consents WHERE patient_id IN ({_of('demo-1')}) ORDER BY id DESC LIMIT 1"
    assert service.sql(newest) == [(0,)]
    assert webhook(service, "START", "+15550100001").status_code == 200
    read(service)
    assert service.sql(newest) == [(1,)]


def test_help_is_answered_though_opted_out(service: Service) -> None:
    webhook(service, "STOP", "+15550100001")
    before = len([text for text in service.received("+15550100001") if "STOP to end messages" in text])
    webhook(service, "HELP", "+15550100001")
    end = time.monotonic() + 10
    while len([text for text in service.received("+15550100001") if "STOP to end messages" in text]) == before:
        assert time.monotonic() < end
        time.sleep(0.2)
    webhook(service, "START", "+15550100001")


@pytest.mark.parametrize("place", [0, 49_000, 98_000])
def test_a_red_flag_in_a_hundred_thousand_characters_is_found(service: Service, place: int) -> None:
    filler = "the knee is doing nicely today and I slept well. " * 2050
    told = filler[:place] + " I coughed up blood. " + filler[place : 100_000 - 30]
    with chat(service, "+15550100001", "1958-03-27") as browser:
        answer = browser.post("/chat/messages", json={"id": f"long-message-{place}", "text": told[:100_000]})
        assert answer.status_code == 200
        assert service.sql(f"SELECT flagged FROM inbound WHERE external_id LIKE '%long-message-{place}'") == [("emergency",)]
        refused = browser.post("/chat/messages", json={"id": "too-long-message", "text": "x" * 100_001})
        settled(service)
        assert (refused.status_code, refused.json()["detail"][0]["field"]) == (422, "body.text")


def test_the_doctor_finds_everything_well(service: Service) -> None:
    answer = service.run("doctor")
    assert "problem" not in answer.stdout, answer.stdout


def test_a_second_up_is_refused_with_one_line(service: Service) -> None:
    answer = service.run("up", "--detach")
    assert answer.returncode == 2
    assert "runs already" in answer.stderr
