"""The page at / in a real Chromium: Debian's, driven by playwright; `make test-deep` installs both."""

import json
import re
import shutil

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
expect = sync_api.expect


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser, server):
    context = browser.new_context()
    opened = context.new_page()
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: line.type == "error" and wrong.append(line.text))
    foreign = []
    opened.on("request", lambda r: r.url.startswith((server.url, "data:")) or foreign.append(r.url))
    opened.goto(server.url + "/")
    enter_key(opened, server)
    yield opened
    context.close()
    assert foreign == [], "the page fetches from nowhere else"
    assert [w for w in wrong if "401" not in w and "400" not in w] == []


def enter_key(opened, server):
    """the server under test wants one; the models appear once it is there"""
    opened.get_by_role("button", name="Settings").click()
    opened.get_by_label("API key").fill(server.key or "")
    opened.get_by_label("Temperature").fill("0")
    opened.get_by_label("Most tokens").fill("24")
    opened.get_by_label("Most tokens").blur()
    expect(opened.locator("#model option")).not_to_have_count(0)
    opened.get_by_role("button", name="Settings").click()


def say(opened, text):
    opened.get_by_label("Message", exact=True).fill(text)
    opened.keyboard.press("Enter")


def test_an_answer_streams_and_says_how_fast(page):
    say(page, "Tell me a story.")
    answer = page.locator(".message.assistant")
    expect(answer.locator(".figures")).to_contain_text("tokens in", timeout=60000)
    assert re.search(r"\d+ tokens in.*, \d+ out.*first after \d+ ms", answer.inner_text())
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()


def test_escape_stops_an_answer(page):
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Most tokens").fill("1500")
    page.get_by_label("Most tokens").blur()
    say(page, "Tell me a very long story.")
    expect(page.locator(".message.assistant")).to_be_visible(timeout=60000)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    expect(page.get_by_role("button", name="Again")).to_be_enabled()


def test_conversations_outlive_a_reload(page):
    say(page, "One.")
    expect(page.locator(".figures")).to_have_count(1, timeout=60000)
    page.get_by_role("button", name="New conversation").first.click()
    say(page, "Two.")
    expect(page.locator(".figures")).to_have_count(1, timeout=60000)
    page.reload()
    rows = page.locator("#conversation-list button")
    expect(rows).to_have_text(["One.", "Two."])
    rows.first.click()
    expect(page.locator(".message.user")).to_contain_text("One.")


def test_text_never_becomes_markup(page):
    say(page, "<img src=x onerror=alert(1)> **bold** `code` [a](javascript:alert(1)) [b](https://example.org)")
    message = page.locator(".message.user")
    expect(message).to_contain_text("<img src=x")
    expect(message.locator("img")).to_have_count(0)
    expect(message.locator("strong")).to_have_text("bold")
    expect(message.locator("code")).to_have_text("code")
    expect(message.locator("a")).to_have_attribute("href", "https://example.org")


def test_markdown_of_blocks(page):
    text = "# Title\n\n- one\n- two\n  - inner\n\n```py\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> said"
    html = page.evaluate(
        """async (text) => {
          const { markdown } = await import('/page/markdown.js');
          const box = document.createElement('div');
          box.append(...markdown(text));
          return box.innerHTML;
        }""",
        text,
    )
    assert "<h2>Title</h2>" in html
    assert "<ul><li>one</li><li>two<ul><li>inner</li></ul></li></ul>" in html
    assert '<code data-language="py">x = 1</code>' in html
    assert "<td>1</td><td>2</td>" in html
    assert "<blockquote><p>said</p></blockquote>" in html


def test_a_schema_that_is_no_json_is_named(page):
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("JSON schema of the answer").fill("{nonsense")
    page.get_by_label("JSON schema of the answer").blur()
    say(page, "Hello")
    expect(page.locator("#status")).to_contain_text("The schema is no JSON")


def test_tokens_are_coloured_by_probability(page):
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Colour tokens by their probability").check()
    say(page, "Tell me a story.")
    expect(page.locator(".figures")).to_have_count(1, timeout=60000)
    spans = page.locator(".tokens span")
    assert spans.count() > 3
    assert "%" in spans.first.get_attribute("title")


def test_the_live_view_by_keyboard(page):
    page.get_by_role("tab", name="Chat").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Live")).to_be_focused()
    expect(page.locator(".figure")).to_have_count(10)
    expect(page.locator(".figure", has_text="KV blocks in use")).to_contain_text("of")
    expect(page.locator("#charts svg")).to_have_count(6)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_quantiles_of_histograms(page):
    got = page.evaluate(
        """async () => {
          const { parseMetrics, quantile } = await import('/page/live.js');
          const { samples, buckets } = parseMetrics(
            '# HELP x y\\nx_bucket{a="b",le="1"} 2\\nx_bucket{a="b",le="2"} 6\\nx_bucket{a="b",le="+Inf"} 6\\ng{a="b"} 3\\n');
          return [samples.g, quantile(buckets.x, null, 0.5), quantile(buckets.x, buckets.x, 0.5)];
        }"""
    )
    assert got == [3, 1.25, None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_in_both_schemes(browser, server, scheme):
    context = browser.new_context(viewport={"width": 360, "height": 640}, color_scheme=scheme)
    opened = context.new_page()
    opened.goto(server.url + "/")
    width = opened.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    back = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(json.loads("[" + back[4:-1] + "]")) > 384
    assert light == (scheme == "light")
    expect(opened.get_by_label("Message", exact=True)).to_be_in_viewport()
    context.close()
