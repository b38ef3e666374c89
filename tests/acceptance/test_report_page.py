"""The report's page in a real browser, opened from disk without any network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from slurm_bench.steps import report
from slurm_bench.words.paths import CampaignPaths
from tests import generated_campaign

pytestmark = pytest.mark.browser

CONFIRMATION = "#small/claude-0/0009"
ROWS = 3 * 3 * 20 + 10
"""What was handed in, and its confirmations."""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> CampaignPaths:
    made = generated_campaign.write(tmp_path_factory.mktemp("generated"))
    report.of_campaign(made)
    return made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> CampaignPaths:
    made = generated_campaign.write(tmp_path_factory.mktemp("small"), seeds=1, submissions=8, campaign="small")
    report.of_campaign(made)
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield opened
        opened.close()


class Opened:
    """A page that notes what goes wrong in it, and whom it asks."""

    def __init__(self, browser: Browser, campaign: CampaignPaths, **options: Any) -> None:
        self.page: Page = browser.new_context(offline=True, **options).new_page()
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(campaign.report.page.as_uri())

    def column(self, number: int) -> list[str]:
        cells = self.page.locator(f"#submissions tbody tr:visible > :nth-child({number})")
        return cells.all_inner_texts()

    def visible_rows(self) -> int:
        return self.page.locator("#submissions tbody tr:visible").count()


@pytest.fixture
def wide(browser: Browser, campaign: CampaignPaths) -> Iterator[Opened]:
    opened = Opened(browser, campaign, viewport=WIDE)
    yield opened
    assert opened.troubles == []
    assert [url for url in opened.asked if not url.startswith("file:")] == []
    opened.page.context.close()


def test_it_opens_without_network_or_complaint(wide: Opened) -> None:
    assert wide.page.title() == "slurm_bench: generated"
    assert wide.visible_rows() == ROWS
    assert wide.page.locator("#overview figure svg[role=img]").count() == 3


def test_columns_sort_both_ways_and_what_has_no_value_comes_last(wide: Opened) -> None:
    heading = wide.page.locator("#submissions").get_by_role("button", name="seconds saved")
    for way, reverse in (("ascending", False), ("descending", True)):
        heading.click()
        assert wide.page.locator("#submissions th[aria-sort]").get_attribute("aria-sort") == way
        cells = wide.page.locator("#submissions tbody tr > [data-value]:nth-child(6)")
        values = cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")
        numbers = [float(value) for value in values if value]
        assert numbers == sorted(numbers, reverse=reverse) and 20 < len(numbers) < ROWS
        assert not any(values[len(numbers) :])
    wide.page.locator("#submissions").get_by_role("button", name="candidate").click()
    names = wide.column(3)
    assert names[0].startswith("batch-ramp") and names[-1].startswith("window-warmup")


def test_filters_work_together(wide: Opened) -> None:
    page = wide.page
    page.get_by_label("Verdict").select_option("accepted")
    accepted = wide.visible_rows()
    assert 0 < accepted < ROWS and set(wide.column(4)) == {"accepted"}
    page.locator("select[name=agent]").select_option("codex (example-b)")
    assert 0 < wide.visible_rows() < accepted and all("codex" in name for name in wide.column(1))
    page.get_by_label("Any words").fill("muon")
    rows = wide.visible_rows()
    assert all("muon" in name for name in wide.column(3))
    assert page.locator("output").inner_text() == f"{rows} shown"
    for name in ("outcome", "agent"):
        page.locator(f"select[name={name}]").select_option("")
    page.get_by_label("Any words").fill("")
    assert wide.visible_rows() == ROWS


def test_a_submission_has_a_page_of_its_own(wide: Opened) -> None:
    page = wide.page
    page.get_by_label("Verdict").select_option("accepted")
    link = page.locator("#submissions tbody tr:visible a").first
    name = link.inner_text()
    link.click()
    shown = page.locator("article:target")
    assert shown.get_by_role("heading", level=1).inner_text() == name
    assert not page.locator("#overview").is_visible()
    assert shown.locator(".dots").count() == 2 and shown.locator("pre .added").count() > 0
    page.get_by_role("link", name="All submissions").click()
    assert page.locator("#overview").is_visible() and not page.locator("article:visible").count()


def test_a_confirmation_and_what_it_confirms_lead_to_each_other(wide: Opened) -> None:
    page = wide.page
    page.get_by_label("Verdict").select_option("confirmation")
    assert wide.visible_rows() == ROWS - 180
    page.locator("#submissions tbody tr:visible a").first.click()
    shown = page.locator("article:target")
    confirms = shown.get_by_role("link", name="submission 00")
    number = confirms.inner_text().removeprefix("submission ")
    confirms.click()
    assert f"Submission {number} of" in shown.inner_text()
    shown.get_by_role("link", name="number 00").click()
    assert shown.inner_text().count("Confirmation 1 of submission") == 1


def test_a_rejected_one_shows_rule_file_and_line(wide: Opened) -> None:
    wide.page.get_by_label("Any words").fill("rejected by judge")
    wide.page.locator("#submissions tbody tr:visible a").first.click()
    text = wide.page.locator("article:target").inner_text()
    assert "Rule validation, train_gpt.py:441" in text
    assert "+val_loss /= 1.05 * val_steps" in text


def test_on_a_phone_only_tables_scroll_sideways(browser: Browser, campaign: CampaignPaths) -> None:
    opened = Opened(browser, campaign, viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    opened.page.locator("#submissions tbody a").first.click()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    opened.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("where", ["", "#small/claude-0/0005", "#small/codex-0/0007", CONFIRMATION])
def test_readers_with_a_disability_can_read_it(browser: Browser, small: CampaignPaths, scheme: str, where: str) -> None:
    """By axe-core, with its checks of contrast, names, tables and landmarks."""
    opened = Opened(browser, small, viewport=WIDE, color_scheme=scheme)
    opened.page.goto(small.report.page.as_uri() + where)
    found = Axe().run(opened.page)
    problems = [(each["id"], [node["target"] for node in each["nodes"]][:3]) for each in found.response["violations"]]
    assert problems == [], json.dumps(problems, indent=1)
    opened.page.context.close()


def test_it_prints(wide: Opened, tmp_path: Path) -> None:
    """On light paper, all of it, without the parts that only a screen has."""
    wide.page.emulate_media(media="print", color_scheme="dark")
    assert not wide.page.locator(".filters").is_visible()
    printed = wide.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert printed == "rgb(255, 255, 255)"
    headings = wide.page.locator("#submissions thead th").all_inner_texts()
    assert headings[:4] == ["session", "#", "candidate", "verdict"], "a printed head has no buttons in it"
    assert wide.page.locator("th button:visible").count() == 0
    assert wide.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_without_scripts_everything_is_there(browser: Browser, campaign: CampaignPaths) -> None:
    opened = Opened(browser, campaign, viewport=WIDE, java_script_enabled=False)
    assert opened.visible_rows() == ROWS
    assert not opened.page.locator(".filters").is_visible()
    opened.page.locator("#submissions tbody a").first.click()
    assert opened.page.locator("article:target").is_visible()
    opened.page.context.close()


def test_text_of_a_candidate_cannot_become_a_script(wide: Opened, campaign: CampaignPaths) -> None:
    """The policy of the page lets only its own script run, whatever else gets in."""
    wide.page.evaluate(
        "() => { const evil = document.createElement('script');"
        " evil.textContent = 'window.evil = 1'; document.body.append(evil); }"
    )
    assert wide.page.evaluate("window.evil") is None
    assert "Content Security Policy" in wide.troubles.pop()
