"""Calls of kernels that are alike: of layers that are equal each rule is asked once, the others have its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorgraph.graph.graph import Equation, Var, typed_key
from tensorgraph.native.places import Address, Buffer, Call, Check, Place, Record

__all__ = ["Alike", "Keys", "key_of_equations", "places_in"]


class Keys:
    """Keys of equations' attributes, which are the same objects in graphs of other sizes: made once."""

    def __init__(self, earlier: Keys | None = None) -> None:
        self._known: dict[int, tuple[Mapping[str, Any], Any]] = {}  # by ids of attributes, which live as long
        self._earlier = {} if earlier is None else earlier._known

    def of(self, attrs: Mapping[str, Any]) -> Any:
        """A key of an equation's attributes."""
        if not attrs:
            return None
        number = id(attrs)
        found = self._known.get(number)
        if found is None:
            found = self._earlier.get(number) or (attrs, typed_key(dict(attrs)))
            self._known[number] = found
        return found[1]

    def forget(self) -> None:
        """Hold no others than those that were asked for."""
        self._earlier = {}


class Alike:
    """The calls of one plan, by all that a rule may look at: its places, but for whose memory it is."""

    def __init__(self, keys: Keys | None = None) -> None:
        self.keys = keys or Keys()
        self._known: dict[Any, Call] = {}
        self._forms: dict[Any, int] = {}  # of places, but for whose memory it is
        self._form_of: dict[int, tuple[Place, int]] = {}  # by ids of places, which live as long as they are here

    def put(self, call: Call, what: Any, make: Callable[[Call], bool]) -> bool:
        """Put records into a call: those that `make` puts there, or put into a call like this one.

        Parameters
        ----------
        call : Call
        what : hashable
            The rule, and what it looks at besides.
        make : callable
            Puts records into a call; or gives False.
        """
        try:
            key = what, self.keys.of(call.attrs), self._operands(call)
            known = self._known.get(key)
        except TypeError:  # what has no key is like nothing else
            return make(call)
        if known is not None:
            _repeat(known, call)
            return True
        if not make(call):
            return False
        if not call.warnings and _own_buffers(call):
            self._known[key] = call
        return True

    def _operands(self, call: Call) -> Any:
        """A key of a call's inputs and outputs."""
        numbers: dict[Buffer, int] = {}

        def key(one: Any) -> Any:
            if type(one) is Place:
                return numbers.setdefault(one.buffer, len(numbers)), self._form(one)
            return tuple(map(key, one)) if type(one) is list else typed_key(one)

        return tuple(map(key, call.inputs)), tuple(map(key, call.outputs))

    def _form(self, place: Place) -> int:
        found = self._form_of.get(id(place))
        if found is None:
            form = place.buffer.nbytes, place.shape, place.dtype, place.strides, place.offset
            found = self._form_of[id(place)] = place, self._forms.setdefault(form, len(self._forms))
        return found[1]


def key_of_equations(equations: Sequence[Equation], inputs: Sequence[Var], outputs: Sequence[Var], keys: Keys) -> Any:
    """A key of what equations compute of some variables, whichever these are."""
    names: dict[Var, int] = {}

    def name(atom: Any) -> Any:
        if type(atom) is tuple:
            return tuple(map(name, atom))
        return names.setdefault(atom, len(names)) if type(atom) is Var else typed_key(atom.value)

    computed = tuple(
        (eq.op, keys.of(eq.attrs), tuple(map(name, eq.inputs)), tuple(map(name, eq.outputs))) for eq in equations
    )
    types = tuple((type(v.aval), v.aval.shape, v.aval.dtype) for v in names)
    return computed, types, tuple(map(name, inputs)), tuple(map(name, outputs))


def places_in(operands: Sequence[Any]) -> list[Place]:
    """The places among a call's inputs, those of lists too."""
    if list in map(type, operands):
        operands = [p for one in operands for p in (places_in(one) if type(one) is list else (one,))]
    return [one for one in operands if type(one) is Place]


def _own_buffers(call: Call) -> bool:
    """Whether all addresses among a call's words are in memory of its operands, or of its own."""
    places = [*places_in(call.inputs), *places_in(call.outputs), *call.scratch_places, *[c.code for c in call.checks]]
    own = {place.buffer for place in places}
    records = [*call.records, *[check.record for check in call.checks]]
    return own.issuperset([record.words[k].buffer for record in records for k in record.addresses()])  # type: ignore[union-attr]


def _repeat(known: Call, call: Call) -> None:
    """Put the records of another call into one, on its own memory."""
    buffers = {
        there.buffer: here.buffer
        for some, own in ((known.inputs, call.inputs), (known.outputs, call.outputs))
        for there, here in zip(places_in(some), places_in(own), strict=True)
    }

    def again(place: Place) -> Place:
        buffer = buffers.get(place.buffer)
        if buffer is None:
            buffer = buffers[place.buffer] = Buffer(place.buffer.nbytes, place.buffer.what)
        return Place(buffer, place.shape, place.dtype, place.strides, place.offset)

    def moved(record: Record) -> Record:
        words: list[Any] = list(record.words)
        for k in record.addresses():
            words[k] = Address(buffers[words[k].buffer], words[k].offset)
        return Record(record.kernel, tuple(words), record.blocks)

    call.scratch_places += map(again, known.scratch_places)
    codes = [again(check.code) for check in known.checks]
    call.records += map(moved, known.records)
    call.checks += [Check(moved(one.record), code, one.error) for one, code in zip(known.checks, codes, strict=True)]
    call.replaces += known.replaces
