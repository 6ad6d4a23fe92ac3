"""A page of modules within modules, and what a browser says of it; for the tests of pages."""

import json

import pytest
import viz_graphs as hand

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.pages.palette import contrast
from tensorgraph.viz import draw
from tensorgraph.viz.render.engine import find_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")


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


def saved_net(folder):
    """The page of `net`, its modules closed."""
    if find_engine() is None:
        pytest.skip("no layout engine is installed")
    path = folder / "net.html"
    draw(net(), level="module", depth=1).save(path)
    return path


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
