"""The page of a run in a browser: what it shows and does, and that another site can do nothing with it."""

import json
import re

import pytest
from panda_pages import HEADER, commands_of, port_of
from run_events import steered, written
from run_training import trained

from tensorgraph.train.watch.server import served


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with trained(tmp_path_factory.mktemp("web") / "<i>first") as run:
        yield run


@pytest.fixture(scope="module")
def page(run):
    with served(run) as (server, file):
        yield server, file


def opened(browser, file, width=1280, dark=False):
    """The page, as the file that holds the key leads to it."""
    browser.window(width, 900, dark)
    browser.open(file)
    browser.until("document.querySelectorAll('.chart').length >= 2")
    return browser


def press(browser, selector):
    browser.run(f"document.querySelector({json.dumps(selector)}).click()")


def answered(browser, words):
    browser.until(f"document.getElementById('answer').textContent.includes({json.dumps(words)})")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_shows_the_run(browser, page, run, width, dark):
    server, file = page
    opened(browser, file, width, dark)
    assert browser.run("location.href") == f"http://127.0.0.1:{port_of(server)}/"  # the key is out of the address
    assert browser.run("document.getElementById('name').textContent") == "<i>first"
    assert browser.run("document.documentElement.scrollWidth") <= width
    step = browser.run("Number(document.getElementById('bar').getAttribute('aria-valuenow'))")
    browser.until(f"Number(document.getElementById('bar').getAttribute('aria-valuenow')) > {step}")
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) is dark
    browser.settle()
    assert browser.complaints() == []
    origin = f"http://127.0.0.1:{port_of(server)}/"
    assert all(url.startswith(origin) or url == file.as_uri() for url in browser.requests())
    assert not [url for url in browser.requests() if server.key in url and url.startswith("http")]
    browser.run("document.querySelector('#charts .chart').scrollIntoView({block: 'center'})")
    box = browser.run(
        "(r => [r.x, r.y, r.width, r.height])(document.querySelector('#charts .chart').getBoundingClientRect())"
    )
    browser.mouse("mouseMoved", box[0] + box[2] / 2, box[1] + box[3] / 2)
    browser.until("!document.getElementById('tip').hidden")
    assert re.search(r"step [\d,]+", browser.run("document.getElementById('tip').textContent"))


def test_the_page_steers_the_run(browser, page, run):
    opened(browser, page[1])
    browser.run("document.querySelector('form[data-name=lr] input').focus()")
    browser.write_text("0.0125")
    browser.key("Enter")
    answered(browser, "set lr = 0.0125")
    assert run.hyperparameters["lr"] == 0.0125
    browser.until("document.querySelector('form[data-name=lr] .now').textContent === 'now 0.0125'")
    press(browser, "#pause")
    answered(browser, "Done: pause")
    browser.until(
        "document.getElementById('status').textContent === 'paused' && !document.getElementById('resume').disabled"
    )
    press(browser, "#resume")
    answered(browser, "Done: resume")
    browser.run("document.getElementById('checkpoint-name').value = 'from the page'")
    browser.until("document.getElementById('status').textContent === 'running'")
    press(browser, "#checkpoint")
    answered(browser, "checkpoint named from the page")
    press(browser, "#rollback")
    assert browser.run("document.getElementById('rollback').textContent") == "Really roll back?"
    press(browser, "#rollback")
    answered(browser, "Done: rollback")
    browser.run("document.querySelector('form[data-name=beta1] input').value = '7'")
    press(browser, "form[data-name=beta1] button[type=submit]")
    answered(browser, "Refused: ")
    browser.until("[...document.querySelectorAll('#marks td')].some(td => td.textContent.startsWith('went back'))")
    assert browser.complaints() == [] or all("409" in text for text in browser.complaints())


def test_names_of_the_user_are_words_on_the_page(browser, tmp_path):
    events = steered()
    bad = "<img src=x onerror='window.hacked=1'>"
    events[0]["model"] = events[0]["hyperparameters"][bad] = bad
    events[0]["hyperparameters"][bad] = 1.0
    for event in events:
        if "measures" in event:
            event["measures"][bad] = 0.5
        if event["event"] == "refused":
            event["reason"] = bad
    with served(written(tmp_path / "named", events)) as (server, file):
        opened(browser, file)
        assert browser.run("document.querySelectorAll('img').length") == 0 and not browser.run("'hacked' in window")
        assert bad in browser.run("document.body.textContent") and browser.complaints() == []


def test_the_page_asks_for_the_key_and_says_when_the_server_has_gone(browser, tmp_path):
    with served(written(tmp_path / "run", steered())) as (server, file):
        opened(browser, file)
        browser.reload()
        browser.until("document.querySelectorAll('.chart').length === 4", 30)  # the tab has kept it
        browser.run("sessionStorage.clear()")
        browser.reload()
        browser.until("document.getElementById('unlock')?.hidden === false")
        assert browser.run("document.querySelectorAll('.chart').length") == 0
        browser.run(f"document.getElementById('key').value = {json.dumps(server.key)}")
        press(browser, "#unlock button")
        browser.until("document.querySelectorAll('.chart').length === 4")
        assert browser.run("document.getElementById('pause').disabled")
    browser.until("document.getElementById('status').dataset.status === 'lost'")


def test_another_site_can_neither_read_nor_change(browser, page, run, tmp_path):
    """From a page of another origin, with the key even."""
    server, _ = page
    other = tmp_path / "evil.html"
    other.write_text("<!DOCTYPE html><title>x</title>")
    browser.window(800, 600)
    browser.open(other)
    before = commands_of(run)
    at = f"http://127.0.0.1:{port_of(server)}"
    tried = browser.run(f"""(async () => {{
      const results = [];
      const attempt = async (path, options) => {{
        try {{ results.push((await fetch({json.dumps(at)} + path, options)).type); }}
        catch (error) {{ results.push("failed"); }}
      }};
      const key = {{ "{HEADER}": {json.dumps(server.key)} }};
      const body = JSON.stringify({{ command: "stop" }});
      await attempt("/state?since=", {{ headers: key }});
      await attempt("/state?since=", {{ mode: "no-cors" }});
      await attempt("/command", {{ method: "POST", headers: key, body }});
      await attempt("/command", {{ method: "POST", mode: "no-cors", body }});
      return results;
    }})()""")
    assert tried == ["failed"] * 4
    assert commands_of(run) == before and run.status == "running"
