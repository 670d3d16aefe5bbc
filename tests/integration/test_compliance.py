"""What the law and the carriers ask of a service that texts patients; `docs/compliance.md` names the source of each."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select, update

from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.escalations.service import take_over
from care.knowledge import knowledge
from care.messages.acceptance import accept
from care.messages.inbox import Incoming
from care.messages.sending import Sender
from care.messages.sms_text import fold, segments
from care.patients.consent import consent_status
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Channel, Consent, Escalation, Inbound, Outbound, OutboundState, Patient
from care.texts import scripted
from care.turns.dialogue import ConsentEffect
from care.turns.effects import carry_out
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, runner, text_in

ROOT = Path(__file__).parents[2]
LANGUAGES = ["en", "es", "zh"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", ["consent_request", "consent_needed"])
def test_the_first_message_says_all_that_it_must(key: str, language: str) -> None:
    """The reminder too: where the request expired, was overtaken or did not arrive, it is the first message."""
    text = scripted(key, language, first_name="Zelda")
    assert settings().clinic_name in text
    assert "Zelda" in text, "whoever says YES says that it is them"
    assert segments(fold(text)).segments <= 2
    assert settings().emergency_number in text
    assert {"STOP", "HELP"} <= set(re.findall(r"[A-Z]{4}", text))
    automated = {"en": ["automated", "not watched round the clock"], "es": ["automático", "no se vigilan todo el día"], "zh": ["自动服务", "并非全天有人查看"]}[
        language
    ]
    assert all(words in text for words in automated)


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_names_the_clinic_and_its_phone(language: str) -> None:
    text = scripted("help", language)
    assert settings().clinic_name in text
    assert settings().clinic_phone in text
    assert "STOP" in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", ["consent_request", "consent_needed", "chat_link", "stranger", "help", "stop_confirmed"])
def test_nothing_of_the_patients_health_is_said_before_consent(key: str, language: str) -> None:
    text = scripted(key, language, first_name="Zelda", link="https://x").lower()
    known = knowledge()
    telling = [
        each.name.lower() for part in (known.protocols, known.symptoms, known.complications, known.medicines, known.procedures) for each in part.values()
    ]
    assert not [name for name in telling if re.search(rf"\b{re.escape(name)}\b", text)]
    assert ("zelda" in text) == key.startswith("consent"), "a stranger hears the first name alone, to be able to say that it is not theirs"


@pytest.mark.usefixtures("database")
def test_consent_is_kept_with_words_channel_time_and_source(clock: ManualClock) -> None:
    patient = add_patient(consent=False)
    for number, words in enumerate(["STOP", "START", "please stop texting me"]):
        with transaction() as session:
            accept(session, Incoming(Channel.SMS, f"SM{number}", words, NOON + timedelta(minutes=number), patient_id=patient))
    with transaction() as session:
        kept = [(row.granted, row.channel, row.words, row.source, row.at) for row in session.scalars(select(Consent).order_by(Consent.id))]
    assert kept == [
        (False, "sms", "STOP", "keyword", NOON),
        (True, "sms", "START", "keyword", NOON + timedelta(minutes=1)),
        (False, "sms", "please stop texting me", "keyword", NOON + timedelta(minutes=2)),
    ]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("channel", list(Channel))
@pytest.mark.parametrize("words", ["STOP", "no quiero recibir más mensajes", "请不要再给我发短信", "wrong number"])
def test_a_wish_to_stop_is_obeyed_on_every_channel_and_while_a_person_answers(channel: Channel, words: str) -> None:
    patient = add_patient()
    with transaction() as session:
        take_over(session, patient, "u1", NOON)
    text_in(patient, words, channel=channel)
    with transaction() as session:
        assert consent_status(session, patient) == "revoked"
        assert [(row.channel, row.compliance) for row in session.scalars(select(Outbound))] == [(channel, True)]


@pytest.mark.usefixtures("database")
def test_an_opt_out_is_confirmed_once_however_often_it_is_said() -> None:
    patient = add_patient()
    for number, words in enumerate(["STOP", "stop texting me", "wrong number", "STOP", "START", "STOP"]):
        text_in(patient, words, number)
    assert [row.key for row in rows(Outbound)] == ["stop_confirmed"]
    patient = add_patient(2)
    for number, words in enumerate(["STOP", "STOP", "START", "STOP"], 10):
        text_in(patient, words, number)
    assert [row.key for row in rows(Outbound)][1:] == ["stop_confirmed", "start_confirmed", "stop_confirmed"]


@pytest.mark.usefixtures("database")
def test_what_is_written_beside_a_wish_to_stop_is_read_by_a_person() -> None:
    text_in(add_patient(), "I slept badly this week. Please stop texting me.")
    assert [row.reason for row in rows(Escalation)] == ["opt_out_wish"]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("words", ["wrong person, remove this number", "no soy esa persona", "打错了"])
def test_a_stranger_at_a_wrong_number_is_left_alone_and_cannot_agree_for_the_patient(words: str, clock: ManualClock) -> None:
    patient = add_patient()
    for number, said in enumerate([words, words, "who are you", "YES", "START"]):
        text_in(patient, said, number)
        runner(Echo(), clock).run(patient)
    assert [(row.key, row.channel) for row in rows(Outbound)] == [("wrong_number", Channel.SMS)]
    assert [row.reason for row in rows(Escalation)] == ["wrong_number", "number_in_doubt", "number_in_doubt"]
    with transaction() as session:
        assert consent_status(session, patient) == "revoked"


@pytest.mark.usefixtures("database")
def test_a_wrong_number_that_only_the_dialogue_understands_is_held_as_well() -> None:
    patient = add_patient()
    text_in(patient, "hm I believe we never met")
    with transaction() as session:
        effect = ConsentEffect(granted=False, words="hm I believe we never met", source="wrong_number")
        carry_out(session, session.scalars(select(Inbound)).one(), [effect], NOON)
    text_in(patient, "START", 2)
    with transaction() as session:
        assert consent_status(session, patient) == "revoked"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("words", ["My wife reads my texts", "My wife reads my texts. I feel very dizzy"])
def test_a_message_that_tells_of_a_shared_phone_is_settled_only_where_that_is_news_and_all(words: str, known: bool, clock: ManualClock) -> None:
    patient, dialogue, settled = add_patient(), Echo(), words.endswith("texts") and not known
    with transaction() as session:
        session.get_one(Patient, patient).shared_phone = known
    text_in(patient, words)
    runner(dialogue, clock).run(patient)
    assert dialogue.heard == ([] if settled else [words])
    assert [row.reason for row in rows(Escalation)] == ([] if known else ["shared_phone"])
    assert [row.key for row in rows(Outbound) if row.key == "read_by_person"] == ["read_by_person"] * settled


@pytest.mark.usefixtures("database")
def test_a_request_that_start_called_for_takes_no_contacts_place(clock: ManualClock) -> None:
    patient = add_patient(consent=False)
    text_in(patient, "START")
    Sender(Phone(), clock).run(patient)
    while clock.now() < NOON + timedelta(days=5):
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(timedelta(hours=4))
    assert [row.key for row in rows(Outbound)] == ["consent_request", "consent_request", "consent_needed"]
    assert [row.reason for row in rows(Escalation)] == ["no_answer"]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(("state", "asked_again"), [(OutboundState.SENT, False), (OutboundState.UNDELIVERED, True)])
def test_start_is_no_answer_to_a_request_that_did_not_arrive(state: OutboundState, asked_again: bool) -> None:
    patient = add_patient(consent=False)
    with transaction() as session:
        tick(session, NOON)
        session.flush()
        session.execute(update(Outbound).values(state=state))
    text_in(patient, "START")
    assert rows(Outbound)[-1].key == ("consent_request" if asked_again else "start_confirmed")
    with transaction() as session:
        assert consent_status(session, patient) == ("unknown" if asked_again else "granted")


@pytest.mark.usefixtures("database")
def test_a_number_marked_dead_that_writes_gets_its_warning(clock: ManualClock) -> None:
    patient = add_patient()
    with transaction() as session:
        session.get_one(Patient, patient).number_problem = 30005
    text_in(patient, "I can't breathe")
    phone = Phone()
    Sender(phone, clock).run(patient)
    assert len(phone.held) == 1
    assert rows(Patient)[0].number_problem is None


@pytest.mark.parametrize("part", ["texts", "questions", "clarifiers"])
def test_everything_scripted_is_said_in_all_three_languages(part: str) -> None:
    known = knowledge()
    said = known.texts if part == "texts" else {each.id: each.text for each in getattr(known, part).values()}
    assert {key for key, texts in said.items() if set(texts) != set(LANGUAGES)} == set()
    for key, texts in said.items():
        assert len({frozenset(re.findall(r"{\w+}", text)) for text in texts.values()}) == 1, key


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(("words", "language", "answer"), [("español", "es", "español"), ("中文", "zh", "中文"), ("English", "en", "English")])
def test_a_patient_chooses_the_language(words: str, language: str, answer: str) -> None:
    patient = add_patient(language="es" if language == "en" else "en")
    with transaction() as session:
        accept(session, Incoming(Channel.SMS, "SM1", words, NOON, patient_id=patient))
    with transaction() as session:
        assert session.get_one(Patient, patient).language == language
        assert answer in session.scalars(select(Outbound)).one().body or language == "en"
        assert [row.trigger for row in session.scalars(select(Inbound).order_by(Inbound.id))] == [None, "resume"]


@pytest.mark.usefixtures("database")
def test_an_opt_out_holds_for_every_campaign(clock: ManualClock) -> None:
    patient = add_patient(1)
    add_patient(1, campaign="Hips")
    with transaction() as session:
        accept(session, Incoming(Channel.SMS, "SM1", "STOP", NOON, patient_id=patient))
    for _ in range(20):
        clock.advance(timedelta(hours=12))
        with transaction() as session:
            assert tick(session, clock.now()).patients == []
    with transaction() as session:
        assert [row.key for row in session.scalars(select(Outbound))] == ["stop_confirmed"]


@pytest.mark.usefixtures("database")
def test_every_month_it_is_said_again_that_nobody_watches_round_the_clock(clock: ManualClock) -> None:
    add_patient(1)
    while clock.now() < NOON + timedelta(days=40):
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(timedelta(hours=6))
    with transaction() as session:
        said = list(session.execute(select(Outbound.key, Outbound.created_at).order_by(Outbound.id)))
    told = [at for key, at in said if key == "not_watched"]
    times = [NOON, *told, max(at for _, at in said)]
    assert told
    assert max(later - earlier for earlier, later in pairwise(times)) <= timedelta(days=30)


def test_every_rule_names_tests_that_exist() -> None:
    told = (ROOT / "docs/compliance.md").read_text()
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    rows = [line for line in told.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 15
    for row in rows:
        named = re.findall(r"`(test_\w+)?(?:::(test_\w+))?`", row.rsplit("|", 2)[1])
        assert named, row
        for module, test in named:
            assert not module or list((ROOT / "tests").rglob(f"{module}.py")), module
            assert not test or f"def {test}(" in written, test
