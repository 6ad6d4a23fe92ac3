"""Differences between graphs: empty where they are equal, small where the edit is small, as text and as picture."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.analysis.diff import diff
from tensorgraph.analysis.difference import Difference
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import CellDecl, Equation, Literal, Var, Write
from tensorgraph.testing import programs


def signs(found):
    return [(edit.status, edit.what) for edit in found]


def statuses(found):
    return [edit.status for edit in found]


def network(*layers, batch=8):
    return tg.trace(nn.Sequential(*layers), tg.spec((batch, 4)))


def step(*layers, batch=8):
    model = nn.Sequential(*layers)
    optimizer = tg.optim.Adam(model.parameters())

    def train(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    return tg.trace(train, tg.spec((batch, 4)), tg.spec((batch,), "int64"))


def layers(*between):
    return nn.Linear(4, 6, seed=0), nn.BatchNorm(6), nn.ReLU(), *between, nn.Linear(6, 3, seed=1)


def fresh(graph, rename=False):
    """The same graph made of new variables, all names, scopes and lines gone."""
    new = {}

    def var(v):
        return new.setdefault(v, Var(v.aval, "renamed" if rename else v.name))

    def atom(a):
        if isinstance(a, tuple):
            return tuple(map(atom, a))
        return var(a) if isinstance(a, Var) else a

    return graph.replace(
        inputs=tuple(map(var, graph.inputs)),
        cells=tuple(CellDecl(c.path, var(c.var), c.kind, c.initialiser, c.requires_grad) for c in graph.cells),
        consts={var(v): a for v, a in graph.consts.items()},
        equations=tuple(
            Equation(e.op, tuple(map(atom, e.inputs)), e.attrs, tuple(map(var, e.outputs)), None if rename else e.call)
            for e in graph.equations
        ),
        writes=tuple(Write(var(w.cell), atom(w.value)) for w in graph.writes),
        outputs=tuple(map(atom, graph.outputs)),
        name="g" if rename else graph.name,
    )


# ---- empty if and only if equal


@given(programs(max_steps=5, state=True), programs(max_steps=5, state=True))
def test_a_difference_is_empty_exactly_where_graphs_are_equal(one, two):
    a, b = one.graph(), two.graph()
    assert bool(diff(a, b)) == (a != b)
    assert not diff(a, fresh(a, rename=True)) and not diff(fresh(a), a)
    assert (str(diff(a, b)) == "") == (a == b)


def mutants(graph):
    """Graphs that differ from this one in one place."""
    eqs = graph.equations
    for i, eq in enumerate(eqs):
        for key, value in eq.attrs.items():
            other = {**eq.attrs, key: ("mutated", value)}
            yield graph.replace(equations=(*eqs[:i], replace(eq, attrs=other), *eqs[i + 1 :]))
        for k, a in enumerate(eq.inputs):
            if isinstance(a, Literal):
                inputs = (*eq.inputs[:k], Literal(("mutated", a.value)), *eq.inputs[k + 1 :])
                yield graph.replace(equations=(*eqs[:i], replace(eq, inputs=inputs), *eqs[i + 1 :]))
            same = [v for v in graph.inputs if isinstance(a, Var) and v is not a and v.aval == a.aval]
            for v in same[:1]:
                inputs = (*eq.inputs[:k], v, *eq.inputs[k + 1 :])
                yield graph.replace(equations=(*eqs[:i], replace(eq, inputs=inputs), *eqs[i + 1 :]))
    for i in range(len(graph.writes)):
        yield graph.replace(writes=graph.writes[:i] + graph.writes[i + 1 :])
    if len(graph.writes) > 1:
        yield graph.replace(writes=graph.writes[::-1])
    for i, cell in enumerate(graph.cells):
        changed = CellDecl(cell.path + "x", cell.var, cell.kind, cell.initialiser, cell.requires_grad)
        yield graph.replace(cells=(*graph.cells[:i], changed, *graph.cells[i + 1 :]))
        frozen = CellDecl(cell.path, cell.var, cell.kind, cell.initialiser, not cell.requires_grad)
        yield graph.replace(cells=(*graph.cells[:i], frozen, *graph.cells[i + 1 :]))
    if len(graph.cells) > 1:
        yield graph.replace(cells=graph.cells[::-1])
    for var, array in graph.consts.items():
        if array.size and array.dtype != bool:
            yield graph.replace(consts={**graph.consts, var: array + np.ones((), array.dtype)})
    if len(graph.consts) > 1:
        yield graph.replace(consts=dict(reversed(graph.consts.items())))
    if len(graph.inputs) > 1:
        yield graph.replace(inputs=graph.inputs[::-1])
    yield graph.replace(outputs=graph.outputs[:-1] + (Literal(5),))
    yield graph.replace(out_tree=flatten({str(i): 0 for i in range(len(graph.outputs))})[1])
    yield graph.replace(statics=(*graph.statics, (99, "static")))


@given(programs(max_steps=7, state=True), st.data())
def test_every_mutation_is_found_and_nothing_is_where_there_is_none(program, data):
    graph = program.graph()
    found = list(mutants(graph))
    for number in data.draw(st.lists(st.integers(0, len(found) - 1), min_size=1, max_size=4)):
        mutant = found[number]
        for a, b in ((graph, mutant), (mutant, graph)):
            difference = diff(a, b)
            assert bool(difference) == (a != b), str(difference)
            assert len(difference.draw().nodes) >= 1


@given(programs(max_steps=8), st.randoms(use_true_random=False))
def test_another_order_is_one_edit(program, random):
    graph = program.graph()
    made = {v: i for i, eq in enumerate(graph.equations) for v in eq.outputs}
    left = {
        i: {made[a] for a in eq.atoms() if isinstance(a, Var) and a in made} for i, eq in enumerate(graph.equations)
    }
    order = []
    while left:
        ready = [i for i, needs in left.items() if not needs & set(left)]
        order.append(random.choice(ready))
        del left[order[-1]]
    other = graph.replace(equations=tuple(graph.equations[i] for i in order))
    found = diff(graph, other)
    assert bool(found) == (graph != other)
    # equations that are copies of each other may be taken for one another, and their readers for rewired
    assert all(edit.status == "changed" for edit in found)
    keys = [(eq.op.name, repr(eq.attrs), repr(eq.inputs)) for eq in graph.equations]
    if len(set(keys)) == len(keys):
        assert all(edit.what == "order" for edit in found), str(found)


# ---- edits are small


def test_one_inserted_line_is_one_added_equation():
    base = step(*layers())
    found = diff(base, step(*layers(nn.Dropout(0.5))))
    assert {e.status for e in found if e.what == "equation" and e.scope == "3"} == {"added"}
    assert not any(e.status == "removed" and e.what == "equation" and e.scope != "3" for e in found)
    before = diff(network(*layers()), network(*layers(nn.Tanh())))
    assert [e.text.split(" = ")[1].split("(")[0] for e in before if e.status == "added" and e.what == "equation"][
        :1
    ] == ["tanh"]


def test_a_changed_attribute_says_which():
    found = diff(
        network(nn.Linear(4, 6, seed=0), nn.BatchNorm(6)), network(nn.Linear(4, 6, seed=0), nn.BatchNorm(6, eps=1e-3))
    )
    (edit,) = found
    assert (edit.status, edit.what, edit.scope) == ("changed", "equation", "1")
    assert [str(detail) for detail in edit.details] == ["eps: 1e-05 -> 0.001"]
    assert "test_diff.py" in edit.source and found.summary() == "1 changed"
    assert str(found).splitlines()[2:] == [
        "@@ 1 @@", f"~ {edit.text}    # {edit.source}", "      eps: 1e-05 -> 0.001", "1 changed",
    ]  # fmt: skip


def test_another_op_in_its_place():
    found = diff(
        network(*layers()), network(nn.Linear(4, 6, seed=0), nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 3, seed=1))
    )
    assert signs(found) == [("removed", "equation"), ("added", "equation"), ("changed", "equation")]
    assert "relu" in found.edits[0].text and "tanh" in found.edits[1].text
    (detail,) = found.edits[2].details
    assert detail.wire and detail.before.endswith("(removed)") and detail.after.endswith("(added)")


def test_another_batch_size_follows_from_the_inputs():
    found = diff(step(*layers()), step(*layers(), batch=16))
    assert {e.what for e in found if not e.follows} == {"input", "equation"}
    loud = [e for e in found if e.what == "equation" and not e.follows]
    assert [e.text.split(" = ")[1].split("(")[0] for e in loud] == ["running_average"]  # its size is an attribute
    assert "more equations of another type" in str(found)


def test_a_new_parameter_does_not_disturb_the_updates_of_the_others():
    found = diff(step(*layers()), step(*layers(nn.Linear(6, 6, seed=2))))
    removed = [e for e in found if e.status == "removed"]
    assert not [e for e in removed if e.what == "equation"]
    gradients = [e for e in found if "= gradients(" in e.text]
    assert [e.status for e in gradients] == ["changed"] and "6 values -> 8 values" in str(gradients[0].details[-2])
    updates = [e for e in found if "adam_update" in e.text and e.what == "equation"]
    assert {e.status for e in updates} <= {"added", "changed"} and statuses(updates).count("added") == 2


def test_literals_types_and_their_signs_are_told_apart():
    def graph(value):
        return tg.trace(lambda x: x * value, tg.spec((3,)))

    for a, b, text in ((1.0, 1, "b: 1.0 -> 1"), (0.0, -0.0, "b: 0.0 -> -0.0"), (2.0, 3.0, "b: 2.0 -> 3.0")):
        (edit,) = diff(graph(a), graph(b))
        assert [str(detail) for detail in edit.details] == [text]
    assert not diff(graph(float("nan")), graph(float("nan")))


def test_cells_constants_inputs_writes_and_results():
    def graph(array, name="w", extra=False, frozen=False):
        w = tg.Parameter(np.ones(3, np.float32), name=name, requires_grad=not frozen)
        b = tg.Buffer(np.zeros(3, np.float32), name="seen")

        def f(x, *more):
            y = x * w + tg.tensor(np.asarray(array, np.float32))
            b.assign(y)
            return {"y": y, "z": y + more[0]} if more else {"y": y}

        return tg.trace(f, *[tg.spec((3,))] * (2 if extra else 1))

    base = graph([1, 2, 3])
    assert str(diff(base, graph([1, 2, 4])).edits[0]).startswith("~ constant")
    (edit,) = diff(base, graph([1, 2, 3], name="v"))
    assert [str(d) for d in edit.details] == ["path: w -> v"]
    (edit,) = diff(base, graph([1, 2, 3], frozen=True))
    assert [str(d) for d in edit.details] == ["requires_grad: True -> False"]
    found = diff(base, graph([1, 2, 3], extra=True))
    assert {("added", "input"), ("added", "equation"), ("added", "output"), ("changed", "structure")} == set(
        signs(found)
    )
    back = diff(graph([1, 2, 3], extra=True), base)
    assert {("removed", "input"), ("removed", "equation"), ("removed", "output"), ("changed", "structure")} == set(
        signs(back)
    )
    assert "- result z: " in str(back)
    unwritten = base.replace(writes=())
    assert signs(diff(base, unwritten)) == [("removed", "write")] and signs(diff(unwritten, base)) == [
        ("added", "write")
    ]


def test_nested_graphs_are_compared():
    def graph(factor):
        f = tg.custom_vjp(lambda x: x * factor)
        f.defvjp(lambda x: (x * factor, ()), lambda kept, g: g * factor)
        return tg.trace(lambda x: f(x), tg.spec((3,)))

    found = diff(graph(2.0), graph(3.0))
    assert found and statuses(found) == ["changed"] and graph(2.0) != graph(3.0)
    assert all("equations>" in str(detail) for detail in found.edits[0].details)
    assert not diff(graph(2.0), graph(2.0))


def test_texts_and_files_are_compared(tmp_path):
    graph = network(*layers())
    text = str(graph)
    assert not diff(text, graph)
    path = tmp_path / "net.tg.py"
    path.write_text(text.replace("relu", "tanh"))
    assert statuses(diff(graph, path)) == ["removed", "added", "changed"]
    assert diff(str(path), text)
    for wrong in (3, None, [graph]):
        with pytest.raises(TypeError, match="compares graphs"):
            diff(graph, wrong)
    with pytest.raises(TypeError, match=r"leaves the size N open: .*\.at\(N=32\)"):
        diff(graph, "def f(x: f32[N]):\n    return x\n")


def test_a_difference_is_a_value():
    a, b = network(*layers()), network(*layers(nn.Tanh()))
    found = diff(a, b)
    assert found == diff(a, b) and isinstance(found, Difference) and len(found) == len(list(found))
    assert repr(found).startswith("<Difference of Sequential and Sequential: ") and found.text(most=3).endswith(
        found.summary()
    )
    assert diff(a, a).summary() == "no difference" and diff(a, a).text() == "" and not diff(a, a)
    assert "no difference" in diff(a, a)._repr_mimebundle_()["text/plain"]
    assert found._repr_mimebundle_()["text/plain"].startswith("--- ")


# ---- large graphs


def chain(n, inserted=()):
    def f(x):
        for i in range(n):
            x = tg.tanh(x) if i % 2 else tg.exp(x)
            if i in inserted:
                x = x * 2.0
        return x

    return tg.trace(f, tg.spec((3,)))


@pytest.mark.slow
def test_three_edits_among_ten_thousand_equations_are_three():
    a, b = chain(10_000), chain(10_000, (3_333, 5_000, 9_990))
    found = diff(a, b)
    assert statuses(found) == ["added", "changed"] * 3
    drawing = found.draw()
    assert len(drawing.nodes) < 60
    assert sum(node.status == "added" for node in drawing.nodes) == 3


# ---- the picture


def test_the_picture_says_what_the_text_says():
    found = diff(
        network(*layers()),
        network(nn.Linear(4, 6, seed=0), nn.BatchNorm(6, eps=1e-3), nn.Tanh(), nn.Linear(6, 3, seed=1)),
    )
    drawing = found.draw()
    status = {node.path: node.status for node in drawing.nodes if node.status}
    assert status == {"1/batch_norm": "changed", "2/relu": "removed", "2/tanh": "added", "3/matmul": "changed"}
    at = {node.id: node.path for node in drawing.nodes}
    edges = {(at[e.tail], at[e.head]): e.status for e in drawing.edges}
    assert edges["1/batch_norm", "2/relu"] == edges["2/relu", "3/matmul"] == "removed"
    assert edges["1/batch_norm", "2/tanh"] == edges["2/tanh", "3/matmul"] == "added"
    assert edges["3/matmul", "3/add"] == ""
    batch_norm = next(n for n in drawing.nodes if n.path == "1/batch_norm")
    assert "eps: 1e-05 -> 0.001" in [row.text for row in batch_norm.rows]
    assert {"added", "removed", "changed"} <= {entry.role for entry in drawing.legend}
    text = drawing.text()
    assert "- 2/relu" in text and "+ 2/tanh" in text and "-2/relu" in text
    dot = drawing.dot()
    assert "- relu" in dot and "+ tanh" in dot and "~ batch_norm" in dot and "dashed" in dot
    mermaid = drawing.mermaid()
    assert "<b>- relu</b>" in mermaid and "<b>+ tanh</b>" in mermaid and "==>|" in mermaid and "-.->|" in mermaid
    assert "classDef added" in mermaid and "classDef removed" in mermaid and "classDef changed" in mermaid
    assert [node["status"] for node in json.loads(drawing.json())["nodes"] if node["status"]] == list(status.values())


def test_edges_that_are_no_more_are_drawn():
    a = tg.trace(lambda x: tg.tanh(x) + tg.exp(x), tg.spec((3,)))
    b = tg.trace(lambda x: tg.tanh(x) + tg.exp(tg.tanh(x)), tg.spec((3,)))
    drawing = diff(a, b).draw()
    assert [e.status for e in drawing.edges].count("removed") >= 1
    assert "removed" in {entry.role for entry in drawing.legend}


def test_large_graphs_are_folded_and_cut_to_the_edits():
    many = [nn.Linear(4, 4, seed=0) for _ in range(60)]
    drawing = diff(network(*many), network(*many[:30], nn.Tanh(), *many[30:])).draw()
    assert 0 < len(drawing.nodes) <= 160
    assert drawing.title.startswith("Sequential to Sequential: ")
    with pytest.raises(ValueError, match="theme must be"):
        diff(network(*many[:2]), network(*many[:3])).draw(theme="pink")


def test_orders_and_structures_are_notes():
    a = tg.trace(lambda x: (tg.exp(x), tg.tanh(x)), tg.spec((3,)))
    b = tg.trace(lambda x: list((tg.tanh(x), tg.exp(x))[::-1]), tg.spec((3,)))
    found = diff(a, b)
    assert {edit.what for edit in found} == {"structure", "order"}
    assert len([n for n in found.draw().notes if n.startswith("~ ")]) == 2


def test_more_edits_than_a_picture_holds_are_counted():
    def scaled(*factors):
        def f(x):
            for factor in factors:
                with tg.scope("scaling"):
                    x = x * factor
            return tg.tanh(x)

        return tg.trace(f, tg.spec((3,)))

    found = diff(scaled(*[1.0] * 400), scaled(*[2.0] * 400))
    assert len(found) == 400 and set(statuses(found)) == {"changed"}
    drawing = found.draw()
    assert len(drawing.nodes) <= 310 and any("100 more boxes differ" in note for note in drawing.notes)
    few = diff(scaled(*[1.0] * 200), scaled(*[1.0] * 100, 3.0, *[1.0] * 99)).draw()
    assert len(few.nodes) < 10 and [n.status for n in few.nodes].count("changed") == 1


def test_what_a_folded_module_and_a_crowded_box_say():
    many = [nn.Linear(4, 4, seed=0) for _ in range(30)]
    drawing = diff(network(*many), network(*many, batch=9)).draw()
    folded = [node for node in drawing.nodes if len(node.members) > 1]
    assert folded and all(node.status == "changed" for node in folded)
    assert all("other types" in [row.text for row in node.rows] for node in folded)
    blocks = [layer for _ in range(12) for layer in (nn.Linear(4, 4, seed=0), nn.BatchNorm(4))]
    moved = diff(network(*blocks), network(nn.Dropout(0.5), *blocks))  # every path is one further
    drawing = moved.draw()
    assert {node.status for node in drawing.nodes} == {"", "added", "moved"}
    assert drawing.notes[0].startswith("0 is 1, 1 is 2, ")


def test_types_and_kinds_of_what_is_captured_and_kept():
    def graph(dtype, cell, value):
        array = np.ones(2, dtype)

        def f(x):
            y = x + array
            cell.assign(array * value)
            return y.sum(), cell.read()

        return tg.trace(f, tg.spec((2,), dtype))

    plain = graph("float32", tg.Buffer(np.zeros(2, np.float32), name="c"), 1.0)
    double = graph("float64", tg.Buffer(np.zeros(2, np.float64), name="c"), 1.0)
    texts = [str(detail) for edit in diff(plain, double) for detail in edit.details]
    assert texts.count("type: f32[2] -> f64[2]") >= 3
    parameter = graph("float32", tg.Parameter(np.zeros(2, np.float32), name="c"), 1.0)
    assert "kind: buffer -> parameter" in [str(detail) for edit in diff(plain, parameter) for detail in edit.details]
    other = plain.replace(writes=(Write(plain.writes[0].cell, plain.inputs[0]),))
    (edit,) = [edit for edit in diff(plain, other) if edit.what == "write"]
    assert edit.status == "changed" and edit.text == "c.assign(x)" and edit.details[0].after == "x"
    assert diff(other, plain).draw().nodes


def test_graphs_before_and_after_a_pass_have_names_of_their_own():
    """Both hold the same variables."""
    old = tg.trace(lambda x: tg.tanh(tg.relu(tg.batch_norm(x, tg.ones((3,)), tg.zeros((3,)))[0])), tg.f32[4, 3])
    found = diff(old, old.transform("recognise"))
    assert sorted((edit.status, edit.text.split(":")[0]) for edit in found) == [
        ("added", "y"), ("removed", "y"), ("removed", "y'"),
    ]  # fmt: skip
    (removed, added) = diff(negated := tg.trace(lambda x: (x * -1.0).sum(), tg.f32[3]), negated.simplify())
    assert (removed.status, removed.text) == ("removed", "v0: f32[3] = x * -1.0")
    assert (added.status, added.text) == ("added", "v0: f32[3] = -x")  # and the sum is of the same value
