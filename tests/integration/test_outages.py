"""What goes out after an outage, over a year of clock changes, and at a carrier's pace."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, update

from aftercare.simulate.account import first_handed_over, not_handed_over
from care.campaigns.operation import relocate
from care.campaigns.schedule import tick
from care.campaigns.service import campaign_named, create_campaign, enroll
from care.clock import ManualClock
from care.knowledge import knowledge
from care.messages.gateway import SmsUnanswered
from care.messages.handing_over import SendPolicy
from care.messages.poller import ask_for_receipts
from care.messages.sending import Sender
from care.patients.consent import record_consent
from care.patients.model import NewPatient, Place
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Contact, ContactState, Outbound, OutboundState, Patient
from tests.conftest import NOON, add_patient
from tests.integration.parties import Phone, make_due, rows, text_in

pytestmark = pytest.mark.usefixtures("database")
EVENING = datetime(2026, 3, 3, 23, 5, tzinfo=UTC)  # 18:05 in New York
NO_DOUBT = SendPolicy(doubt=timedelta(0), retry=timedelta(0))


def _enroll(number: int, start: datetime, zone: str = "America/New_York", **given: str) -> str:
    """A patient who agreed, in the campaign Year."""
    new = NewPatient(
        reference=f"y{number}", name="Pat Example", phone=f"+1555010{number:04d}", date_of_birth=date(1950, 1, 1), anchor=start.date(), timezone=zone, **given
    )
    with transaction() as session:
        done = enroll(session, campaign_named(session, "Year"), new, start)
        record_consent(session, done.patient_id, granted=True, channel="sms", words="yes", source="test", at=start)
    return done.patient_id


def _make_campaign(at: datetime, hour: int = 18) -> None:
    with transaction() as session:
        create_campaign(session, "Year", "knee_replacement", at, send_hour=hour, spread_minutes=60)


def _tick(at: datetime) -> list[str]:
    found: list[str] = []
    with transaction() as session:
        while more := tick(session, at).patients:
            found += more
    return found


def test_after_eight_hours_without_schedulers_nobody_is_woken_and_nobody_gets_two(clock: ManualClock) -> None:
    """R-44: a hundred reminders due at 18:00; everything is back at 2:00 in the night."""
    _make_campaign(NOON)
    people = [_enroll(number, NOON) for number in range(100)]
    clock.moment = EVENING + timedelta(hours=8)
    phone = Phone()
    for _ in range(48):
        for patient in dict.fromkeys(_tick(clock.now())):
            Sender(phone, clock).run(patient)
        local = clock.now().astimezone(ZoneInfo("America/New_York"))
        assert time(9) <= local.time() < time(20) or phone.references == []
        if local.time() >= time(12):
            break
        clock.advance(timedelta(minutes=15))
    stale = [row for row in rows(Contact) if row.skipped_because == "stale"]
    assert {row.patient_id for row in stale} == set(people)
    sent = [row.patient_id for row in rows(Outbound) if row.state is OutboundState.ACCEPTED]
    assert len(sent) == len(set(sent)) <= 100


def test_what_twilio_did_not_take_in_the_evening_is_not_sent_in_the_night(clock: ManualClock) -> None:
    """R-44, the other way: the schedulers run, Twilio is away from 18:00 to 2:00. In the morning each gets one message at most."""
    _make_campaign(NOON)
    for number in range(100):
        _enroll(number, NOON)
    clock.moment = EVENING + timedelta(minutes=50)
    away = Phone(answer=lambda _body: SmsUnanswered(), keep_when_silent=False)
    waiting = list(dict.fromkeys(_tick(clock.now())))
    assert waiting
    for patient in waiting:
        Sender(away, clock).run(patient)
    clock.moment = EVENING + timedelta(hours=8)
    make_due()
    phone = Phone()
    for patient in waiting:
        Sender(phone, clock, NO_DOUBT).run(patient)
    assert phone.held == []
    assert {row.state for row in rows(Outbound)} == {OutboundState.CANCELLED}
    while clock.now().astimezone(ZoneInfo("America/New_York")).time() < time(12):
        for patient in dict.fromkeys(_tick(clock.now())):
            Sender(phone, clock, NO_DOUBT).run(patient)
        assert phone.held == [] or clock.now().astimezone(ZoneInfo("America/New_York")).time() >= time(9)
        clock.advance(timedelta(minutes=15))
    sent = [row.patient_id for row in rows(Outbound) if row.state is OutboundState.ACCEPTED]
    assert len(sent) == len(set(sent)) <= 100


def test_a_simulation_counts_a_contact_as_begun_once_twilio_has_its_words(clock: ManualClock) -> None:
    told, untold = add_patient(1), add_patient(2)
    _tick(NOON)
    Sender(Phone(), clock).run(told)
    clock.advance(timedelta(hours=9))
    late = Phone()
    Sender(late, clock).run(untold)
    with transaction() as session:
        handed_over = first_handed_over(session)
        lost = not_handed_over(session, session.scalars(select(Contact)).all(), handed_over)
    assert lost == {"cancelled": 1}
    assert late.held == []
    assert {row.id: NOON for row in rows(Contact) if row.patient_id == told and row.started_at} == handed_over


ZONES = [
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage", "Pacific/Honolulu",
    "America/St_Johns", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("begins", [datetime(2027, 2, 20, 12, tzinfo=UTC), datetime(2026, 10, 1, 12, tzinfo=UTC)])
def test_thirteen_months_in_twelve_zones_miss_no_contact_and_double_none(monkeypatch: pytest.MonkeyPatch, begins: datetime) -> None:
    """R-35: both clock changes, 29 February 2028, a clock that jumps two hours on and back, a patient who moves to another zone."""
    known = knowledge().protocols["knee_replacement"]
    education = next(step for step in known.schedule if step.advice)
    weekly = [education.model_copy(update={"day": day}) for day in range(1, 396, 3)]
    monkeypatch.setitem(knowledge().protocols, "knee_replacement", known.model_copy(update={"schedule": weekly}))
    _make_campaign(begins, hour=9)
    people = {_enroll(number, begins, zone): zone for number, zone in enumerate(ZONES)}
    mover, planned = next(iter(people)), len(rows(Contact))
    assert planned == len(ZONES) * len(weekly)
    at, ends, steps = begins, begins + timedelta(days=400), 0
    while at < ends:
        steps += 1
        for moment in (at, at + timedelta(hours=2), at) if steps % 40 == 0 else (at,):
            _tick(moment)
            with transaction() as session:
                told = session.execute(select(Outbound.patient_id, Outbound.created_at).where(Outbound.created_at == moment)).all()
            for patient, created in told:
                assert time(9) <= created.astimezone(ZoneInfo(people[patient])).time() < time(20)
        with transaction() as session:
            nearest = session.scalar(select(func.min(Contact.next_at)))
            if steps == 500:
                people[mover] = "Asia/Tokyo"
                relocate(session, session.get_one(Patient, mover), Place(timezone="Asia/Tokyo"), "tester", at)
        at = max(at + timedelta(minutes=1), nearest) if nearest else ends
    done = rows(Contact)
    assert {row.state for row in done if row.patient_id != mover} == {ContactState.COMPLETED}
    assert {row.skipped_because for row in done} <= {None, "stale", "moved"}  # of the patient who moved: its day was over
    said = [row.patient_id for row in rows(Outbound) if row.key != "not_watched"]  # the notice that stands before a contact every three weeks
    for patient in people:
        assert said.count(patient) == sum(row.state is ContactState.COMPLETED and row.patient_id == patient for row in done)
    assert said.count(mover) >= len(weekly) - 1


def test_a_carriers_pace_holds_its_own_phones_back_and_no_others(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_SMS_CARRIER_PER_SECOND", '{"slow": 0.4}')
    settings.cache_clear()
    _make_campaign(NOON)
    slow = {_enroll(number, NOON, carrier="slow") for number in range(10)}
    other = {_enroll(number, NOON) for number in range(10, 20)}
    with transaction() as session:
        session.execute(update(Contact).where(Contact.day == 1).values(due_at=NOON, next_at=NOON, not_after=NOON + timedelta(hours=5)))
    with transaction() as session:
        first = tick(session, NOON).patients
    assert other <= set(first)
    assert len(slow & set(first)) == 2  # five seconds' worth was saved up
    later = sorted(row.next_at for row in rows(Contact) if row.day == 1 and row.patient_id in slow and row.state is ContactState.PLANNED)
    assert later == [NOON + timedelta(seconds=number / 0.4) for number in range(1, 9)]


def test_what_is_skipped_takes_nothing_of_a_carriers_pace(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_SMS_CARRIER_PER_SECOND", '{"slow": 0.4}')
    settings.cache_clear()
    _make_campaign(NOON)
    slow = [_enroll(number, NOON, carrier="slow") for number in range(10)]
    fresh = set(slow[8:])
    with transaction() as session:
        first_day = update(Contact).where(Contact.day == 1)
        session.execute(first_day.values(due_at=NOON, next_at=NOON - timedelta(minutes=1), not_after=NOON - timedelta(minutes=1)))
        session.execute(first_day.where(Contact.patient_id.in_(fresh)).values(next_at=NOON, not_after=NOON + timedelta(hours=5)))
    with transaction() as session:
        assert set(tick(session, NOON).patients) == fresh
    assert {row.patient_id for row in rows(Contact) if row.day == 1 and row.skipped_because == "stale"} == set(slow) - fresh


def test_a_receipt_that_never_came_is_looked_up_once_in_a_while(clock: ManualClock) -> None:
    text_in(patient := add_patient(), "HELP")
    phone, asked = Phone(), list[str]()
    Sender(phone, clock).run(patient)

    class Twilio:
        def status(self, sid: str) -> tuple[str, int | None]:
            asked.append(sid)
            return ("sent", None) if len(asked) == 1 else ("undelivered", 30005)

    assert ask_for_receipts(Twilio(), clock) == 0  # type: ignore[arg-type]
    assert asked == []
    clock.advance(timedelta(minutes=11))
    assert [ask_for_receipts(Twilio(), clock) for _ in range(2)] == [0, 0]  # type: ignore[arg-type]
    assert asked == [phone.held[0].external_id]
    with transaction() as session:
        session.execute(update(Outbound).values(next_at=None))
    assert ask_for_receipts(Twilio(), clock) == 1  # type: ignore[arg-type]
    assert (rows(Outbound)[0].state, rows(Patient)[0].number_problem) == (OutboundState.UNDELIVERED, 30005)
