"""The page in a browser: it asks for nothing, opens modules, searches, obeys the keyboard and both themes."""

import json
import re
from pathlib import Path

import pytest
import viz_graphs as hand

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.pages.palette import DARK, LIGHT, contrast
from tensorgraph.viz import draw
from tensorgraph.viz.render.engine import find_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")

HOSTILE = [
    "</script><script>window.hacked = 1</script>", "<img src=x onerror='window.hacked=2'>",
    "\"' onload=\"window.hacked=3",
    "]]></style><svg onload=window.hacked=4>", "<!--<script>", "javascript:window.hacked=5", "{{drawing}}{{title}}",
    "\u202egnp.exe\u2066", "א־ב שם עברי", "a\x00b\x1b[31m\ud800\nc", "x" * 10_000, "&lt;b&gt;&amp;", "%3Cb%3E%", "#/@",
    "constructor", "__proto__", "' or 1=1; --", "`${window.hacked=6}`", "\\u003cscript\\u003e", "",
]  # fmt: skip


def net(name="net", scope="encoder"):
    """Modules within modules, all different."""
    m = hand.Maker(name)
    x = m.input((32, 64))
    h = m.op("relu", m.linear(x, 128, f"{scope}.fc1"), scope=f"{scope}.act")
    h = m.op("tanh", m.linear(h, 48, f"{scope}.fc2"), scope=scope)
    h = m.op("softplus", m.linear(h, 10, "head"), scope="head")
    return m.graph(m.op("exp", h))


class Block(nn.Module):
    def __init__(self):
        self.norm, self.fc = nn.BatchNorm(6), nn.Linear(6, 6)

    def forward(self, x):
        return x + tg.relu(self.fc(self.norm(x)))


class Net(nn.Module):
    """Three equal blocks, drawn as a template."""

    def __init__(self):
        self.blocks = [Block() for _ in range(3)]
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page of `net`, its modules closed."""
    if find_engine() is None:
        pytest.skip("no layout engine is installed")
    path = tmp_path_factory.mktemp("page") / "net.html"
    draw(net(), level="module", depth=1).save(path)
    return path


@pytest.fixture
def page(browser, file):
    browser.window(1200, 800)
    browser.open(file)
    yield browser
    browser.settle()
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]


def crumbs(browser):
    return browser.run("[...document.querySelectorAll('#crumbs > :not(.step)')].map(e => e.textContent)")


def chosen(browser):
    """The path of the box that the details are of, where one is chosen."""
    return browser.run(
        "document.querySelector('.chosen') && document.querySelector('#details .path').textContent"
    )  # fmt: skip


def centre_of(browser, title, mark=False):
    """Where the box or frame with this title, or its mark, is on the screen."""
    found = browser.run(f"""(() => {{
      for (const box of document.querySelectorAll('#stage .node, #stage .cluster')) {{
        const words = [...box.querySelectorAll('text')];
        if (!words.length || words[0].textContent !== {json.dumps(title)}) continue;
        const at = ({json.dumps(mark)} ? box.querySelector('.opener') : words[0]).getBoundingClientRect();
        return [at.x + at.width / 2, at.y + at.height / 2];
      }}
    }})()""")
    assert found, f"no box {title!r}"
    return found


def viewed(browser):
    """What of the drawing is seen: left, top, width, height."""
    return [float(n) for n in browser.run("document.querySelector('#stage > svg').getAttribute('viewBox')").split()]


# ---- loading


def test_the_page_loads_with_no_request(page):
    assert page.run("document.querySelectorAll('#stage .node').length") == 5
    assert crumbs(page) == ["net"]
    assert page.run("performance.getEntriesByType('resource').length") == 0


def test_the_policy_lets_nothing_else_in(browser, file):
    browser.open(file)
    broken = browser.run("""new Promise(done => {
      const broken = [];
      document.addEventListener('securitypolicyviolation', event => {
        broken.push(event.effectiveDirective);
        if (broken.length === 5) done(broken.sort());
      });
      const add = (name, fields) => document.body.append(Object.assign(document.createElement(name), fields));
      add('img', {src: 'https://example.invalid/x.png'});
      add('script', {textContent: 'window.hacked = 1'});
      add('style', {textContent: 'body { color: red }'});
      add('iframe', {src: 'https://example.invalid/'});
      fetch('https://example.invalid/').catch(() => 0);
    })""")
    assert broken == ["connect-src", "frame-src", "img-src", "script-src-elem", "style-src-elem"]
    assert browser.run("window.hacked") is None
    failed = [event["params"] for event in browser.events if event.get("method") == "Network.loadingFailed"]
    assert failed and all(f.get("blockedReason") == "csp" or "BLOCKED_BY_CSP" in f["errorText"] for f in failed)
    answered = [event["params"] for event in browser.events if event.get("method") == "Network.responseReceived"]
    urls = {answer["response"]["url"] for answer in answered}  # a blocked frame shows the browser's own page
    assert {url for url in urls if not url.startswith("data:")} <= {file.as_uri()}


def test_without_script_the_drawing_is_there(browser, file):
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.window(1200, 800)
        browser.open(file)
        document = browser.send("DOM.getDocument")["root"]["nodeId"]
        boxes = browser.send("DOM.querySelectorAll", nodeId=document, selector="#stage .node")["nodeIds"]
        assert len(boxes) == 5
        first = browser.send("DOM.getBoxModel", nodeId=boxes[0])["model"]
        assert first["width"] > 20 and first["height"] > 10
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


# ---- what is seen at first, and of what is chosen

IN_SIGHT = """(() => {
  const frame = document.querySelector('#stage').getBoundingClientRect();
  return [...document.querySelectorAll('#stage .node, #stage .cluster')].every(element => {
    const box = element.getBoundingClientRect();
    return box.left >= frame.left - 1 && box.right <= frame.right + 1
        && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
  });
})()"""
ORDER = """(() => {
  const all = [...document.querySelectorAll('#stage .node, #stage .edge, #stage .tab')];
  return all.map(element => element.classList[0]).filter((kind, i, kinds) => kind !== kinds[i - 1]);
})()"""


@pytest.mark.parametrize("width", [1200, 700])
def test_a_page_opens_with_all_of_the_drawing_in_sight(browser, tmp_path, width):
    m = hand.Maker("tall")
    h = m.input((4, 8))
    for i in range(25):
        h = m.linear(h, 8 + i, f"part_{chr(97 + i)}")
    draw(m.graph(h), level="module").save(tmp_path / "tall.html")
    browser.window(width, 800)
    browser.open(tmp_path / "tall.html")
    assert browser.run("document.querySelectorAll('#stage .node').length") == 27 and browser.run(IN_SIGHT)
    small = viewed(browser)[3]
    browser.run("location.hash = '#@part_y'")  # what is looked for is shown at a size to read
    browser.until("document.querySelector('.chosen') !== null")
    assert viewed(browser)[3] < small / 1.5 and chosen(browser) == "part_y"


def test_the_chosen_box_has_a_ring_around_it(page):
    for name in ("encoder", "exp"):
        page.click(*centre_of(page, name))
        assert chosen(page) == name
        ring, box, width = page.run("""(() => {
          const ring = document.querySelector('#stage .ring'), box = ring.closest('.chosen').querySelector('rect');
          const sides = element => (({x, y, right, bottom}) => [x, y, right, bottom])(element.getBoundingClientRect());
          return [sides(ring), sides(box), getComputedStyle(ring).strokeWidth];
        })()""")
        assert ring[0] < box[0] and ring[1] < box[1] and ring[2] > box[2] and ring[3] > box[3] and width == "3px"
        assert page.run("document.querySelectorAll('#stage .ring').length") == 1
    page.key("Escape")
    assert page.run("document.querySelectorAll('#stage .ring').length") == 0


def test_lines_lie_over_boxes_and_titles_of_frames_over_lines(browser, tmp_path):
    draw(Net(), tg.spec((5, 6)), level="module").save(tmp_path / "net.html")
    browser.window(1200, 800)
    browser.open(tmp_path / "net.html")
    assert browser.run(ORDER) == ["node", "edge", "tab"]
    assert browser.run("document.querySelector('#stage .tab text').textContent") == "blocks.0 ... blocks.2 x3"
    assert browser.run(IN_SIGHT)
    x, y = browser.run("""(() => {
      const box = document.querySelector('#stage .tab text').getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    })()""")
    browser.click(x, y)  # as the frame itself
    assert chosen(browser) == "blocks.0..blocks.2"


# ---- opening


def test_a_click_chooses_and_a_second_opens(page):
    at = centre_of(page, "encoder")
    page.click(*at)
    assert chosen(page) == "encoder" and crumbs(page) == ["net"]
    assert "6 ops" in page.run("document.querySelector('#details .tip').textContent")
    page.click(*at)
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 2")
    assert crumbs(page) == ["net", "encoder"] and page.run("document.title").startswith("encoder")
    titles = page.run("[...document.querySelectorAll('#stage .node')].map(e => e.querySelector('text').textContent)")
    assert titles == ["x", "matmul", "add", "relu", "matmul", "add", "tanh", "out"]


def test_the_mark_opens_at_once_and_the_browser_leads_back_and_forth(page):
    page.click(*centre_of(page, "encoder", mark=True))
    page.until("document.querySelectorAll('#stage .cluster').length === 2")
    page.click(*centre_of(page, "fc2", mark=True))
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 3")
    assert crumbs(page) == ["net", "encoder", "fc2"]
    assert page.run("decodeURIComponent(location.hash)") == "#/encoder.fc2"
    page.run("history.back()")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 2")
    assert chosen(page) == "encoder.fc2"  # where we came from
    page.run("history.back()")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 1")
    assert chosen(page) == "encoder"
    page.run("history.forward()")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 2")
    page.run("document.querySelector('#crumbs button').click()")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 1")


def test_an_address_leads_to_a_module_or_a_box(page, file):
    page.open(file, "#/encoder.fc1")
    assert crumbs(page) == ["net", "encoder", "fc1"]
    page.open(file, "#@encoder.fc1%2Fmatmul")
    assert crumbs(page) == ["net", "encoder"] and chosen(page) == "encoder.fc1/matmul"
    page.open(file, "#/no%20such<b>%")
    assert crumbs(page) == ["net"]
    assert page.run("document.querySelectorAll('#said b').length") == 0
    page.open(file)


def test_details_lead_to_the_neighbours(page):
    page.click(*centre_of(page, "encoder", mark=True))
    page.until("document.querySelectorAll('#stage .cluster').length === 2")
    page.click(*centre_of(page, "relu"))
    assert chosen(page) == "encoder.act/relu"
    rows = page.run("document.querySelector('#details').innerText")
    assert "32x128 f32" in rows and "net.py:12" in rows and "Comes from" in rows
    page.run("[...document.querySelectorAll('#details .links button')].at(-1).click()")
    assert chosen(page) == "encoder.fc2/matmul"
    page.click(*centre_of(page, "x"))
    # what enters a module comes from outside it
    page.run("document.querySelector('#details .links button').click()")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 1")
    assert chosen(page) == "inputs/x"


# ---- search


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("softplus", "head/softplus"),
        ("ENCODER matmul 48", "encoder.fc2/matmul"),
        ("32x10 add", "head/add"),
        ("fc1.weight", "encoder"),
        ("net.py:12 exp", "exp"),
    ],
)
def test_search_finds_and_jumps(page, words, expected):
    page.key("/")
    page.write_text(words)
    page.until("!document.querySelector('#results').hidden")
    paths = page.run("[...document.querySelectorAll('#results .path')].map(e => e.textContent)")
    assert expected in paths
    for _ in range(paths.index(expected)):
        page.key("ArrowDown")
    marked = page.run("document.getElementById(document.querySelector('#search')"
                      ".getAttribute('aria-activedescendant')).querySelector('.path').textContent")  # fmt: skip
    assert marked == expected
    page.key("Enter")
    page.until("document.querySelector('.chosen') !== null")
    assert chosen(page) == expected
    assert page.run("document.querySelector('#results').hidden")
    assert page.run("document.activeElement.classList.contains('chosen')")
    box = page.run("JSON.stringify(document.querySelector('.chosen').getBoundingClientRect())")
    box, stage = json.loads(box), json.loads(page.run("JSON.stringify(stage.getBoundingClientRect())"))
    assert stage["left"] <= box["left"] and box["right"] <= stage["right"]
    assert stage["top"] <= box["top"] and box["bottom"] <= stage["bottom"]


def test_search_says_when_there_is_nothing(page):
    page.key("/")
    page.write_text("nothing of this kind")
    page.until("document.querySelector('#results .note') !== null")
    page.key("Enter")
    page.key("Escape")
    assert page.run("document.querySelector('#results').hidden && document.querySelector('#search').value === ''")


# ---- keyboard


def test_the_keyboard_alone_is_enough(page):
    reached = []
    for _ in range(14):
        page.key("Tab")
        name = page.run("document.activeElement.getAttribute('aria-label') || document.activeElement.id")
        reached.append(name.split(",")[0])
    # the field and the buttons, then the boxes in the order of the computation
    start = reached.index("x")
    assert reached[:2] == ["Search names", "Zoom out"]
    assert reached[start : start + 5] == ["x", "encoder", "head", "exp", "out"]
    for _ in range(30):
        page.key("Tab", shift=True)
        if page.run("document.activeElement.matches('#stage .node[aria-label^=encoder]')"):
            break
    assert "Enter opens" in page.run("document.activeElement.getAttribute('aria-label')")
    assert page.run("getComputedStyle(document.activeElement.querySelector('.ring')).strokeWidth") == "3px"
    page.key("Enter")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 2")
    page.key("Tab")
    assert page.run("document.activeElement.getAttribute('aria-label')").startswith("fc1, module")
    page.key("Enter")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 3")
    page.key("Escape")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 2")
    page.key("Backspace")
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 1")
    assert page.run("document.activeElement.getAttribute('aria-label')").startswith("encoder")
    for key, expected in (("ArrowDown", "head"), ("ArrowDown", "exp"), ("ArrowUp", "head")):
        page.key(key)
        assert page.run("document.activeElement.getAttribute('aria-label')").startswith(expected)


def test_keys_that_zoom_move_and_help(page):
    page.key("0")
    whole = viewed(page)
    page.key("+")
    assert viewed(page)[2] == pytest.approx(whole[2] / 1.25)
    page.key("-")
    assert viewed(page) == pytest.approx(whole)
    page.key("ArrowRight")
    assert viewed(page)[0] > whole[0] and viewed(page)[2] == pytest.approx(whole[2])
    page.key("0")
    page.key("ArrowDown", shift=True)
    assert viewed(page)[1] > whole[1]
    page.key("0")
    assert viewed(page) == pytest.approx(whole)
    page.key("?")
    assert page.run("document.querySelector('#keys').open")
    page.key("Escape")
    assert not page.run("document.querySelector('#keys').open") and crumbs(page) == ["net"]
    page.key("l")
    assert page.run("document.querySelectorAll('#stage .list button').length") == 5
    page.key("l")
    assert page.run("document.querySelectorAll('#stage .node').length") == 5


def test_the_pointer_zooms_at_its_place_and_drags(page):
    page.run("document.querySelector('#zoom-fit').click()")
    before = viewed(page)
    x, y = centre_of(page, "head")
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    page.until(f"document.querySelector('#stage > svg').viewBox.baseVal.width < {before[2] * 0.9}")
    assert centre_of(page, "head") == pytest.approx([x, y], abs=2)
    near = viewed(page)
    page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    page.mouse("mouseMoved", x + 40, y + 30, button="left", buttons=1)
    page.mouse("mouseReleased", x + 40, y + 30, button="left", clickCount=1)
    assert centre_of(page, "head") == pytest.approx([x + 40, y + 30], abs=2)
    assert viewed(page)[2] == pytest.approx(near[2]) and chosen(page) is None


def test_two_fingers_pinch(page):
    page.run("document.querySelector('#zoom-fit').click()")
    before = viewed(page)[2]
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80)):
        points = [{"x": 400 - apart, "y": 400, "id": 0}, {"x": 400 + apart, "y": 400, "id": 1}]
        page.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.settle()
    assert viewed(page)[2] == pytest.approx(before / 2, rel=0.05)


# ---- themes and sizes

COLOURS = """
(() => {
  const solid = colour => {
    const n = colour.match(/[\\d.]+/g).map(Number);
    return n.length < 4 || n[3] > 0 ? n.slice(0, 3) : null;
  };
  const shape = /^(rect|path|polygon|circle|ellipse)$/;
  const behind = (element, x, y) => {
    for (const other of document.elementsFromPoint(x, y)) {
      if (other === element || other.contains(element) && other instanceof SVGElement) continue;
      const style = getComputedStyle(other);
      if (other instanceof SVGElement) {
        if (shape.test(other.tagName) && style.fill !== 'none') return solid(style.fill);
      } else if (solid(style.backgroundColor)) return solid(style.backgroundColor);
    }
    return solid(getComputedStyle(document.body).backgroundColor);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    if (!node.data.trim() || /^(SCRIPT|STYLE|title)$/.test(element.tagName)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const at = range.getBoundingClientRect();
    if (!at.width || !element.checkVisibility() || element.closest('.unseen, dialog:not([open])')) continue;
    if (at.x < 0 || at.y < 0 || at.right > innerWidth || at.bottom > innerHeight) continue;
    const style = getComputedStyle(element), svg = element instanceof SVGElement;
    let own = svg ? null : element;
    let back = behind(element, at.x + at.width / 2, at.y + at.height / 2);
    for (; own && own !== document.body; own = own.parentElement) {
      const colour = solid(getComputedStyle(own).backgroundColor);
      if (colour) { back = colour; break; }
    }
    found.push([node.data.trim(), solid(svg ? style.fill : style.color), back]);
  }
  return found;
})()
"""


def as_hex(rgb):
    return "#" + "".join(f"{round(c):02X}" for c in rgb)


def background(browser):
    return as_hex(browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"))


def check_contrast(browser, least=25):
    found = browser.run(COLOURS)
    assert len(found) >= least
    for text, ink, back in found:
        assert contrast(as_hex(ink), as_hex(back)) >= 4.5, (text, as_hex(ink), as_hex(back))


@pytest.mark.parametrize("dark", [False, True])
def test_the_theme_is_the_readers(browser, file, dark):
    colours = DARK if dark else LIGHT
    browser.window(1200, 800, dark=dark)
    browser.open(file)
    shown = "(e => getComputedStyle(document.querySelector(e)))"
    assert as_hex(browser.run(f"{shown}('body').backgroundColor.match(/\\d+/g).map(Number)")) == colours.page
    assert as_hex(browser.run(f"{shown}('#stage .node .f-box').fill.match(/\\d+/g).map(Number)")) == colours.box
    assert as_hex(browser.run(f"{shown}('#stage .node text').fill.match(/\\d+/g).map(Number)")) == colours.ink
    check_contrast(browser)
    browser.key("/")
    browser.write_text("matmul")
    browser.until("!document.querySelector('#results').hidden")
    check_contrast(browser)
    browser.key("Enter")
    browser.until("document.querySelector('.chosen') !== null")
    check_contrast(browser)
    browser.key("?")
    check_contrast(browser)
    assert browser.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_button_turns_the_theme_round(browser, file, dark):
    browser.window(1200, 800, dark=dark)
    browser.open(file)
    for expected in (not dark, dark):
        browser.key("t")
        colours = DARK if expected else LIGHT
        assert background(browser) == (colours.page)
        assert browser.run("document.querySelector('#theme').ariaPressed") == str(expected).lower()
        check_contrast(browser)


@needs_engine
@pytest.mark.parametrize("dark", [False, True])
def test_figures_and_gradients_are_readable_in_both_themes(browser, tmp_path, dark):
    browser.window(1200, 1400, dark=dark)
    for name, options in (("heat", {"level": "op", "overlay": "flops"}), ("training", {"level": "training"})):
        path = tmp_path / f"{name}.html"
        draw(Net(), tg.spec((8, 6), "float32"), expand=True, **options).save(path)
        browser.open(path)
        check_contrast(browser)
        browser.key("0")
        check_contrast(browser)


@needs_engine
def test_a_fixed_theme_stays(browser, tmp_path):
    path = tmp_path / "dark.html"
    draw(net(), level="module", theme="dark").save(path)
    browser.window(1200, 800, dark=False)
    browser.open(path)
    assert background(browser) == DARK.page


@pytest.mark.parametrize("width", [360, 760, 1200])
def test_it_fits_windows_of_all_widths(browser, file, width):
    browser.window(width, 740)
    browser.open(file, "#@encoder.fc1%2Fmatmul")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    outside = browser.run("""[...document.querySelectorAll('button, input, h1, #crumbs > *')].filter(e => {
      const box = e.getBoundingClientRect();
      return e.checkVisibility() && !e.closest('#details') && (box.left < 0 || box.right > innerWidth + 0.5);
    }).map(e => e.outerHTML)""")
    assert outside == []
    assert browser.run("document.querySelector('#stage').clientHeight") > 220
    assert browser.run("document.querySelector('#details').clientHeight") > 150
    text = browser.run("Math.max(...[...document.querySelectorAll('#stage text')]"
                       ".map(e => e.getBoundingClientRect().height))")  # fmt: skip
    assert text > 7


def test_a_wide_drawing_without_a_box_in_its_middle_opens_on_one(browser, tmp_path):
    if find_engine() is None:
        pytest.skip("no layout engine is installed")

    def fans(x, y):
        for _ in range(10):
            x, y = tg.sin(tg.tanh(x)), tg.cos(tg.tanh(y))
        return [v * float(i) for v in (x, y) for i in range(2, 40)]

    path = tmp_path / "fans.html"
    draw(fans, tg.spec((3,)), tg.spec((3,)), level="op", expand=True).save(path)
    browser.window(700, 500)
    browser.open(path)
    browser.settle()
    shown = browser.run("""(() => {
      const stage = document.querySelector('#stage').getBoundingClientRect();
      return [...document.querySelectorAll('#stage .node')].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.right > stage.left && box.left < stage.right && box.bottom > stage.top && box.top < stage.bottom;
      }).length;
    })()""")
    assert shown > 0


def test_less_motion_where_it_is_asked_for(browser, file):
    browser.window(1200, 800)
    for value, expected in (("no-preference", "found"), ("reduce", "none")):
        browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": value}])
        browser.open(file, "#@head")
        name = browser.run("getComputedStyle(document.querySelector('.found').firstElementChild).animationName")
        assert name == expected


def test_it_prints_the_drawing_and_little_else(browser, file):
    browser.window(1200, 800, dark=True)
    browser.open(file)
    browser.send("Emulation.setEmulatedMedia", media="print", features=[])
    seen = browser.run("""Object.fromEntries(['#stage > svg', '.tools', '.find', '#details', 'h1', '#legend'].map(
      name => [name, document.querySelector(name).checkVisibility()]))""")
    assert seen == {"#stage > svg": True, ".tools": False, ".find": False, "#details": False, "h1": True,
                    "#legend": True}  # fmt: skip
    assert background(browser) == LIGHT.page
    pdf = browser.send("Page.printToPDF", printBackground=True)["data"]
    assert len(pdf) > 5_000
    browser.send("Emulation.setEmulatedMedia", media="", features=[])


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
