"""The patient's and the coordinator's path in a real browser."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from sqlalchemy import delete

from aftercare.demo import waking_zone
from care.clock import service_clock
from care.messages.outbox import OutboundText, write
from care.sessions import chat_url
from care.storage.engine import transaction
from care.storage.tables import Channel, Escalation, Inbound, Role, WebSession
from care.users import add_user
from tests.conftest import NOON, Service, add_patient
from tests.integration.parties import rows, text_in
from web.app import create_app

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


def barriers(page: Page) -> list[str]:
    """Serious findings of axe."""
    return [found["id"] for found in Axe().run(page).response["violations"] if found["impact"] in ("serious", "critical")]


def test_from_a_chat_link_to_a_resolved_escalation(service: Service, browser: Browser) -> None:
    link = re.search(r"http://\S+/#open=\S+", service.greeting)
    assert link is not None
    patient = browser.new_context(viewport={"width": 360, "height": 640}).new_page()
    patient.goto(link.group(0))
    patient.get_by_label("Your date of birth").fill("1958-03-27")
    patient.get_by_role("button", name="Open the chat").click()
    box = patient.get_by_role("textbox", name="Your message")
    box.fill("the bleeding won't stop")
    box.press("Enter")
    expect(patient.get_by_role("log")).to_contain_text("Call 911 now", timeout=20_000)
    assert barriers(patient) == []

    console = browser.new_context().new_page()
    console.goto(f"{service.web}/console")
    console.get_by_label("Name").fill("coordinator")
    console.get_by_label("Password").fill("demo-coordinator")
    console.get_by_role("button", name="Sign in").click()
    row = console.get_by_role("row").filter(has_text="Heavy bleeding")
    expect(row).to_be_visible(timeout=15_000)
    assert barriers(console) == []
    row.get_by_role("link").click()
    expect(console.locator(".talk")).to_contain_text("the bleeding won't stop")
    assert barriers(console) == []
    console.get_by_role("button", name="Acknowledge").click()
    console.get_by_label("Reply as a person").fill("This is the nurse. Press on the wound; I am calling you now.")
    console.get_by_role("button", name="Send reply").click()
    expect(patient.get_by_role("log")).to_contain_text("This is the nurse", timeout=15_000)

    box.fill("thank you")
    box.press("Enter")
    expect(console.locator("#answering")).to_have_text("coordinator")
    console.get_by_role("button", name="Let the bot answer again").click()
    console.get_by_label("Outcome").select_option("sent_to_emergency")
    console.get_by_label("What was done").fill("Phoned; ambulance on the way.")
    console.get_by_role("button", name="Resolve").click()
    expect(console.get_by_role("row").filter(has_text="Heavy bleeding")).to_have_count(0)

    patient.reload()
    expect(patient.get_by_role("log")).to_contain_text("This is the nurse", timeout=15_000)


def test_from_a_discharge_to_a_resolved_escalation(service: Service, browser: Browser) -> None:
    phone, zone = "+15550500001", waking_zone(datetime.now(UTC).hour)
    yesterday = datetime.now(ZoneInfo(zone)).date() - timedelta(days=1)
    assert service.run("campaign", "create", "Discharges", "--protocol", "knee_replacement", "--spread-minutes", "0", "--send-hour", "9").returncode == 0
    given = {"reference": "x1", "name": "Xan Example", "phone": phone, "date-of-birth": "1960-01-01", "anchor": str(yesterday), "timezone": zone}
    done = service.run("campaign", "enroll", "Discharges", *[part for name, value in given.items() for part in (f"--{name}", value)])
    assert done.returncode == 0, done.stderr
    service.wait_for(phone, "reply YES to agree")
    service.text(phone, "yes")
    service.wait_for(phone, "How bad is your pain")
    service.text(phone, "about a 3")
    service.wait_for(phone, "What is your temperature")
    service.text(phone, "my left calf is swollen and sore since last night")
    service.wait_for(phone, "care team")

    console = browser.new_context().new_page()
    console.goto(f"{service.web}/console")
    console.get_by_label("Name").fill("coordinator")
    console.get_by_label("Password").fill("demo-coordinator")
    console.get_by_role("button", name="Sign in").click()
    console.get_by_role("link", name="untaken").click()
    console.get_by_role("row").filter(has_text="Xan Example").get_by_role("link").first.click()
    expect(console.locator(".talk")).to_contain_text("my left calf is swollen")
    expect(console.locator("figcaption").first).to_contain_text("pain score")
    console.get_by_role("button", name="Acknowledge").click()
    console.get_by_label("Reply as a person").fill("This is the nurse. Please come to the clinic at 3 pm today.")
    console.get_by_role("button", name="Send reply").click()
    service.wait_for(phone, "come to the clinic at 3 pm")
    console.get_by_role("button", name="Let the bot answer again").click()
    console.get_by_label("Outcome").select_option("appointment_made")
    console.get_by_label("What was done").fill("Seen at 3 pm.")
    console.get_by_role("button", name="Resolve").click()
    expect(console.get_by_role("row").filter(has_text="Xan Example")).to_have_count(0)
    assert service.sql("SELECT outcome FROM escalations WHERE patient_id = (SELECT id FROM patients WHERE reference = 'x1')") == [("appointment_made",)]


def test_a_lead_enrolls_patients_from_a_file(service: Service, browser: Browser) -> None:
    today = datetime.now(UTC).date()
    roster = f"reference,name,phone,date_of_birth,anchor\nfile-1,Lou Example,+15550177001,1960-01-01,{today}\nfile-2,Lou Example,12,1960-01-01,{today}\n"
    console = browser.new_context().new_page()
    console.goto(f"{service.web}/console")
    console.get_by_label("Name").fill("lead")
    console.get_by_label("Password").fill("demo-lead")
    console.get_by_role("button", name="Sign in").click()
    console.get_by_role("link", name="Campaigns").click()
    assert barriers(console) == []
    console.get_by_role("link", name="Knee replacement (demo)").click()
    console.get_by_label("CSV file").set_input_files({"name": "cohort.csv", "mimeType": "text/csv", "buffer": roster.encode()})
    assert barriers(console) == []
    console.get_by_role("button", name="Check it").click()
    expect(console.get_by_role("main")).to_contain_text("line 3: phone")
    assert barriers(console) == []
    console.get_by_role("button", name="Enrol 1 patient and leave the bad rows out").click()
    expect(console.get_by_role("status")).to_contain_text("1 patient enrolled")
    expect(console.get_by_role("cell", name="file-1").first).to_be_visible()


def test_a_chat_link_works_once_and_only_with_the_date_of_birth(service: Service, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{service.web}/#open=" + "x" * 43)
    page.get_by_label("Your date of birth").fill("1958-03-27")
    page.get_by_role("button", name="Open the chat").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")


def test_the_console_is_closed_without_a_session(service: Service, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{service.web}/console/escalations/1")
    expect(page).to_have_url(f"{service.web}/console/login?next=%2Fconsole%2Fescalations%2F1")


def open_chat(service: Service, browser: Browser, phone: str, born: str, **look: object) -> Page:
    """The chat of a patient who texted CHAT, on a narrow phone."""
    end = time.monotonic() + 30
    already = len(service.received(phone))
    service.text(phone, "START")
    while len(service.received(phone)) == already:
        assert time.monotonic() < end, "START was not answered"
        time.sleep(0.2)
    before = set(service.received(phone))
    service.text(phone, "CHAT")
    while not (links := [body for body in service.received(phone) if "#open=" in body and body not in before]):
        assert time.monotonic() < end, "no link came"
        time.sleep(0.2)
    page = browser.new_context(viewport={"width": 320, "height": 568}, **look).new_page()  # type: ignore[arg-type]
    page.goto("http" + links[0].rpartition("http")[2].strip())
    page.get_by_label("Your date of birth").fill(born)
    page.get_by_role("button", name="Open the chat").click()
    expect(page.get_by_role("textbox", name="Your message")).to_be_visible()
    return page


def test_a_message_written_without_a_connection_arrives_once(service: Service, browser: Browser) -> None:
    page = open_chat(service, browser, "+15550100003", "1966-07-14")
    page.context.set_offline(True)
    box = page.get_by_role("textbox", name="Your message")
    box.fill("thank you very much")
    box.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Trying again")
    page.context.set_offline(False)
    expect(page.get_by_role("log")).to_contain_text("You are welcome", timeout=20_000)
    page.reload()
    expect(page.get_by_role("log").get_by_text("thank you very much")).to_have_count(1)


def test_the_chat_is_used_by_keyboard_in_the_dark_on_a_narrow_phone(service: Service, browser: Browser) -> None:
    page = open_chat(service, browser, "+15550100003", "1966-07-14", color_scheme="dark", reduced_motion="reduce")
    page.keyboard.press("Tab")
    page.get_by_role("textbox", name="Your message").focus()
    page.keyboard.type("thanks")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("log")).to_contain_text("You are welcome", timeout=20_000)
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_widget_opens_on_another_page_with_one_script_tag(service: Service, browser: Browser) -> None:
    page = open_chat(service, browser, "+15550100003", "1966-07-14")
    host = f'<!doctype html><html lang="en"><title>Clinic</title><main><h1>Our clinic</h1></main><script src="{service.web}/widget.js"></script></html>'

    class Clinic(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(host.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 18090), Clinic)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page.goto("http://127.0.0.1:18090/")
        page.get_by_role("button", name="Chat with your care team").click()
        box = page.get_by_role("textbox", name="Your message")
        box.fill("thanks a lot")
        box.press("Enter")
        expect(page.get_by_role("log").get_by_text("thanks a lot")).to_have_count(1)
        expect(page.get_by_role("log")).to_contain_text("You are welcome", timeout=20_000)
    finally:
        server.shutdown()


def test_a_patient_reads_the_page_and_the_tapped_answer_in_the_own_language(database: str, browser: Browser) -> None:
    patient, now = add_patient(language="es"), service_clock().now()
    question = OutboundText("¿Tiene fiebre?", quick_replies=[{"label": "Sí", "text": "yes"}, {"label": "No", "text": "no"}])
    with transaction() as session:
        link = urlsplit(chat_url(session, patient, now))
        write(session, patient, Channel.WEB, [question], now)
    with web_alone() as address:
        page = browser.new_context(viewport={"width": 320, "height": 568}, locale="zh-CN").new_page()
        page.goto(f"{address}/#{link.fragment}")
        page.get_by_label("您的出生日期").fill("1950-01-01")
        page.get_by_role("button", name="打开聊天").click()
        expect(page).to_have_title("Chat con su equipo de atención")
        expect(page.get_by_role("button", name="Enviar")).to_be_visible()
        assert barriers(page) == []
        page.get_by_role("button", name="Sí").click()
        expect(page.get_by_role("log")).to_contain_text("Usted: Sí")
        expect(page.get_by_role("status")).to_be_empty(timeout=30_000)
        page.reload()
        expect(page.get_by_role("log")).to_contain_text("Usted: Sí")
        assert [row.body for row in rows(Inbound)] == ["yes"]
        page.context.close()


@pytest.fixture
def console(database: str, browser: Browser) -> Iterator[Page]:
    """The console without the engines, on a narrow phone: a coordinator who signed in, and the page of a patient's emergency."""
    with transaction() as session:
        add_user(session, "nurse", "a long password", Role.COORDINATOR, NOON)
    text_in(add_patient(), "crushing chest pain", at=service_clock().now())
    with web_alone() as address:
        page = browser.new_context(viewport={"width": 320, "height": 640}).new_page()
        page.goto(f"{address}/console/escalations/{rows(Escalation)[0].id}")
        sign_in(page)
        yield page
        page.context.close()


@contextmanager
def web_alone() -> Iterator[str]:
    """The web process's application, in a thread of the test; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # who comes before the server has started waits for it
        server = uvicorn.Server(uvicorn.Config(create_app(), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


def sign_in(page: Page) -> None:
    page.get_by_label("Name").fill("nurse")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Sign in").click()


def end_session() -> None:
    with transaction() as session:
        session.execute(delete(WebSession))


def write_as_patient(words: str, number: int) -> None:
    text_in(rows(Escalation)[0].patient_id, words, number, at=service_clock().now())


def test_the_case_page_is_used_on_a_narrow_phone(console: Page) -> None:
    button = console.get_by_role("button", name="Acknowledge")
    box = button.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 640
    assert console.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert barriers(console) == []


def test_what_the_patient_writes_appears_while_the_coordinator_types(console: Page) -> None:
    reply = console.get_by_label("Reply as a person")
    reply.fill("I am calling")
    write_as_patient("and my arm aches", 2)
    write_as_patient("please hurry", 3)
    expect(console.locator(".talk")).to_contain_text("please hurry", timeout=15_000)
    expect(console.get_by_role("status")).to_contain_text("new messages since you opened this page")
    expect(reply).to_have_value("I am calling")
    expect(reply).to_be_focused()
    expect(console.locator("#reply-left")).to_have_text("1588 characters left")


def test_a_page_that_is_no_longer_updated_says_so_until_it_is(console: Page) -> None:
    console.get_by_role("link", name="All escalations").click()
    expect(console).to_have_title("(1) Escalations · Aftercare")
    console.route("**/console/board*", lambda route: route.fulfill(status=500, body="no"))
    expect(console.get_by_role("alert")).to_contain_text(re.compile(r"Not updated since \d\d:\d\d"), timeout=15_000)
    console.unroute("**/console/board*")
    expect(console.get_by_role("alert")).to_be_empty(timeout=15_000)


def test_what_was_typed_outlives_the_session_and_goes_once_it_is_sent(console: Page) -> None:
    console.get_by_label("Reply as a person").fill("I am calling you now")
    end_session()
    console.wait_for_url("**/console/login?next=*", timeout=15_000)
    sign_in(console)
    expect(console.get_by_label("Reply as a person")).to_have_value("I am calling you now")
    console.evaluate("document.querySelector('form[action$=reply] [name=csrf]').value = 'old'")
    console.get_by_role("button", name="Send reply").click()
    expect(console.get_by_role("alert")).to_contain_text("out of date")
    console.go_back()
    expect(console.get_by_label("Reply as a person")).to_have_value("I am calling you now")
    console.reload()
    console.get_by_role("button", name="Send reply").click()
    expect(console.locator("#answering")).to_have_text("nurse")
    expect(console.get_by_label("Reply as a person")).to_have_value("")
    console.reload()
    expect(console.get_by_label("Reply as a person")).to_have_value("")


def test_what_was_typed_while_the_page_still_loads_outlives_the_session(console: Page) -> None:
    held: list[Route] = []
    console.route("**/console.js", lambda route: held.append(route), times=1)
    with console.expect_request("**/console.js"):
        console.reload(wait_until="commit")
    console.get_by_label("Reply as a person").fill("I am calling you now")
    end_session()
    held[0].continue_()
    console.wait_for_url("**/console/login?next=*", timeout=15_000)
    sign_in(console)
    expect(console.get_by_label("Reply as a person")).to_have_value("I am calling you now")


def test_a_draft_is_forgotten_at_sign_out(console: Page) -> None:
    address = console.url
    console.get_by_label("Reply as a person").fill("half of a")
    console.get_by_role("button", name="Sign out").click()
    sign_in(console)
    console.goto(address)
    expect(console.get_by_label("Reply as a person")).to_have_value("")


def test_a_reply_that_is_on_its_way_cannot_be_sent_again(console: Page) -> None:
    console.evaluate("document.addEventListener('submit', (event) => event.preventDefault())")  # the answer takes its time
    console.get_by_label("Reply as a person").fill("I am calling you now")
    button = console.get_by_role("button", name="Send reply")
    button.click()
    expect(button).to_be_disabled()
