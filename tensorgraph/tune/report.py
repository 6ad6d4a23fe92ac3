"""A study as one page of HTML that needs nothing else: pictures in both themes, the space, every trial."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any
from xml.etree import ElementTree

from tensorgraph.pages import assets, document, escaped, themed
from tensorgraph.pages.palette import LIGHT, NAMES
from tensorgraph.train.plots import needed, new_figure
from tensorgraph.tune import plots
from tensorgraph.tune.live import duration
from tensorgraph.tune.tables import counted, shown

__all__ = ["page"]

SVG = "http://www.w3.org/2000/svg"
COLOURS = {getattr(LIGHT, name).lower(): f"var(--{name})" for name in NAMES}
HOW = {
    "random": "Values are random, of the seed, the slot and the name alone: the same with any number of workers.",
    "grid": "Values are the points of a grid.",
    "tpe": "Values are chosen by TPE from what was known by then: with several workers they do not repeat themselves.",
}


def page(study: Any) -> str:
    """The whole page."""
    name = study.folder.absolute().name if study.kept else "a study"
    ranked = study.ranked
    best = f"The best score is <b>{escaped(shown(ranked[0].score))}</b>, of slot {ranked[0].slot}. " if ranked else ""
    seconds = sum(result.seconds for result in study.trials)
    told = f"{best}{escaped(counted([r.state for r in study.trials]))}, {escaped(duration(seconds))} of training."
    pruned = "Which trials were pruned depends on the order of reports. " if study.pruner else ""
    body = [
        f"<h1>{escaped(name)}</h1>\n<p>{told}</p>",
        f'<p class="muted">{HOW[study.sampler]} {pruned}Seed {study.seed}; {escaped(study.direction)}d.</p>',
    ]
    if ranked:
        body.append(_pictures(study))
    body.append(f'<h2>The space</h2>\n<div class="scroll"><table><tbody>{_space(study)}</tbody></table></div>')
    body.append(f'<h2>Every trial</h2>\n<div class="scroll">{_trials(study)}</div>')
    style = themed() + assets("tensorgraph.tune", "report.css")
    return document(name, "\n".join(body), style=style, script=assets("tensorgraph.tune", "report.js"))


def _pictures(study: Any) -> str:
    """All pictures, as SVG."""
    scores = plots.Scores(study)
    wide = picture(
        lambda axes: plots.parallel(axes, study), 11.0, 3.6, "every trial as a line over all hyperparameters"
    )
    two = [
        picture(lambda axes: plots.best_so_far(axes, study, scores), 5.4, 2.9, "the best score so far"),
        picture(lambda axes: plots.importances(axes, study), 5.4, 2.9, "importance of the hyperparameters"),
    ]
    each = [
        picture(partial(plots.against, study=study, name=name, scores=scores), 3.9, 3.0, f"{name} against the score")
        for name in study.space
    ]
    return (
        f'<h2>All at once</h2>\n{wide}\n<div class="panels two">{"".join(two)}</div>\n'
        f'<h2>Each against the score, on its own scale</h2>\n<div class="panels">{"".join(each)}</div>'
    )


def picture(draw: Callable[[Any], None], width: float, height: float, what: str) -> str:
    """What is drawn on axes, as SVG for a page: its colours are those of the page's theme, its text is text."""
    settings = {"svg.fonttype": "none", "svg.hashsalt": "tensorgraph"}
    with plots.plain_words(), needed().rc_context(settings):
        figure = new_figure(width, height)
        figure.patch.set_visible(False)
        draw(figure.add_subplot())
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    return themed_svg(data.getvalue(), what)


def themed_svg(data: bytes, what: str) -> str:
    """An SVG for a page whose policy allows no styles but its own: they become attributes, and colours variables."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(data)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        if element.tag == f"{{{SVG}}}g":
            element.attrib.pop("id", None)
        for pair in element.attrib.pop("style", "").split(";"):
            key, _, value = (part.strip() for part in pair.partition(":"))
            if key and key != "font-family":
                element.set(key, COLOURS.get(value.lower(), value))
        link = element.attrib.pop("{http://www.w3.org/1999/xlink}href", None)
        if link is not None:
            element.set("href", link)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", what)
    return ElementTree.tostring(root, encoding="unicode")


def _space(study: Any) -> str:
    return "".join(
        f'<tr><td class="words">{escaped(name)}</td><td class="words"><code>{escaped(str(scale))}</code></td></tr>'
        for name, scale in study.space._scales.items()
    )


def _trials(study: Any) -> str:
    """The table of trials, the best first."""
    names = list(study.space)
    heads = ["slot", "score", *names, "seconds"]
    head = "".join(f'<th scope="col"><button>{escaped(name)}</button></th>' for name in heads)
    head += '<th scope="col" class="words"><button>why it is not complete</button></th>'
    ranked = study.ranked
    rows = []
    for result in [*ranked, *(r for r in study.trials if r.state != "complete")]:
        cells = [_cell(result.slot), _cell("" if result.score is None else result.score)]
        cells += [_cell(result.values.get(name, "")) for name in names]
        reason = f"{result.state}: {result.reason}" if result.reason else ""
        cells += [_cell(round(result.seconds, 2)), f'<td class="words">{escaped(reason)}</td>']
        kind = "best" if ranked and result is ranked[0] else "" if result.state == "complete" else "not"
        rows.append(f'<tr class="{kind}">{"".join(cells)}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(value: Any) -> str:
    number = f' data-value="{value!r}"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return f"<td{number}>{escaped(shown(value))}</td>"
