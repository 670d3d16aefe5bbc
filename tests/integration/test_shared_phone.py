"""A phone that others read as well, and words too long for an SMS: the phone gets a name and a link, the words wait in the web chat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from aftercare.commands.patient import app
from care.campaigns.preview import preview, preview_new
from care.campaigns.roster import read_roster
from care.campaigns.schedule import tick
from care.campaigns.service import campaign_named
from care.clock import ManualClock
from care.escalations.service import take_over
from care.knowledge import knowledge
from care.messages.gateway import SmsRefused
from care.messages.notice import NOTICE
from care.messages.outbox import SAID_OPENLY, OutboundText, write
from care.messages.receipts import Told, take_receipt
from care.messages.sending import Sender
from care.messages.sms_text import fold, segments
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import AuditEntry, Channel, ChatLink, Contact, ContactState, Escalation, Outbound, OutboundState, Patient, Role
from care.texts import scripted
from care.users import add_user
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, make_due, new_patient, rows, run_ticks, runner, text_in
from tests.integration.shared_phones import connected, in_chat, link, open_chat, phone_is_shared, say, shared, shown, texts
from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with TestClient(create_app()) as opened:
        yield opened


@pytest.mark.parametrize("language", ["en", "es", "zh"])
def test_the_notice_says_who_writes_for_whom_and_nothing_else(language: str) -> None:
    patient = shared(language=language)
    say(patient, "take your blood thinner")
    (told,) = [row for row in rows(Outbound) if row.channel is Channel.SMS]
    assert told.key == NOTICE
    assert all(words in told.body for words in (settings().clinic_name, "Pat1", f"{settings().public}/#open=", settings().clinic_phone))
    assert "Example" not in told.body, "the first name alone"
    assert "thinner" not in told.body
    assert segments(fold(told.body)).segments == (2 if language == "zh" else 1)
    assert in_chat() == ["take your blood thinner"]


@pytest.mark.parametrize("language", ["en", "es", "zh"])
@pytest.mark.parametrize("key", sorted(SAID_OPENLY))
def test_what_is_said_openly_to_a_shared_phone_tells_nothing_of_the_patients_health(key: str, language: str) -> None:
    text = scripted(key, language, first_name="Zelda", link="https://x").lower()
    known = knowledge()
    named = [each.name.lower() for part in (known.protocols, known.symptoms, known.complications, known.medicines, known.procedures) for each in part.values()]
    assert not [name for name in named if re.search(rf"\b{re.escape(name)}\b", text)]


def test_what_the_law_asks_for_and_warnings_still_come_in_words(clock: ManualClock) -> None:
    patient = shared(consent=False)
    with transaction() as session:
        tick(session, NOON)
    text_in(patient, "HELP", 1)
    text_in(patient, "español", 2)
    text_in(patient, "crushing chest pain", 3)
    text_in(patient, "STOP", 4)
    assert texts() == ["consent_request", "help", "language_set", "emergency_warning", "stop_confirmed"]
    assert rows(ChatLink) == []


def test_a_warning_to_a_shared_phone_repeats_none_of_the_patients_words(clock: ManualClock) -> None:
    patient = shared()
    text_in(patient, "crushing chest pain since the knee surgery")
    (warning,) = rows(Outbound)
    assert warning.body.startswith("This may be an emergency. Call 911 now.")
    assert not [word for word in ("chest", "pain", "knee", "surgery", "Pat1") if word in warning.body]


def test_a_check_in_of_a_shared_phone_is_begun_by_the_link_and_answered_in_the_chat(clock: ManualClock, browser: TestClient) -> None:
    patient, twilio = shared(), Phone()
    with transaction() as session:
        tick(session, NOON)
    assert texts() == [NOTICE], "one link for the greeting and the question"
    assert len(in_chat()) == 2
    Sender(twilio, clock).run(patient)
    assert [sms.body.count("#open=") for sms in twilio.held] == [1]
    assert [row.state for row in rows(Contact) if row.day == 1] == [ContactState.STARTED]
    assert open_chat(browser, link()) == 204
    assert shown(browser) == in_chat(), "the words, and not the link that led to them"
    dialogue = Echo()
    with connected(browser):
        text_in(patient, "about a 3", 1, channel=Channel.WEB)
        runner(dialogue, clock).run(patient)
    assert dialogue.heard == ["<start_check_in>", "about a 3"]
    assert in_chat()[-1] == "you said about a 3"
    assert texts() == [NOTICE]


def test_a_check_in_whose_link_could_not_leave_in_time_was_not_begun_and_waits_in_no_chat(clock: ManualClock) -> None:
    patient = shared()
    with transaction() as session:
        tick(session, NOON)
    clock.advance(timedelta(hours=12))
    Sender(Phone(), clock).run(patient)
    assert {row.state for row in rows(Outbound)} == {OutboundState.CANCELLED}
    assert [row.skipped_because for row in rows(Contact) if row.day == 1] == ["not_sent"]


def test_a_reminder_sends_a_link_of_its_own_and_the_ladder_goes_on(clock: ManualClock) -> None:
    patient = shared()
    for _ in range(20):
        run_ticks(clock, 1 / 24)
        Sender(Phone(), clock).run(patient)
    first = next(row for row in rows(Contact) if row.step == "check_in-1")
    assert first.state in (ContactState.REMINDED, ContactState.OFFERED_CHAT, ContactState.MISSED)
    assert texts()[:2] == [NOTICE, NOTICE]


def test_one_link_for_a_burst_of_answers_and_a_new_one_later(clock: ManualClock) -> None:
    patient = shared()
    say(patient, "one")
    say(patient, "two")
    assert texts() == [NOTICE]
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("three")], NOON + timedelta(hours=1))
    assert texts() == [NOTICE, NOTICE]
    assert in_chat() == ["one", "two", "three"]


def test_a_persons_reply_to_a_shared_phone_leaves_although_the_bot_holds_still(clock: ManualClock) -> None:
    patient, twilio = shared(), Phone()
    say(patient, "of the bot")
    with transaction() as session:
        take_over(session, patient, "u1", NOON)
    say(patient, "of a person", key="person", author="user:u1")
    Sender(twilio, clock).run(patient)
    assert [sms.body.count("#open=") for sms in twilio.held] == [1]


def test_a_persons_words_do_not_count_on_a_link_that_may_be_taken_back(clock: ManualClock) -> None:
    patient, twilio = shared(), Phone()
    with transaction() as session:
        tick(session, NOON)
    say(patient, "of a person", key="person", author="user:u1")
    assert texts() == [NOTICE, NOTICE]
    clock.advance(timedelta(hours=22))
    Sender(twilio, clock).run(patient)
    assert [row.state for row in rows(Outbound) if row.key == NOTICE] == [OutboundState.CANCELLED, OutboundState.ACCEPTED]


def test_a_persons_words_do_not_count_on_a_link_that_the_bot_keeps_back(clock: ManualClock) -> None:
    patient, twilio = shared(), Phone()
    with transaction() as session:
        take_over(session, patient, "u1", NOON)
    say(patient, "late words of the bot")
    say(patient, "of a person", key="person", author="user:u1")
    Sender(twilio, clock).run(patient)
    assert len(twilio.held) == 1


def test_a_warning_is_never_too_long_for_the_phone() -> None:
    say(add_patient(), "call 911 " * 100, key="emergency_warning", safety=True)
    assert set(texts()) == {"emergency_warning"}
    assert len(texts()) > 1


def test_the_preview_of_a_shared_phone_shows_the_text_with_the_link() -> None:
    shared()
    with transaction() as session:
        campaign = campaign_named(session, "Knees")
        told = list(preview(session, campaign))
        told += preview_new(campaign, new_patient(7, shared_phone=True), NOON)[1:]
    sent = [each for each in told if not each.problem]
    assert sent
    assert {(each.segments, len(each.texts)) for each in sent} == {(1, 1)}
    assert all("#open=" in each.texts[0] for each in sent)
    assert rows(ChatLink) == []


def test_what_waits_when_a_phone_is_found_to_be_shared_is_hidden_too(clock: ManualClock) -> None:
    patient, twilio = add_patient(), Phone()
    with transaction() as session:
        tick(session, NOON)
    say(patient, "Call 911", key="emergency_warning", safety=True)
    phone_is_shared(patient)
    Sender(twilio, clock).run(patient)
    assert len(in_chat()) == 2
    assert ["#open=" in sms.body for sms in twilio.held] == [False, True]
    assert [row.state for row in rows(Contact) if row.day == 1] == [ContactState.STARTED]


def test_the_link_in_place_of_a_contacts_words_and_a_persons_is_not_taken_back_with_the_contact(clock: ManualClock) -> None:
    patient, twilio = add_patient(), Phone()
    say(patient, "of a person", key="person", author="user:u1")
    with transaction() as session:
        tick(session, NOON)
        take_over(session, patient, "u1", NOON)
    phone_is_shared(patient)
    clock.advance(timedelta(hours=22))
    Sender(twilio, clock).run(patient)
    assert [sms.body.count("#open=") for sms in twilio.held] == [1]


def test_what_did_not_arrive_before_the_phone_was_shared_is_not_sent_again_in_words(clock: ManualClock) -> None:
    patient, twilio = add_patient(), Phone()
    say(patient)
    Sender(twilio, clock).run(patient)
    phone_is_shared(patient)
    with transaction() as session:
        row = session.query(Outbound).one()
        take_receipt(session, Told(row.reference, str(row.external_id), "undelivered", 30003), NOON)
    assert rows(Outbound)[0].state is OutboundState.PENDING
    make_due()
    Sender(twilio, clock).run(patient)
    assert ["#open=" in sms.body for sms in twilio.held] == [False, True]
    assert in_chat() == ["your knee"]


def test_what_was_refused_as_the_phone_was_being_shared_is_not_sent_again_in_words(clock: ManualClock) -> None:
    patient = add_patient()

    def refuse(body: str) -> SmsRefused | None:
        if "#open=" in body:
            return None
        phone_is_shared(patient)
        return SmsRefused(30001)

    twilio = Phone(answer=refuse)
    say(patient)
    Sender(twilio, clock).run(patient)
    make_due()
    Sender(twilio, clock).run(patient)
    assert [sms.body.count("#open=") for sms in twilio.held] == [1]
    assert in_chat() == ["your knee"]


def by_command(_browser: TestClient, to: bool) -> int:
    return CliRunner().invoke(app, ["phone-use", "ref-1", "--shared" if to else "--alone"]).exit_code


def by_api(browser: TestClient, to: bool) -> int:
    return browser.post("/api/v1/patients/ref-1/phone-use", json={"shared": to}, auth=("nurse", "a long password")).status_code


def by_console(browser: TestClient, to: bool) -> int:
    page = browser.get("/console/patients?reference=ref-1").text
    assert f'name="shared" value="{str(to).lower()}"' in page
    csrf = re.findall(r'name="csrf" value="(\w+)"', page)[0]
    return browser.post("/console/patients/phone-use?reference=ref-1", data={"csrf": csrf, "reference": "ref-1", "shared": str(to).lower()}).status_code


@pytest.mark.parametrize(("act", "done"), [(by_command, 0), (by_api, 200), (by_console, 200)])
def test_a_person_keeps_who_reads_the_phone_and_it_is_on_record(act: Callable[[TestClient, bool], int], done: int, browser: TestClient) -> None:
    add_patient()
    with transaction() as session:
        add_user(session, "nurse", "a long password", Role.COORDINATOR, NOON)
    browser.post("/console/login", data={"username": "nurse", "password": "a long password"})
    for to in (True, False):
        assert act(browser, to) == done
        assert rows(Patient)[0].shared_phone is to
    assert [row.action for row in rows(AuditEntry) if row.action.startswith("phone")] == ["phone_shared", "phone_not_shared"]


@pytest.mark.parametrize(
    "words",
    [
        "this phone is shared with my husband",
        "My daughter reads my texts",
        "we share the same phone",
        "comparto este teléfono con mi hermana",
        "mi hija lee mis mensajes",
        "这个手机是和我先生共用的",
        "我女儿会看我的短信",
    ],
)
def test_who_says_that_others_read_the_phone_is_told_that_a_person_reads_it(words: str, clock: ManualClock) -> None:
    patient, dialogue = add_patient(), Echo()
    text_in(patient, words)
    runner(dialogue, clock).run(patient)
    assert [row.reason for row in rows(Escalation)] == ["shared_phone"]
    assert texts() == ["read_by_person"]
    assert dialogue.heard == []
    assert rows(Patient)[0].shared_phone is False, "a person keeps it"


def test_what_is_said_beside_a_shared_phone_is_still_answered(clock: ManualClock) -> None:
    patient, dialogue = add_patient(), Echo()
    words = "my daughter reads my texts. Is it normal that the knee is so warm in the evening?"
    text_in(patient, words)
    runner(dialogue, clock).run(patient)
    assert [row.reason for row in rows(Escalation)] == ["shared_phone"]
    assert dialogue.heard == [words]


@pytest.mark.parametrize(
    "words", ["my daughter read me your message, I am fine", "my phone is dead", "I share a room with my husband", "does my husband see my texts?"]
)
def test_other_words_of_phones_and_family_are_left_to_the_dialogue(words: str, clock: ManualClock) -> None:
    patient, dialogue = add_patient(), Echo()
    text_in(patient, words)
    runner(dialogue, clock).run(patient)
    assert rows(Escalation) == []
    assert dialogue.heard == [words]


def test_a_roster_says_whose_phone_is_shared() -> None:
    header = "reference,name,phone,date_of_birth,anchor,shared_phone"
    rows_of = read_roster(f"{header}\na,Ann A,5550100001,1950-01-01,2026-03-01,yes\nb,Bo B,5550100002,1950-01-01,2026-03-01,\n".encode(), "roster.csv")
    assert [patient.shared_phone for _, patient in rows_of.patients] == [True, False]
    assert rows_of.bad == []
