"""What a person sees of a run: its story from the events, its curves, the terminal, and the page."""

import io
import json
import math
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from run_events import NAMES, Told, steered, written

from tensorgraph.pages import assets, document, embedded, escaped
from tensorgraph.pages.palette import DARK, LIGHT, contrast
from tensorgraph.train import Run
from tensorgraph.train.run.lines import as_line
from tensorgraph.train.watch.braille import plot
from tensorgraph.train.watch.charts import chart, chart_data
from tensorgraph.train.watch.curves import Curve, Panel, Scale, columns, panels, scale_of
from tensorgraph.train.watch.report import report
from tensorgraph.train.watch.story import Series, Story, told
from tensorgraph.train.watch.terminal import duration, outcome, watch

HOSTILE = [
    "</script><script>window.hacked = 1</script>", "<img src=x onerror='window.hacked=2'>", "\"' onload=\"x", "]]>",
    "<!--<script>", "a\x00b\x1b[31m\ud800c", "\u202egnp.exe", "&lt;b&gt;&amp;", "{{x}}", "__proto__", "",
]  # fmt: skip


# ---- the story


def test_a_rollback_leaves_a_piece_behind():
    story = Story(steered())
    assert (story.step, story.branch, story.ended) == (60, 1, "epochs")
    steps = list(story.loss.steps)
    assert steps == list(range(1, 61))  # each once, in order
    assert [epoch.number for epoch in story.epochs] == list(range(6))
    pieces = {(kind, name): list(series.steps) for kind, name, series in story.left_behind}
    assert pieces["step", "loss"] == [20, *range(21, 36)]  # joined to the last point that stayed
    assert pieces["measure", "dev_loss"] == [20, 30]
    assert pieces["setting", "beta1"] == [0, 30, 35]
    assert story.now == {"lr": 0.02, "beta1": 0.9}  # what the checkpoint had, and what was set since
    assert story.set_by_hand.keys() == {"lr"} and story.set_by_hand["lr"][0] == 20


def test_steps_made_again_after_a_kill_are_told_once():
    events = Told().start().train(0, 27)
    events.add("command", 25, id="a" * 16, command="set", name="lr", value=0.5)
    killed = Story(events.events)
    assert killed.now["lr"] == 0.5
    events.add("resume", 20, **{"from": "00000020.safetensors"})
    again = Story(events.events)
    assert list(again.loss.steps) == list(range(1, 21)) and again.left_behind == []
    assert again.now["lr"] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi / 3)))
    assert [mark.kind for mark in again.marks] == ["start", "went on"]
    whole = Story(events.train(20, 60).events)
    assert list(whole.loss.steps) == list(range(1, 61)) and len(whole.epochs) == 6


def test_speed_and_time_left():
    story = Story(Told().start().train(0, 9).events)
    assert story.speed == pytest.approx(2.0) and story.left == pytest.approx(51 / 2.0)
    story.add({"event": "pause", "time": story.time + 100.0, "step": 9, "epoch": 0, "branch": 0})
    assert story.paused and math.isnan(story.speed)
    story.add({"event": "continue", "time": story.time + 100.0, "step": 9, "epoch": 0, "branch": 0})
    for step in (10, 11):
        story.add({"event": "step", "time": story.time + 0.25, "step": step, "epoch": 1, "branch": 0, "loss": 1.0})
    assert not story.paused and story.speed == pytest.approx(4.0)
    story.add({"event": "step", "time": 5.0, "step": 12, "epoch": 1, "branch": 0, "loss": 1.0})  # the clock went back
    assert math.isnan(story.speed) and math.isnan(story.left)
    story.add({"event": "command", "time": 6.0, "step": 12, "epoch": 1, "branch": 0, "command": "set", "name": "epochs",
               "value": 9})  # fmt: skip
    assert story.total == 90


def test_the_length_of_a_run_whose_batches_grow():
    told = Told(steps_per_epoch=10, epochs=4).start()
    assert Story(told.events).total == 40
    told.add("epoch", 10, measures={"loss": 1.0}, seconds=1.0)
    assert Story(told.events).total == 40
    told.add("epoch", 15, measures={"loss": 0.5}, seconds=1.0)  # twice as large batches
    told.events[-1]["epoch"] = 1
    assert Story(told.events).total == 25


def test_events_that_lack_something_or_are_unknown_are_taken():
    story = Story([{"event": "invented", "step": 3}, {"event": "step"}, {"event": "epoch", "measures": None}, {},
                   {"event": "step", "step": 4, "loss": None}, {"event": "start", "hyperparameters": {"lr": "much"}},
                   {"event": "end"}, {"event": "error"}])  # fmt: skip
    assert math.isnan(story.loss.values[0]) and math.isnan(story.now["lr"]) and story.total == 0
    assert len(panels(story)) == 1 and "not" not in outcome(story, "finished")


def test_words():
    assert told({"event": "refused", "reason": "no"}) == "refused: no"
    assert told({"event": "command", "command": "rollback", "to": None}) == "rollback"
    assert told({"event": "checkpoint", "file": "1", "name": "good"}) == "checkpoint 1, named good"
    assert told({"event": "pause", "step": 1, "time": 2}) == "pause"
    assert [duration(x) for x in (0, 61, 3600, -1, math.inf)] == ["0:00", "1:01", "1:00:00", "?", "?"]


def test_series_are_cut_where_they_are_empty_or_short():
    assert len(Series().cut(3)) == 0
    series = Series()
    series.add(5, 1.0)
    assert list(series.cut(3).steps) == [5] and len(series) == 0


# ---- curves


def test_panels_are_those_that_there_is_something_to_show_of():
    found = {panel.title: panel for panel in panels(Story(steered()))}
    assert list(found) == ["loss", "accuracy", "lr", "beta1"]
    assert [curve.role for curve in found["loss"].curves] == ["left", "left", "steps", "training", "dev"]
    assert found["accuracy"].scale.shares and not found["lr"].scale.log
    assert scale_of("loss", np.array([0.01, 1.0])).log and not scale_of("loss", np.array([0.0, 1.0])).log
    assert [sign for sign, _ in found["lr"].marks] == ["1", "2", "3"]
    assert found["lr"].curves[-1].steps[-1] == 60.0  # the last value stays
    assert panels(Story()) == []


@pytest.mark.parametrize("log", [False, True])
def test_a_scale_has_round_ticks_within_it(log):
    for low, high in ((0.013, 7.0), (1e-6, 2.0), (3.0, 3.1), (1e-300, 1e300), (0.5, 0.500001)):
        ticks = Scale(low, high, log).ticks()
        assert len(ticks) >= 2 or high / low < 1.001
        room = 1e-9 * (high - low)
        assert all(low - room <= value <= high + room for value, _ in ticks)
        assert len({text for _, text in ticks}) == len(ticks)


def test_the_scale_of_hostile_values():
    for values in (
        [],
        [math.nan],
        [math.inf, -math.inf],
        [0.0],
        [5.0, 5.0],
        [-1e308, 1e308],
        [1e-320, 1e300],
        [1.0, math.nan],
    ):
        scale = scale_of("loss", np.array(values, np.float64))
        assert math.isfinite(scale.low) and math.isfinite(scale.high) and scale.low < scale.high
        places = scale.place(np.array(values, np.float64))
        assert places.shape == (len(values),)
        assert all(0.0 <= place <= 1.0 for place in places[np.isfinite(places)])


def test_columns_show_the_least_and_the_greatest():
    rng = np.random.default_rng(0)
    steps, values = np.arange(1000.0), rng.normal(size=1000)
    seen = columns(Curve("x", "steps", steps, values), np.linspace(0, 999, 11))
    for k in range(10):
        inside = values[(steps >= 99.9 * k) & (steps <= 99.9 * (k + 1))]
        assert seen.low[k] <= inside.min() and seen.high[k] >= inside.max()
        assert seen.low[k] >= values.min() and seen.high[k] <= values.max()
        assert seen.mean[k] == pytest.approx(inside.mean(), abs=0.05)


def test_columns_have_gaps_where_values_are_not_finite_and_keep_values_that_stay():
    edges = np.arange(6.0)
    gap = columns(
        Curve("x", "steps", np.array([0.0, 1.0, 2.5, 4.0, 5.0]), np.array([1.0, 1.0, np.nan, 2.0, 2.0])), edges
    )
    assert np.isnan(gap.low).tolist() == [False, False, True, True, False] or np.isfinite(gap.low[[0, 4]]).all()
    stays = columns(Curve("lr", "value", np.array([0.0, 3.5, 5.0]), np.array([1.0, 0.1, 0.1]), stays=True), edges)
    assert stays.low.tolist() == [1.0, 1.0, 1.0, 0.1, 0.1] and stays.high.tolist() == [1.0, 1.0, 1.0, 1.0, 0.1]
    straight = columns(Curve("x", "training", np.array([0.0, 5.0]), np.array([0.0, 5.0])), edges)
    assert straight.low.tolist() == [0, 1, 2, 3, 4] and straight.high.tolist() == [1, 2, 3, 4, 5]


def test_a_plot_fills_its_room_and_no_more():
    for panel in panels(Story(steered())):
        for width, height in ((60, 12), (16, 4), (1, 1), (200, 40)):
            rows = str(plot(panel, width, height)).split("\n")
            assert len(rows) == max(height, 4) and max(map(len, rows)) <= max(width, 16)
            plain = str(plot(panel, width, height, braille=False))
            assert plain.isascii() and "*" in plain


def test_a_plot_puts_dots_where_the_values_are():
    curve = Curve("value", "value", np.arange(33.0), np.where(np.arange(33) < 16, 0.0, 1.0))
    rows = str(plot(Panel("x", (curve,), Scale(0.0, 1.0), 0.0, 32.0), 40, 10)).split("\n")
    top, bottom = (re.split("[┤│]", row)[1].ljust(33) for row in (rows[0], rows[7]))
    dotted = [[0x2800 < ord(sign) <= 0x28FF for sign in row] for row in (top, bottom)]
    assert not any(dotted[0][:16]) and all(dotted[0][20:33]) and all(dotted[1][:16]) and not any(dotted[1][20:])


def test_a_chart_is_svg_and_its_data_says_the_values():
    for number, panel in enumerate(panels(Story(steered()))):
        root = ElementTree.fromstring(chart(panel, number))
        assert root.get("data-chart") == str(number)
        data = json.loads(embedded(chart_data(panel)))
        for curve in data["curves"]:
            assert len(curve["steps"]) == len(curve["words"]) == len(curve["y"]) > 0
            assert curve["steps"] == sorted(curve["steps"])
            assert all(data["top"] - 1 <= y <= data["bottom"] + 1 for y in curve["y"])


def test_a_chart_of_many_steps_is_small_and_tells_where_it_broke():
    told = Told(1000, 50).start()
    for step in range(1, 50_001):
        told.add("step", step, loss=1.0 / step if step != 7 else None, hyperparameters={})
    (panel,) = panels(Story(told.events))
    drawn = chart(panel)
    assert len(drawn) < 40_000 and 'class="b-steps"' in drawn and "not finite at step 7" in drawn
    assert len(chart_data(panel)["curves"][0]["steps"]) <= 400


# ---- the terminal


class Screen(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


def test_lines_tell_epochs_and_commands(tmp_path):
    out = io.StringIO()
    watch(written(tmp_path / "first", steered()), stream=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "step 0: began: Sequential, 6 epochs"
    assert "epoch 1/6  loss 1.2737  accuracy 69.67%  dev loss 1.5285  dev accuracy 68.67%  1.50 s" in lines
    assert "step 20: set lr = 0.02" in lines and "step 35: refused: no hyperparameter is called 'speed'" in lines
    assert lines[-1] == "ended (epochs) at epoch 6 of 6, step 60"


def test_a_live_run_is_watched_until_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorgraph.train.watch.terminal.PAUSE", 0.0)
    events = steered()
    parts = [events[:10], [], events[10:50], events[50:]]
    run = written(tmp_path / "live", [])

    def busy():  # as long as there is more to come; a line is written in two pieces
        for event in parts.pop(0) if parts else ():
            line = as_line(event)
            with open(run.folder.events, "ab") as file:
                file.write(line)
        return bool(parts)

    monkeypatch.setattr(run.folder, "busy", busy)
    out, whole = io.StringIO(), io.StringIO()
    watch(run, stream=out)
    watch(written(tmp_path / "whole", events), stream=whole)
    assert out.getvalue() == whole.getvalue()


def test_a_run_that_was_not_begun_is_new_and_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorgraph.train.watch.terminal.PAUSE", 0.0)
    run = Run(tmp_path / "new")
    looks = []

    def busy():
        looks.append(run.folder.path.exists() or written(tmp_path / "new", steered()))
        return False

    monkeypatch.setattr(run.folder, "busy", busy)
    out = io.StringIO()
    watch(run, stream=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == f"no run was begun in {str(tmp_path / 'new')!r} yet: it is waited for (Ctrl-C ends that)"
    assert lines[1].startswith("step 0: began") and lines[-1].startswith("ended (epochs)")
    assert Story().log.status(False) == "new" and outcome(Story(), "new") == "no run was begun here yet"


def test_what_is_told_gives_a_terminal_no_orders():
    event = {"event": "command", "command": "checkpoint", "name": "a\x1b[31m\u202eb\nc é"}
    assert told(event) == "checkpoint named a [31m b c é"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 50), (40, 12)])
def test_the_screen_fits_the_terminal(width, height):
    rich = pytest.importorskip("rich.console")
    from tensorgraph.train.watch.terminal import screen

    console = rich.Console(file=Screen(), width=width, height=height, force_terminal=True, color_system=None)
    for status in ("running", "paused", "finished", "interrupted"):
        with console.capture() as shown:
            console.print(screen(Story(steered()), "runs/first", status, width, height))
        text = re.sub(r"\x1b\[[\d;]*m", "", shown.get())
        lines = text.rstrip("\n").split("\n")
        assert len(lines) <= height and max(map(len, lines)) <= width
        assert status in lines[0] and "step 60 of 60" in text if width > 60 else True
        assert any(0x2800 < ord(sign) <= 0x28FF for sign in text)
    if height == 50:
        assert "set lr = 0.02" in text and "set at step 20" in text and "beta1" in text


def test_names_are_words_in_the_terminal():
    rich = pytest.importorskip("rich.console")
    from tensorgraph.train.watch.terminal import screen

    events = steered()
    events[0]["hyperparameters"]["[bold]x[/bold]"] = 1.0
    console = rich.Console(file=Screen(), width=120, height=50, color_system=None)
    with console.capture() as shown:
        console.print(screen(Story(events), "[red]name[/red]", "running", 120, 50))
    assert "[red]name[/red]" in shown.get() and "[bold]x[/bold]" in shown.get()


def test_a_terminal_gets_the_curves_and_in_the_end_the_outcome(tmp_path):
    pytest.importorskip("rich.console")
    run = written(tmp_path / "first", steered())
    out = Screen()
    watch(run, stream=out)
    assert "ended (epochs) at epoch 6 of 6, step 60" in out.getvalue() and "⠀" not in out.getvalue()
    plain = Screen()
    watch(run, stream=plain, plain=True)
    assert "\x1b" not in plain.getvalue()


def test_without_rich_a_terminal_gets_lines(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    out = Screen()
    watch(written(tmp_path / "first", steered()), stream=out)
    assert "\x1b" not in out.getvalue() and out.getvalue().startswith("step 0: began")


def test_a_run_that_has_not_begun_is_waited_for_and_that_is_said(tmp_path, monkeypatch):
    run = Run(tmp_path / "later")

    def begin(seconds):
        written(tmp_path / "later", steered())

    monkeypatch.setattr("tensorgraph.train.watch.terminal.time.sleep", begin)
    out = io.StringIO()
    watch(run, stream=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == f"no run was begun in {str(tmp_path / 'later')!r} yet: it is waited for (Ctrl-C ends that)"
    assert lines[1].startswith("step 0: began") and lines[-1].startswith("ended (epochs)")


def test_ctrl_c_ends_the_watching(tmp_path, monkeypatch):
    run = written(tmp_path / "first", steered()[:5])
    monkeypatch.setattr(run.folder, "busy", lambda: True)

    def press(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("tensorgraph.train.watch.terminal.time.sleep", press)
    out = io.StringIO()
    watch(run, stream=out)
    assert out.getvalue().splitlines()[-1] == "no longer watched; the run is running"


# ---- the page


class Elements(HTMLParser):
    """What elements, attributes and words a page has."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_data(self, data):
        self.words.append(data)


def test_the_report_holds_everything(tmp_path):
    run = written(tmp_path / "first", steered())
    run.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page == report(run)
    elements = Elements(page)
    words = " ".join(elements.words)
    for expected in ("Run first", "ended (epochs)", "set lr = 0.02", "went back to 00000020.safetensors", "openblas",
                     "blas.threads", "seed", "dev accuracy", "60 of 64 right", *NAMES):  # fmt: skip
        assert expected in words, expected
    assert elements.tags.count("svg") == 4 and elements.tags.count("table") == 5
    assert not [a for a in elements.attributes if a[1] in ("src", "href", "style") and a[2] != "data:,"]
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    assert len(page) < 120_000


def test_every_text_of_the_report_is_escaped(tmp_path):
    usual = Elements(report(written(tmp_path / "usual", steered())))
    for number, bad in enumerate(HOSTILE):
        events = json.loads(json.dumps(steered()))
        for event in events:
            event.update({name: bad for name in ("model", "reason", "to") if name in event})
            if "settings" in event:
                event["settings"] = {bad or "x": bad, "nested": {bad: [bad, None, {bad: bad}]}}
                event["hyperparameters"][bad] = 1.0
            if event.get("name") in ("beta1", "lr"):
                event["name"] = bad
            if "confusion" in event:
                event["confusion"]["names"] = [bad, bad]
            if "measures" in event:
                event["measures"][bad or "x"] = 0.5
        name = re.sub("[\0/\ud800]", "", bad) or "x"
        run = written(tmp_path / str(number) / name, events, {bad or "x": bad})
        found = Elements(report(run))
        assert set(found.tags) == set(usual.tags)
        assert found.tags.count("script") == 2 and found.tags.count("style") == 1
        assert {name for _, name, _ in found.attributes} <= {name for _, name, _ in usual.attributes}


def test_a_report_of_nothing_and_of_what_was_damaged(tmp_path):
    strange = {"names": 3, "counts": [[1, -2], [3, 4]]}
    some = ([], [{"event": "start"}], [{"event": "end", "confusion": strange}],
            [{"event": "end", "confusion": {"counts": "many"}}])  # fmt: skip
    for number, events in enumerate(some):
        page = report(written(tmp_path / str(number), events, {}))
        assert "Confusion" not in page and page.count("</html>") == 1
    told = Told().start()
    told.add("step", 1, loss="inf", hyperparameters={})
    told.add("epoch", 1, measures={"loss": None, "accuracy": "nan"}, seconds=None)
    told.add("error", 1, message="the loss became inf")
    page = report(written(tmp_path / "broken", told.events))
    assert "stopped by an error" in page and "the loss became inf" in page


def test_curves_stand_out_in_both_themes():
    sheet = assets("tensorgraph.train.watch", "charts.css")
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in sheet.split("prefers-color-scheme: dark"))
    assert light.keys() == dark.keys() >= {"training", "dev", "value", "mark"}
    for colours, palette in ((light, LIGHT), (dark, DARK)):
        for name in ("training", "dev", "value", "behind", "mark"):
            assert contrast(colours[name], palette.box) >= (4.5 if name == "mark" else 3.0), name
        assert contrast(colours["training"], colours["step"]) >= 2.0


def test_a_document_names_its_style_and_script_by_their_hashes():
    page = document("<t>", "<p>b</p>", style="p{}", script="1", data={"x": "</script>"}, theme="dark", more=("a 'b'",))
    assert "<title>&lt;t&gt;</title>" in page and 'data-theme="dark"' in page and "; a 'b'\"" in page
    assert page.count("</script>") == 2 and escaped("\x00<\ud800>") == "&lt;&gt;"
