"""The page in a browser: it asks for nothing, opens modules, searches and obeys the keyboard."""

import json

import pytest
import viz_graphs as hand
from viz_pages import (
    Net,
    centre_of,
    chosen,
    crumbs,
    saved_net,
    viewed,
)

import tensorgraph as tg
from tensorgraph.viz import draw


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page of `net`, its modules closed."""
    return saved_net(tmp_path_factory.mktemp("page"))


@pytest.fixture
def page(browser, file):
    browser.window(1200, 800)
    browser.open(file)
    yield browser
    browser.settle()
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]


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
    draw(m.graph(h), level="module", direction="down").save(tmp_path / "tall.html")
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
    assert browser.run("document.querySelector('#stage .tab text').textContent") == "Block blocks.0 ... 2 x3"
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
