"""The console as a person's browser shows it: Debian's Chromium, at the width of a desk and of a phone, in light and in dark."""

import re
from collections import Counter

import pytest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

import browser
from grpc import RpcError
from samples import MODELS, WDBC, clean, withheld
from sidecar import ROOT, serving
from triton import request

pytestmark = pytest.mark.skipif(not browser.COMMAND, reason="no `chromium` on this machine (Debian: chromium)")

SCREENS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]

# WCAG 2.1: relative luminance and contrast of every text that is shown, against what stands behind it.
CONTRAST = """(() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => {
        const [R, G, B] = [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * R + 0.7152 * G + 0.0722 * B;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = numbers(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll('body *')].filter((element) =>
        [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
    const contrast = (element) => {
        const both = [numbers(getComputedStyle(element).color), behind(element)].map(luminance);
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
    return texts.map((element) => [contrast(element), element.outerHTML.slice(0, 80)]).filter(([ratio]) => ratio < 4.5);
})()"""

# What reaches beyond the card that it stands in, or beyond the screen.
TOO_WIDE = """[...document.querySelectorAll('body *')]
    .filter((element) => {
        const right = (of) => of.getBoundingClientRect().right;
        const card = element.parentElement.closest('.tile, section, body');
        return right(element) > Math.min(right(card), innerWidth) + 0.5;
    })
    .map((element) => element.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def busy(prepared):
    """A sidecar that has answered, refused, flagged and withheld."""
    with serving(prepared()) as running:
        with running.channel() as channel:
            ask = GRPCInferenceServiceStub(channel).ModelInfer
            asked = [request(model, row) for model in MODELS for row, _ in clean(model)]
            asked += [request(model, row) for model, row in withheld()]
            asked += [request(WDBC, clean(WDBC)[0][0] * float("nan"))]
            for one in asked:
                try:
                    ask(one, timeout=30)
                except RpcError:
                    continue
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser.browsing(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def shown(busy, page, request):
    """The console in the browser, on the screen that the test is for."""
    width, scheme = getattr(request, "param", (1280, "light"))
    page.events.clear()
    page.screen(width, scheme=scheme)
    page.open(f"http://{busy.admin}/console?refresh=off")
    return page


@pytest.mark.parametrize("shown", SCREENS, indirect=True)
def test_the_browser_has_nothing_to_complain_about(shown, request):
    width, scheme = request.node.callspec.params["shown"]
    # For a person to look at: no test sees whether a page is clear.
    shown.screenshot(ROOT / "target" / "interop" / f"console-{width}-{scheme}.png")
    assert shown.complaints() == []
    assert shown.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "1280px", "no style was taken"


@pytest.mark.parametrize("shown", [(width, "light") for width in (1280, 1000, 800, 600, 390, 320)], indirect=True)
def test_nothing_is_wider_than_the_screen(shown, request):
    width = request.node.callspec.params["shown"][0]
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    assert shown.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("shown", SCREENS, indirect=True)
def test_every_text_stands_out_from_what_is_behind_it(shown):
    assert shown.evaluate(CONTRAST) == []


def test_light_and_dark_differ(page, busy):
    colors = []
    for scheme in ("light", "dark"):
        page.screen(1280, scheme=scheme)
        page.open(f"http://{busy.admin}/console?refresh=off")
        colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colors[0] != colors[1]


def test_nothing_is_asked_of_anybody_else(shown, busy):
    asked = [url for url in shown.requests() if not url.startswith("data:")]
    assert set(asked) <= {f"http://{busy.admin}/console?refresh=off"}, asked


def test_no_script_could_run_and_no_style_could_be_put_in(shown):
    """DevTools goes around the policy, but what it puts into the page does not."""
    shown.evaluate(
        """(() => {
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            const image = document.createElement('img');
            image.src = 'http://127.0.0.1:9/x.png';
            document.body.append(image);
            const style = document.createElement('style');
            style.textContent = 'body { display: none }';
            document.head.append(style);
        })()"""
    )
    assert shown.evaluate("window.ran") is None
    assert shown.evaluate("getComputedStyle(document.body).display") == "block"
    refused = [text for text in shown.complaints() if "Content Security Policy" in text]
    assert len(refused) >= 3, shown.complaints()


def test_it_comes_again_by_itself_and_stops_when_it_is_paused(page, busy):
    page.screen(1280)
    page.open(f"http://{busy.admin}/console")
    # The next load is the page's own doing.
    page.wait_for("Page.loadEventFired")
    page.evaluate("[...document.querySelectorAll('a')].find((link) => link.textContent === 'Pause').click()")
    page.wait_for("Page.loadEventFired")
    assert page.evaluate("location.search") == "?refresh=off"
    assert page.evaluate("document.querySelectorAll('meta[http-equiv=refresh]').length") == 0


def test_what_it_says_is_what_the_audit_log_says(shown, busy):
    text = shown.evaluate("document.body.innerText")
    listed = shown.evaluate(
        """Object.fromEntries(['judged', 'refused'].map((id) => [id, [...document.querySelectorAll(`#${id} tbody tr`)]
            .map((row) => [row.querySelector('code').textContent, row.innerText])]))"""
    )
    assert listed["judged"] and listed["refused"]
    for request_id, told in listed["judged"] + listed["refused"]:
        entry = busy.entry(request_id)
        for key in ("action", "reason", "model", "role"):
            assert entry[key] in told, (key, entry)
        assert entry["principal"] not in text
    shown_as = Counter(action for _, told in listed["judged"] for action in re.findall(r"withheld|flagged", told))
    recorded = [busy.entry(request_id)["action"] for request_id, _ in listed["judged"]]
    assert shown_as["withheld"] == recorded.count("withheld") == len(withheld())
    assert "non_finite" in listed["refused"][0][1]


@pytest.mark.parametrize("shown", [(390, "light"), (1280, "light")], indirect=True)
def test_a_screen_reader_finds_tables_with_captions_and_charts_with_words(shown):
    nodes = shown.ask("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and "role" in node
    ]
    tables = [name for role, name in named if role == "table"]
    assert len(tables) >= 6 and all(tables), tables
    charts = [name for role, name in named if role in ("image", "img")]
    assert len(charts) >= 15 and all(charts), charts
    assert any(role == "columnheader" and name == "Reason" for role, name in named), "the table has lost its columns"
    assert shown.evaluate("document.documentElement.lang") == "en"
    assert shown.evaluate("document.title") == "Ready · Asepsis"
