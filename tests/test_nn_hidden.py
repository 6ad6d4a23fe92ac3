"""Parts of a model where nobody looks for them: refused at assignment, or found by lint."""

import collections
import dataclasses
import functools
import types

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn


@dataclasses.dataclass
class Pair:
    part: object


class Holder:
    def __init__(self, part) -> None:
        self.part = part


class Slotted:
    __slots__ = ("part",)

    def __init__(self, part) -> None:
        self.part = part


def object_array(part):
    array = np.empty(1, object)
    array[0] = part
    return array


HOLDERS = {
    "deque": lambda part: collections.deque([part]),
    "set": lambda part: {part},
    "frozenset": lambda part: frozenset({part}),
    "UserList": lambda part: collections.UserList([part]),
    "UserDict": lambda part: collections.UserDict(a=part),
    "proxy": lambda part: types.MappingProxyType({"a": part}),
    "view": lambda part: {"a": part}.values(),
    "object array": object_array,
    "dataclass": Pair,
    "object": Holder,
    "slots": Slotted,
    "partial": lambda part: functools.partial(lambda layer, x: layer(x), part),
    "deque in a list": lambda part: [nn.ReLU(), collections.deque([part])],
    "dataclass in a dict": lambda part: {"a": Pair([part])},
}


class Model(nn.Module):
    def __init__(self, extra=None) -> None:
        self.first = nn.Linear(2, 2, seed=0)
        if extra is not None:
            self.extra = extra

    def forward(self, x):
        return self.first(x)


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("part", [lambda: nn.Linear(2, 2, seed=1), lambda: tg.Parameter([1.0])], ids=["module", "cell"])
def test_a_part_in_what_is_not_looked_into_is_refused(hold, part) -> None:
    with pytest.raises(TypeError, match=r"Model\.extra: extra.* is a.*Use a list, a tuple or a dict of parts"):
        Model(hold(part()))


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_what_has_its_place_may_be_held_elsewhere_too(hold) -> None:
    model = Model()
    model.extra = hold(model.first)
    model.whole = Holder(model)
    assert list(model.state_dict()) == ["first.weight", "first.bias"]


@pytest.mark.parametrize("kind", [collections.deque, collections.UserList])
def test_a_collection_that_is_filled_later_is_refused_when_the_cells_are_counted(kind) -> None:
    model = Model(kind())
    model.extra.append(nn.Linear(2, 2, seed=1))
    for look in (model.state_dict, model.parameters):
        with pytest.raises(TypeError, match="Use a list, a tuple or a dict of parts"):
            look()


def test_other_objects_are_attributes_as_before() -> None:
    model = Model()
    model.names = {"a", "b"}
    model.table = np.array([None, "a"], object)
    model.note = Holder([1, 2, Holder(np.zeros(3))])
    model.note.part.append(model.note)
    assert len(model.parameters()) == 2


class Outside(nn.Module):
    def __init__(self, function) -> None:
        self.first = nn.Linear(2, 2, seed=0)
        self.function = function

    def forward(self, x):
        return self.function(self.first(x))


def test_lint_finds_what_a_model_reads_and_does_not_own() -> None:
    layer = nn.Linear(2, 2, seed=1)
    found = tg.lint(Outside(lambda x: layer(x)), tg.f32[3, 2])
    assert found.ids == ("TG027", "TG027")
    assert "weight is used by Outside and is no part of it" in found[0].message
    assert "assign what it belongs to" in found[0].remedy
    model = Outside(lambda x: x + tg.random.normal(x.shape))
    assert not tg.lint(model, tg.f32[3, 2])
    model.function, model.parts = (lambda x: layer(x)), [layer]
    assert not tg.lint(model, tg.f32[3, 2])


def test_lint_of_a_part_knows_the_whole() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.first = nn.Linear(2, 2, seed=0)
            self.second = Outside(lambda x: x @ self.first.weight)

        def forward(self, x):
            return self.second(self.first(x))

    assert "TG027" not in tg.lint(Tied().second, tg.f32[3, 2]).ids
