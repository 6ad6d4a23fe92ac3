"""Bad input never gives a silent wrong number: one clear error that names what came, where, and the remedy."""

import pickle
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg


def x() -> tg.Tensor:
    return tg.ones((2, 3))


HERE = r"test_bad_input_engine\.py:\d+"

CASES: dict[str, tuple[Any, Any, str]] = {
    "shapes that do not broadcast": (
        lambda: x() + tg.ones((4,)),
        ValueError,
        rf"add\(a: f32\[2, 3\], b: f32\[4\]\).*{HERE}.*3 and 4",
    ),
    "matmul of wrong shapes": (lambda: x() @ x(), ValueError, rf"matmul.*{HERE}.*a @ b\.T"),
    "matmul the other way": (lambda: x() @ tg.ones((2, 4)), ValueError, r"a\.T @ b"),
    "matmul with a number": (lambda: x() @ 2.0, (ValueError, TypeError), r"\*"),
    "reshape": (lambda: x().reshape(4, 2), ValueError, r"6 elements do not fill shape \(4, 2\)"),
    "reshape twice -1": (lambda: x().reshape(-1, -1), ValueError, "one -1"),
    "reshape by floats": (lambda: x().reshape(2.5, 2), (ValueError, TypeError), None),
    "axis": (lambda: x().sum(axis=2), ValueError, r"axis 2 is out of range.*-2 to 1"),
    "axis of a number": (lambda: tg.ones(()).sum(axis=0), ValueError, "0-d"),
    "axis twice": (lambda: x().sum(axis=(0, -2)), ValueError, "twice|duplicate"),
    "concatenate": (
        lambda: tg.concatenate([x(), tg.ones((2, 4))]),
        ValueError,
        r"tensor 0 has \(2, 3\), tensor 1 has \(2, 4\)",
    ),
    "concatenate nothing": (lambda: tg.concatenate([]), ValueError, "at least one"),
    "concatenate numbers": (lambda: tg.concatenate([tg.ones(()), tg.ones(())]), ValueError, "0-d"),
    "concatenate one tensor": (lambda: tg.concatenate(tg.ones(())), TypeError, "list of tensors"),
    "split": (lambda: tg.split(x(), sizes=(1, 2)), ValueError, "must sum"),
    "split by fractions": (lambda: tg.split(x(), sizes=(0.5, 1.5)), (ValueError, TypeError), None),
    "squeeze": (lambda: x().squeeze(0), ValueError, "size 2, expected 1"),
    "transpose": (lambda: x().transpose(0, 0), ValueError, "once"),
    "broadcast_to": (lambda: tg.broadcast_to(x(), shape=(3, 2)), ValueError, "broadcast"),
    "pad": (lambda: tg.pad(x(), widths=((1, 1),) * 3), ValueError, "pair for each"),
    "a condition of floats": (lambda: tg.where(x(), 1.0, 0.0), TypeError, "boolean.*x > 0"),
    "clip the wrong way round": (lambda: x().clip(2.0, 1.0), ValueError, "a_min must not exceed a_max"),
    "negative powers of integers": (lambda: tg.tensor([2]) ** -1, ValueError, "negative integer powers"),
    "an integer that does not fit": (lambda: tg.ones((2,), dtype="int8") + 1000, (ValueError, OverflowError), "1000"),
    "None": (lambda: x() + None, TypeError, "expected a tensor, got None"),
    "None in a list": (lambda: tg.stack([x(), None]), TypeError, "expected tensors, got None for number 1 of 2"),
    "None joined": (lambda: tg.concatenate([None, x()]), TypeError, "expected tensors, got None for number 0 of 2"),
    "text": (lambda: x() + "a", TypeError, "expected numbers"),
    "complex": (lambda: x() * 1j, TypeError, "complex.*real and imaginary"),
    "complex data": (lambda: tg.tensor([1j]), TypeError, "complex"),
    "text data": (lambda: tg.tensor(["a"]), TypeError, "expected numbers"),
    "ragged data": (lambda: tg.tensor([[1.0], [1.0, 2.0]]), ValueError, "regular nesting"),
    "objects": (lambda: tg.tensor([object()]), TypeError, "expected numbers"),
    "a masked array": (lambda: tg.tensor(np.ma.array([1.0, 2.0], mask=[True, False])), TypeError, "mask"),
    "a structured array": (lambda: tg.tensor(np.zeros(2, [("a", "f4")])), TypeError, "not supported|expected"),
    "dates": (lambda: tg.tensor(np.array(["2020-01-01"], "M8[D]")), TypeError, "not supported|expected"),
    "extended precision": (lambda: tg.tensor(np.zeros(2, np.longdouble)), TypeError, "not supported"),
    "an unknown dtype": (lambda: tg.tensor(1.0, dtype="f99"), TypeError, "dtype must be a dtype such as"),
    "a shape below zero": (lambda: tg.zeros((-1,)), ValueError, "non-negative"),
    "integers with gradients": (
        lambda: tg.tensor([1, 2], requires_grad=True),
        TypeError,
        r"only float tensors.*astype",
    ),
    "gradient of a constant": (lambda: x().sum().backward(), RuntimeError, "requires_grad=True"),
    "gradient of a table": (
        lambda: tg.tensor([1.0, 2.0], requires_grad=True).backward(),
        ValueError,
        "one element.*sum",
    ),
    "gradient with respect to a constant": (
        lambda: tg.gradients(tg.tensor(1.0, requires_grad=True), x()),
        RuntimeError,
        "does not require",
    ),
    "gradient with respect to integers": (
        lambda: tg.gradients(tg.tensor(1.0, requires_grad=True), tg.arange(2)),
        TypeError,
        "only float",
    ),
    "gradient with respect to an array": (
        lambda: tg.gradients(tg.tensor(1.0, requires_grad=True), np.ones(2)),
        TypeError,
        "must be Tensors",
    ),
    "a cotangent of another shape": (
        lambda: tg.tensor([1.0, 2.0], requires_grad=True).backward(np.ones(3)),
        ValueError,
        r"shape \(2,\), got \(3,\)",
    ),
    "a cotangent of text": (lambda: tg.tensor(1.0, requires_grad=True).backward("a"), (TypeError, ValueError), None),
    "cotangents of another structure": (
        lambda: tg.gradients([tg.tensor(1.0, requires_grad=True)], tg.tensor(1.0, requires_grad=True), 1.0),
        ValueError,
        "structured like ys",
    ),
    "grad of another shape": (
        lambda: setattr(tg.tensor([1.0], requires_grad=True), "grad", np.ones(2, np.float32)),
        ValueError,
        ".grad must be",
    ),
    "grad of an interior tensor": (
        lambda: setattr(tg.tensor([1.0], requires_grad=True) * 2, "grad", np.ones(1, np.float32)),
        ValueError,
        "leaf",
    ),
    "retain_grad": (
        lambda: (tg.tensor([1.0], requires_grad=True) * 2).retain_grad(),
        ValueError,
        "tensorgraph.gradients",
    ),
    "a hook on a constant": (lambda: x().register_hook(print), ValueError, "does not require"),
    "requires_grad_ of a result": (
        lambda: (tg.tensor([1.0], requires_grad=True) * 2).requires_grad_(False),
        ValueError,
        "detach",
    ),
    "an unknown argument": (lambda: x().sum(axes=0), TypeError, "axes"),
    "too many arguments": (lambda: tg.exp(x(), x(), x()), TypeError, None),
    "a missing attribute": (lambda: tg.reshape(x()), TypeError, "shape"),
    "a wrong implementation": (lambda: tg.softmax(x(), impl="fast"), ValueError, "'fused' or 'composed'"),
    "a wrong region": (lambda: tg.implementation("fast").__enter__(), ValueError, "'fused' or 'composed'"),
    "an unnamed scope": (lambda: tg.scope("").__enter__(), ValueError, "name must be a str that is not empty"),
    "a default dtype of integers": (lambda: tg.set_default_dtype("int64"), TypeError, "float dtype"),
    "an unknown name": (lambda: tg.sofmax, AttributeError, "softmax"),
    "a misspelt method": (lambda: x().summ(), AttributeError, "summ"),
    "Tensor()": (lambda: tg.Tensor([1.0]), TypeError, "tensorgraph.tensor"),
    "labels out of range": (lambda: tg.softmax_cross_entropy(x(), np.array([0, 3])), (ValueError, IndexError), "3"),
    "negative labels": (lambda: tg.softmax_cross_entropy(x(), np.array([0, -1])), (ValueError, IndexError), "-1"),
    "NaN labels": (lambda: tg.softmax_cross_entropy(x(), np.full((2, 3), np.nan, np.float32)), ValueError, "(?i)nan"),
    "one-hot integers": (lambda: tg.softmax_cross_entropy(x(), np.eye(3, dtype=int)[:2]), ValueError, "one-hot"),
    "take_along_axis out of range": (
        lambda: tg.take_along_axis(x(), np.array([[5], [0]]), axis=1),
        (ValueError, IndexError),
        "5|out of",
    ),
    "an index out of range": (lambda: x()[np.array([0, 9])], IndexError, "9"),
    "too many indices": (lambda: x()[0, 0, 0], IndexError, "too many"),
    "values that do not fit a selection": (lambda: x().at[0].set(np.ones(4)), ValueError, "fit|broadcast"),
    "batch norm of one value": (
        lambda: tg.batch_norm(tg.ones((3,)), tg.ones((3,)), tg.ones((3,))),
        ValueError,
        "batch axis",
    ),
    "batch norm of integers": (
        lambda: tg.batch_norm(tg.ones((2, 3), dtype="int64"), tg.ones((3,)), tg.ones((3,))),
        TypeError,
        "float input.*astype",
    ),
    "batch norm of wrong gamma": (
        lambda: tg.batch_norm(x(), tg.ones((2,)), tg.ones((3,))),
        ValueError,
        r"gamma must be float of shape \(3,\)",
    ),
    "batch norm of integer gamma": (
        lambda: tg.batch_norm(x(), tg.ones((3,), dtype="int64"), tg.ones((3,))),
        ValueError,
        "gamma must be float",
    ),
    "permutation of fewer than none": (lambda: tg.random.permutation(-1), (ValueError, TypeError), None),
    "a trace of text": (lambda: tg.trace(lambda t: "text", tg.f32[2]), TypeError, "returns tensors"),
    "a spec below zero": (lambda: tg.spec((-1,)), ValueError, "non-negative"),
    "trees of other structure": (lambda: tg.tree_map(lambda a, b: a, {"a": 1}, {"b": 1}), ValueError, "structure"),
}


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("name", list(CASES))
def test_bad_input(name: str) -> None:
    call, kind, message = CASES[name]
    with pytest.raises(kind, match=message):
        call()
    # the next computation is right
    t = tg.tensor([1.0, 2.0], requires_grad=True)
    (t * t).sum().backward()
    assert t.grad.tolist() == [2.0, 4.0] and tg.is_grad_enabled() and not tg.is_tracing()


@pytest.mark.parametrize(
    "name",
    [
        "shapes that do not broadcast",
        "matmul of wrong shapes",
        "matmul the other way",
        "reshape",
        "reshape twice -1",
        "reshape by floats",
        "axis",
        "axis of a number",
        "axis twice",
        "concatenate",
        "concatenate nothing",
        "concatenate numbers",
        "concatenate one tensor",
        "split",
        "split by fractions",
        "squeeze",
        "transpose",
        "broadcast_to",
        "pad",
        "a condition of floats",
        "clip the wrong way round",
        "None",
        "text",
        "complex",
        "too many indices",
        "an unknown argument",
        "a missing attribute",
        "a wrong implementation",
        "batch norm of integers",
        "batch norm of wrong gamma",
        "one-hot integers",
        "values that do not fit a selection",
        "integers with gradients",
    ],
)
def test_bad_input_in_a_trace(name: str) -> None:
    """The same at definition, before there are numbers."""
    call, kind, message = CASES[name]
    with pytest.raises(kind, match=message):
        tg.trace(lambda t: (call(), t)[1], tg.f32[2])
    assert not tg.is_tracing()


def test_messages_are_one_paragraph() -> None:
    for call, kind, _ in CASES.values():
        with pytest.raises(kind) as caught, np.errstate(all="ignore"):
            call()
        text = str(caught.value)
        assert 0 < len(text) < 500 and "\n" not in text.strip(), text


def test_an_axis_that_is_not_there_is_numpys_error_with_our_words() -> None:
    x = tg.ones((2, 3))
    for call in (
        lambda: tg.sum(x, axis=2), lambda: tg.expand_dims(x, axis=-4), lambda: x.max(axis=-3),
        lambda: np.sum(x, axis=2), lambda: tg.moveaxis(x, 5, 0), lambda: tg.stack([x, x], axis=4),
        lambda: tg.linalg.norm(x, axis=2),
        lambda: tg.trace(lambda x: x.sum(axis=2), x), lambda: tg.average(x, axis=2),
    ):  # fmt: skip
        with pytest.raises(
            np.exceptions.AxisError, match=r"axis -?\d is out of range for \d dimensions: expected"
        ) as info:
            call()
        assert isinstance(info.value, ValueError) and isinstance(info.value, IndexError)
        assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)
