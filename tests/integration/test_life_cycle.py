"""Whatever happens in whatever order to patients and campaigns: nobody is written to at night, after an opt-out or a death, or twice about one thing."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from care.campaigns import operation
from care.campaigns.schedule import tick
from care.campaigns.service import CampaignInvalid, EnrollmentConflict, campaign_named, create_campaign, enroll
from care.clock import ManualClock
from care.knowledge.model import StopEvent
from care.messages.acceptance import accept
from care.messages.gateway import SmsUnanswered
from care.messages.inbox import Incoming
from care.messages.sending import Sender
from care.patients.consent import consent_status, record_consent
from care.patients.model import NewPatient
from care.settings import settings as care_settings
from care.storage import engine as storage
from care.storage.engine import transaction
from care.storage.tables import Campaign, CampaignState, Channel, Contact, ContactState, Enrollment, EnrollmentState, Outbound
from tests.conftest import NOON, _forget
from tests.integration.parties import Echo, Phone, runner

_ZONES = ["America/New_York", "America/Los_Angeles", "Pacific/Auckland"]
_PEOPLE = 3
_CLOSED = (ContactState.COMPLETED, ContactState.MISSED, ContactState.SKIPPED)


@dataclass(frozen=True)
class Sent:
    """A message that Twilio took, and how things stood then."""

    person: int
    key: str
    compliance: bool
    unasked: bool
    at: datetime
    consent: str
    dead: bool


class LifeCycle(RuleBasedStateMachine):
    """Three patients in three time zones, in one campaign and perhaps in a second."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        os.environ["AFTERCARE_DATABASE_URL"] = f"sqlite:///{Path(self._folder.name) / 'life.db'}"
        _forget()
        storage.migrate(care_settings())
        self.clock, self.number, self.dead = ManualClock(NOON), 0, set[int]()
        self.sent: list[Sent] = []
        self.phone = Phone()
        self.people: list[str] = []
        with transaction() as session:
            for name, hour in (("Knees", 18), ("Hips", 11)):
                create_campaign(session, name, "knee_replacement", NOON, send_hour=hour)
            for person in range(_PEOPLE):
                done = enroll(session, campaign_named(session, "Knees"), self._new(person), NOON)
                self.people.append(done.patient_id)
                if person:
                    record_consent(session, done.patient_id, granted=True, channel="sms", words="yes", source="test", at=NOON)

    def _new(self, person: int) -> NewPatient:
        return NewPatient(
            reference=f"r{person}",
            name=f"Pat{person} Example",
            phone=f"+1555010{person:04d}",
            date_of_birth=date(1950, 1, 1),
            anchor=date(2026, 3, 1),
            timezone=_ZONES[person],
        )

    @rule(hours=st.integers(1, 40), sends=st.booleans(), silent=st.booleans())
    def time_passes(self, hours: int, sends: bool, silent: bool) -> None:
        """Hour by hour the schedulers tick and, unless the senders are down, what is waiting is sent; Twilio may give no answer meanwhile."""
        for _ in range(hours):
            self.clock.advance(timedelta(hours=1))
            for _ in range(2):  # two schedulers
                with transaction() as session:
                    tick(session, self.clock.now())
            for person in range(_PEOPLE if sends else 0):
                self._send(person, silent=silent)

    def _send(self, person: int, *, silent: bool) -> None:
        patient = self.people[person]
        runner(Echo(), self.clock).run(patient)
        with transaction() as session:
            consent = consent_status(session, patient)
            waiting = {row.reference: row for row in session.scalars(select(Outbound).where(Outbound.patient_id == patient))}
        first = True

        def answer(_body: str) -> Exception | None:
            nonlocal first
            lost, first = silent and first, False
            return SmsUnanswered() if lost else None

        taken = len(self.phone.references)
        self.phone.answer = answer
        Sender(self.phone, self.clock).run(patient)
        for reference in self.phone.references[taken:]:
            row = waiting[reference]
            self.sent.append(Sent(person, f"{row.id}", row.compliance, row.contact_id is not None, self.clock.now(), consent, person in self.dead))

    @rule(person=st.integers(0, _PEOPLE - 1), silent=st.booleans())
    def a_sender_runs(self, person: int, silent: bool) -> None:
        self._send(person, silent=silent)

    @rule(
        person=st.integers(0, _PEOPLE - 1),
        words=st.sampled_from(["STOP", "START", "YES", "about a 3", "please stop texting me", "español", "crushing chest pain"]),
    )
    def a_patient_writes(self, person: int, words: str) -> None:
        self.number += 1
        with transaction() as session:
            accept(session, Incoming(Channel.SMS, f"SM{self.number}", words, self.clock.now(), patient_id=self.people[person]))

    @rule(campaign=st.sampled_from(["Knees", "Hips"]), what=st.sampled_from([operation.pause, operation.resume]))
    def a_lead_pauses_or_resumes(self, campaign: str, what: object) -> None:
        with transaction() as session:
            try:
                what(session, campaign_named(session, campaign), "lead", self.clock.now())  # type: ignore[operator]
            except CampaignInvalid:
                session.rollback()

    @rule(person=st.integers(0, _PEOPLE - 1))
    def a_patient_joins_the_second_campaign(self, person: int) -> None:
        with transaction() as session:
            try:
                enroll(session, campaign_named(session, "Hips"), self._new(person), self.clock.now())
            except EnrollmentConflict:
                session.rollback()

    @rule(person=st.integers(0, _PEOPLE - 1), days=st.integers(-5, 15))
    def a_discharge_moves(self, person: int, days: int) -> None:
        self._change(person, lambda session, enrollment, at: operation.reanchor(session, enrollment, enrollment.anchor + timedelta(days=days), "lead", at))

    @rule(person=st.integers(0, _PEOPLE - 1), days=st.integers(1, 9))
    def a_visit_is_planned(self, person: int, days: int) -> None:
        self._change(person, lambda session, enrollment, at: operation.add_appointment(session, enrollment, at + timedelta(days=days), "lead", at))

    @precondition(lambda self: len(self.dead) < _PEOPLE - 1)
    @rule(person=st.integers(0, _PEOPLE - 1))
    def a_patient_dies(self, person: int) -> None:
        self._change(person, lambda session, enrollment, at: operation.end_enrollment(session, enrollment, StopEvent.DEATH, "lead", at))
        self.dead.add(person)

    def _change(self, person: int, change: object) -> None:
        with transaction() as session:
            try:
                enrollment = operation.enrollment_of(session, campaign_named(session, "Knees"), f"r{person}")
                change(session, enrollment, self.clock.now())  # type: ignore[operator]
            except EnrollmentConflict:
                session.rollback()

    @invariant()
    def nothing_reaches_who_opted_out_but_the_confirmation(self) -> None:
        assert [each for each in self.sent if each.consent == "revoked" and not each.compliance] == []

    @invariant()
    def what_nobody_asked_for_reaches_nobody_at_night(self) -> None:
        for each in self.sent:
            local = each.at.astimezone(ZoneInfo(_ZONES[each.person])).time()
            assert not each.unasked or time(9) <= local <= time(20), local

    @invariant()
    def nothing_routine_reaches_the_dead(self) -> None:
        assert [each for each in self.sent if each.dead and each.unasked] == []

    @invariant()
    def nothing_is_handed_to_twilio_twice(self) -> None:
        keys = [each.key for each in self.sent]
        assert len(keys) == len(set(keys))

    @invariant()
    def nothing_is_planned_for_the_dead(self) -> None:
        with transaction() as session:
            for person in self.dead:
                states = set(session.scalars(select(Enrollment.state).where(Enrollment.patient_id == self.people[person])))
                assert EnrollmentState.ACTIVE not in states

    @invariant()
    def what_is_over_is_not_looked_at_again_and_what_is_paused_neither(self) -> None:
        with transaction() as session:
            rows = session.execute(
                select(Contact, Campaign.state).join(Enrollment, Enrollment.id == Contact.enrollment_id).join(Campaign, Campaign.id == Enrollment.campaign_id)
            ).all()
            for contact, campaign in rows:
                waits = contact.next_at is not None
                assert not (waits and contact.state in _CLOSED)
                assert not (waits and campaign is CampaignState.PAUSED)
                assert contact.state in _CLOSED or waits or contact.held_next_at is not None

    @invariant()
    def one_set_of_questions_is_open_for_a_patient(self) -> None:
        with transaction() as session:
            open_ones = list(
                session.scalars(select(Contact.patient_id).where(Contact.state.in_((ContactState.STARTED, ContactState.REMINDED, ContactState.OFFERED_CHAT))))
            )
        assert len(open_ones) == len(set(open_ones))

    def teardown(self) -> None:
        storage.engine().dispose()
        os.environ["AFTERCARE_DATABASE_URL"] = ""
        _forget()
        self._folder.cleanup()


def test_the_life_of_patients_and_campaigns() -> None:
    run_state_machine_as_test(LifeCycle, settings=settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)))
