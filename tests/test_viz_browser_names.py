"""Whatever is drawn, in a browser: hostile names are words, every inside opens, and all without an engine."""

import json
import re
from pathlib import Path

import pytest
import viz_graphs as hand
from viz_pages import (
    Net,
    check_contrast,
    chosen,
    needs_engine,
    net,
)

import tensorgraph as tg
from tensorgraph.viz import draw

HOSTILE = [
    "</script><script>window.hacked = 1</script>", "<img src=x onerror='window.hacked=2'>",
    "\"' onload=\"window.hacked=3",
    "]]></style><svg onload=window.hacked=4>", "<!--<script>", "javascript:window.hacked=5", "{{drawing}}{{title}}",
    "\u202egnp.exe\u2066", "א־ב שם עברי", "a\x00b\x1b[31m\ud800\nc", "x" * 10_000, "&lt;b&gt;&amp;", "%3Cb%3E%", "#/@",
    "constructor", "__proto__", "' or 1=1; --", "`${window.hacked=6}`", "\\u003cscript\\u003e", "",
]  # fmt: skip


# ---- names are words


@needs_engine
@pytest.mark.parametrize("names", [HOSTILE[i::5] for i in range(5)], ids=range(5))
def test_hostile_names_are_shown_and_nothing_more(browser, tmp_path, names):
    path = tmp_path / "hostile.html"
    m = hand.Maker(names[0])
    h = m.input((4,), name=names[-1])
    for name in names:
        scope = name.replace(".", "_") or "_"
        h = m.op(name, h, m.cell(f"{scope}.{name}", (4,)), scope=scope, attr=name)
        h = m.op("tanh", h, scope=f"{scope}.{name}")
        h.name = name
    draw(m.graph(h), level="module", depth=1).save(path)
    browser.window(1200, 800)
    browser.open(path)
    for _ in range(2):
        mark = browser.run("(e => e && (b => [b.x + b.width / 2, b.y + b.height / 2])(e.getBoundingClientRect()))"
                           "(document.querySelector('#stage .opener'))")  # fmt: skip
        if mark:
            browser.click(*mark)
            browser.settle()
    browser.key("/")
    browser.write_text(re.sub(r"[^\x20-\x7e]", "", names[0])[:40])
    browser.settle()
    assert browser.run("window.hacked") is None
    kinds = browser.run("[...new Set([...document.querySelectorAll('*')].map(e => e.tagName.toLowerCase()))]")
    assert not set(kinds) & {
        "img",
        "iframe",
        "a",
        "object",
        "embed",
        "form",
        "image",
        "use",
        "foreignobject",
        "animate",
    }
    assert browser.run("document.querySelectorAll('script').length") == 2
    handlers = browser.run("""[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])
      .filter(a => /^on|href|^src$|^style$/i.test(a.name) && a.value !== 'data:,').map(a => a.name)""")
    assert handlers == []
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


# ---- every module, and without an engine


@needs_engine
@pytest.mark.parametrize("make", ["residual", "step", "chain", "training", "overlay"])
def test_every_inside_can_be_opened(browser, tmp_path, make):
    path = tmp_path / "net.html"
    drawing = {
        "residual": lambda: draw(hand.residual(6), level="module"),
        "step": lambda: draw(hand.step(), level="module"),
        "chain": lambda: draw(hand.chain(3000, modules=40), level="module"),
        "training": lambda: draw(Net(), tg.spec((8, 6), "float32"), level="training"),
        "overlay": lambda: draw(Net(), tg.spec((8, 6), "float32"), level="module", overlay="flops"),
    }[make]()
    drawing.save(path)
    data = json.loads(re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"), re.S)[1])
    browser.window(1000, 700)
    browser.open(path)
    waiting, seen = [(0, "")], set()
    while waiting:
        at, prefix = waiting.pop()
        view = data["views"][at]
        if prefix:
            browser.run(f"location.hash = '#/' + encodeURIComponent({json.dumps(prefix)})")
            browser.until("document.querySelector('#details .path') !== null")
        if at in seen:
            continue
        seen.add(at)
        browser.settle()
        count = browser.run("document.querySelectorAll('#stage .node[tabindex]').length")
        assert count == len(view["boxes"])
        assert browser.run("document.querySelector('#said').textContent").endswith(f"{count} boxes")
        waiting += [(box["opens"], prefix + box["path"]) for box in view["boxes"] if "opens" in box]
    assert len(seen) > 1 and browser.complaints() == []


def test_without_an_engine_boxes_are_listed_and_open(browser, tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORGRAPH_DOT", raising=False)
    monkeypatch.setattr("tensorgraph.viz.render.engine.shutil.which", lambda name, path=None: None)
    path = Path(tmp_path / "net.html")
    draw(net(), level="module", depth=1).save(path)
    browser.window(900, 700, dark=True)
    browser.open(path)
    assert browser.run("document.querySelectorAll('#stage .list button').length") == 5
    assert "pip install" in browser.run("document.querySelector('#details').textContent")
    check_contrast(browser, least=12)
    while not browser.run("document.activeElement.closest('.list') !== null"):
        browser.key("Tab")
    browser.key("ArrowDown")
    assert chosen(browser) == "encoder"
    browser.key("Enter")
    browser.until("document.querySelectorAll('#crumbs > :not(.step)').length === 2")
    browser.key("/")
    browser.write_text("softplus")
    browser.key("Enter")
    browser.until("document.querySelector('.chosen') !== null")
    assert chosen(browser) == "head/softplus" and browser.complaints() == []
