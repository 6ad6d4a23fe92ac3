"""How the page looks in a browser: both themes, windows of all widths, less motion, print."""

import pytest
from viz_pages import (
    Net,
    as_hex,
    background,
    check_contrast,
    needs_engine,
    net,
    saved_net,
)

import tensorgraph as tg
from tensorgraph.pages.palette import DARK, LIGHT
from tensorgraph.viz import draw
from tensorgraph.viz.render.engine import find_engine


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page of `net`, its modules closed."""
    return saved_net(tmp_path_factory.mktemp("page"))


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
    if width <= 760:  # nothing stands over the drawing
        legend, stage = (browser.run(f"(e => [e.top, e.bottom])(document.querySelector('{name}')"
                                     ".getBoundingClientRect())") for name in ("#legend", "#stage"))  # fmt: skip
        assert legend[1] <= stage[0] + 1 and legend[1] > legend[0]
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
