"""Storms at the border to Twilio (`make test-slow`): webhooks and receipts late, lost and repeated, answers that never came, three in ten of its answers errors."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from aftercare.bench.cohort import phone as phone_of_cohort
from care.messages.pace import Haste
from care.messages.sms_text import segments
from tests.conftest import Service, postgres_database, start_service
from tests.faults.storm import (
    RED_FLAG,
    ROOT,
    Cohort,
    again_and_again,
    age,
    faults,
    handed_to,
    held,
    kill,
    ledger,
    until,
    warnings,
)
from tests.integration.test_service import webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_r14_webhooks_that_never_came(storm: Service, tmp_path: Path) -> None:
    """Twilio gives a webhook up when the web process is away: its list has the message."""
    cohort = Cohort(storm, 30, tmp_path)
    with faults(storm, {"kind": "webhook_lost", "count": 30}):
        for number, phone in enumerate(cohort.phones):
            storm.text(phone, RED_FLAG if number % 10 == 0 else "thanks")
        until(lambda: cohort.count("inbound") == 30, 120)
    assert cohort.count("escalations", "reason = 'red_flag'") == 3
    cohort.settle()
    cohort.check(30)


@pytest.mark.parametrize("seconds", [10, 60])
def test_r14_the_web_process_stands_still(storm: Service, tmp_path: Path, seconds: int) -> None:
    """The red flag does not wait for its return. Half an hour and six hours of it are in tests/integration/test_poller.py."""
    cohort, began = Cohort(storm, 10, tmp_path), time.monotonic()
    with held(storm, "web"):
        for number, phone in enumerate(cohort.phones):
            storm.text(phone, RED_FLAG if number == 0 else "thanks")
        if seconds == 60:
            until(lambda: cohort.count("escalations", "reason = 'red_flag'") == 1, 90)
        time.sleep(max(0.0, began + seconds - time.monotonic()))
    until(lambda: cohort.count("escalations", "reason = 'red_flag'") == 1, max(1.0, began + 90 - time.monotonic()))
    until(lambda: cohort.count("inbound") == 10, 120)
    cohort.settle()
    assert cohort.count("escalations", "reason = 'red_flag'") == 1
    cohort.check(10)


def test_r15_webhooks_delivered_up_to_five_times_at_once(storm: Service, tmp_path: Path) -> None:
    cohort, chance = Cohort(storm, 50, tmp_path), random.Random(15)
    posts = [(cohort.phones[each % 50], f"SM{uuid4().hex}") for each in range(500)]
    posts = [post for post in posts for _ in range(chance.randint(1, 5))]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda post: webhook(storm, "HELP", post[0], post[1]).status_code, posts))
    assert set(answers) == {200}
    cohort.settle(400)
    age(storm, "Inbound", "received_at", cohort, hours=25)
    assert {webhook(storm, "HELP", phone, sid).status_code for phone, sid in posts[::20]} == {200}
    time.sleep(5)
    cohort.check(500)
    assert cohort.count("outbound", "key = 'help'") == 500


def test_r16_receipts_late_lost_repeated_and_out_of_order(storm: Service, tmp_path: Path) -> None:
    """Every order of the statuses is in tests/integration/test_receipts.py."""
    cohort = Cohort(storm, 200, tmp_path)
    spoilt: list[dict[str, object]] = [{"kind": kind, "share": 0.3, "count": 100_000} for kind in ("receipts_lost", "out_of_order", "repeated")]
    with faults(storm, *spoilt, {"kind": "30005", "share": 0.1, "count": 100_000}):
        cohort.write([(phone, "HELP") for phone in cohort.phones])
        cohort.settle()
        time.sleep(5)
    open_ones = "state IN ('accepted', 'sent')"
    assert cohort.count("outbound", open_ones) > 20
    age(storm, "Outbound", "sent_at", cohort, minutes=11)  # of the fifteen that may pass
    until(lambda: cohort.count("outbound", open_ones) == 0, 240)
    truth = dict(ledger(storm, "SELECT sid, status FROM messages WHERE direction = 'outbound-api'"))  # type: ignore[arg-type,var-annotated]
    ended = storm.sql(f"SELECT external_id, state FROM outbound WHERE {cohort.ours}")
    assert len(ended) == 200
    assert {state for _, state in ended} == {"delivered", "undelivered"}
    assert [sid for sid, state in ended if truth[sid] != state] == []


def test_r17_accepted_and_no_answer(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 50, tmp_path)
    silent: list[dict[str, object]] = [{"kind": "slow", "to": phone, "seconds": 12} for phone in cohort.phones[:10]]
    silent += [{"kind": "accepted_no_answer", "to": phone, "count": 2} for phone in cohort.phones[10:35]]
    with faults(storm, *silent):
        with again_and_again(lambda: kill(storm, "sender"), 10, every_s=5):
            cohort.write([(cohort.phones[each % 50], "HELP") for each in range(500)])
        cohort.settle(600)
    cohort.check(500)


def test_r17_a_warning_of_which_nothing_is_known_is_sent_once_more_and_a_person_told(storm: Service, tmp_path: Path) -> None:
    """Twilio took it, but the answer is lost, and so are its receipts, and its list shows it late."""
    cohort = Cohort(storm, 10, tmp_path)
    kinds = ("accepted_no_answer", "receipts_lost", "list_late")
    with faults(storm, *({"kind": kind, "to": phone, "seconds": 120} for phone in cohort.phones for kind in kinds)):
        cohort.write([(phone, RED_FLAG) for phone in cohort.phones])
        cohort.settle(600)
    copies = [sum(str(recipient) == phone for _, recipient in warnings(storm)) for phone in cohort.phones]
    assert set(copies) <= {1, 2}
    assert 2 in copies, "the list was not late enough for this to be tried"
    told = storm.sql(f"SELECT count(DISTINCT patient_id) FROM escalations WHERE reason = 'not_sent' AND {cohort.ours}")
    assert told[0][0] >= copies.count(2)


def test_r18_a_warning_does_not_wait_for_a_thousand_messages(storm: Service, tmp_path: Path) -> None:
    cohort, urgent = Cohort(storm, 100, tmp_path), Cohort(storm, 10, tmp_path)
    with held(storm, "sender"), held(storm, "worker"):  # both send
        cohort.write([(cohort.phones[each % 100], "HELP") for each in range(1000)])
        urgent.write([(phone, RED_FLAG) for phone in urgent.phones])
        until(lambda: urgent.count("inbound", "flagged = 'emergency'") == 10)  # read, so that the warnings wait beside the others
    urgent.settle()
    cohort.settle(400)
    last = max(seq for (seq,) in handed_to(storm, urgent, "Call 911"))
    assert sum(seq > last for (seq,) in handed_to(storm, cohort, "")) > 500, "the warnings waited for routine messages"
    cohort.check(1000)


def test_r18_no_number_sends_faster_than_twilio_passes_on(tmp_path: Path) -> None:
    """2,000 reminders due in one minute, ten numbers, and warnings among them that do not wait."""
    numbers, pace = [f"+1555010{number:04d}" for number in range(100, 110)], 4.0
    make = "from aftercare.bench.cohort import enroll_cohort, start_outreach; enroll_cohort(2000); start_outreach()"
    with (
        postgres_database() if os.environ.get("AFTERCARE_TEST_POSTGRES") else nullcontext("") as database,
        start_service(
            tmp_path,
            first_port=18480,
            AFTERCARE_DATABASE_URL=database,
            AFTERCARE_TWILIO_NUMBERS=",".join(numbers),
            AFTERCARE_SMS_PER_SECOND="10000",
            AFTERCARE_SMS_SEGMENTS_PER_SECOND=str(pace),
        ) as service,
    ):
        subprocess.run([sys.executable, "-c", make], env=service.env, cwd=ROOT, check=True)
        sent = "SELECT count(*) FROM messages WHERE direction = 'outbound-api'"
        until(lambda: int(str(ledger(service, sent)[0][0])) > 200, 120)
        for number in range(5):
            service.text(phone_of_cohort(number), RED_FLAG)
        until(lambda: service.sql("SELECT count(*) FROM outbound WHERE state <> 'delivered'") == [(0,)], 900)
        rows = ledger(service, "SELECT sender, body, created FROM messages WHERE direction = 'outbound-api' ORDER BY seq")
        wrote = ledger(service, f"SELECT sender, created FROM messages WHERE direction = 'inbound' AND body = '{RED_FLAG}'")
        warned = {phone: at for at, phone in reversed(warnings(service))}
    waited = [(warned[str(phone)] - datetime.fromisoformat(str(at))).total_seconds() for phone, at in wrote]
    assert len(waited) == 5
    assert max(waited) <= 5, f"a warning took {max(waited):.1f} s"
    places = [place for place, (_, body, _) in enumerate(rows) if "911" in str(body) and "Call 911" in str(body)]
    assert len(places) >= 5
    assert places[4] < len(rows) - 1000, "the warnings waited for routine messages"
    busy_until = dict.fromkeys(numbers, 0.0)
    for number, body, moment in rows:
        at = datetime.fromisoformat(str(moment)).timestamp()
        ahead = max(busy_until[str(number)] - at, 0.0)
        assert ahead <= Haste.ANSWER.value + 2, f"{ahead:.1f} seconds' worth lay at Twilio when another message came"
        busy_until[str(number)] = at + ahead + segments(str(body)).segments / pace


def test_r20_no_message_after_a_stop(storm: Service, tmp_path: Path) -> None:
    cohort, chance = Cohort(storm, 70, tmp_path), random.Random(20)
    talk = [(phone, words) for phone in cohort.phones for words in ["thanks", "is it ok to shower?"] * chance.randint(1, 2)]
    chance.shuffle(talk)
    for phone in cohort.phones:
        talk.insert(chance.randrange(len(talk)), (phone, "STOP"))
    acknowledged = cohort.write(talk)
    cohort.settle()
    confirmations = {sid for (sid,) in storm.sql(f"SELECT external_id FROM outbound WHERE key = 'stop_confirmed' AND {cohort.ours}")}
    for sid, phone, at in ledger(storm, "SELECT sid, recipient, created FROM messages WHERE direction = 'outbound-api'"):
        if stopped := acknowledged.get((str(phone), "STOP")):
            after_s = (datetime.fromisoformat(str(at)) - stopped).total_seconds()
            assert after_s <= (300 if sid in confirmations else 1), f"{phone} got a message {after_s:.1f} s after STOP"
    assert cohort.count("consents", "NOT granted") == 70
    assert len(confirmations) == cohort.count("outbound", "key = 'stop_confirmed'") == 70


def test_r21_red_flags_of_patients_who_opted_out(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 10, tmp_path)
    cohort.write([(phone, "STOP") for phone in cohort.phones])
    cohort.settle()
    sent = cohort.count("outbound")
    cohort.write([(phone, RED_FLAG) for phone in cohort.phones])
    until(lambda: cohort.count("escalations", "reason = 'red_flag'") == 10, 10)
    cohort.settle()
    assert cohort.count("escalations", "reason = 'red_flag'") == 10
    assert cohort.count("outbound") == sent
    assert cohort.count("consents", "granted") == 0


def test_twilio_fails_for_three_in_ten(storm: Service, tmp_path: Path) -> None:
    """Busy, broken, or silent after it took the message, by chance."""
    cohort = Cohort(storm, 50, tmp_path)
    for kind in ("429", "5xx", "accepted_no_answer"):
        httpx.post(f"{storm.phones}/faults", json={"kind": kind, "share": 0.1, "count": 100_000}).raise_for_status()
    cohort.write([(cohort.phones[each % 50], "HELP") for each in range(200)])
    until(lambda: cohort.count("outbound", "external_id IS NOT NULL") > 150, 300)
    httpx.delete(f"{storm.phones}/faults").raise_for_status()
    cohort.settle(900)
    cohort.check(200)
