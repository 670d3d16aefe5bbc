"""The patient's and the coordinator's path in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import Service

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


def test_a_chat_link_works_once_and_only_with_the_date_of_birth(service: Service, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{service.web}/#open=" + "x" * 43)
    page.get_by_label("Your date of birth").fill("1958-03-27")
    page.get_by_role("button", name="Open the chat").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")


def test_the_console_is_closed_without_a_session(service: Service, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{service.web}/console/escalations/1")
    expect(page).to_have_url(f"{service.web}/console/login")
