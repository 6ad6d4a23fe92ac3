"""What public functions take, and what they say of the rest."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import data, nn
from tensorgraph.arguments import Count, checked


@pytest.mark.parametrize("flag", ["no", 1, None, [True], "True", np.float32(1)])
def test_flags_of_ops_are_booleans(flag) -> None:
    x = tg.ones((2, 3))
    for call in (tg.sum, tg.argmax, lambda a, **options: tg.trace(lambda b: tg.max(b, **options), a)):
        if flag is not None or call is tg.sum:
            with pytest.raises(TypeError, match=r"(sum|argmax|max): keepdims must be True or False, got"):
                call(x, keepdims=flag)
    assert tg.sum(x, axis=1, keepdims=np.True_).shape == (2, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tg.sum(x, dim=1), "sum has no argument 'dim'; write axis="),
        (lambda x: x.mean(1, keepdim=True), "mean has no argument 'keepdim'; write keepdims="),
        (lambda x: tg.transpose(x, dims=(1, 0)), "transpose has no argument 'dims'; write axes="),
        (lambda x: tg.softmax(x, dim=1), "softmax has no argument 'dim'; write axis="),
        (lambda x: tg.zeros((2,), device="cpu"), "zeros has no argument 'device'; everything runs on the CPU"),
        (lambda x: tg.one_hot([1], num_classes=2), "one_hot has no argument 'num_classes'; write classes="),
        (lambda x: tg.sum(x, something=1), "sum has no argument 'something'; it takes x, axis, keepdims, dtype"),
        (lambda x: tg.jit(abs), "not a function.*tensorgraph.trace"),
    ],
)
def test_keywords_of_others(call, message) -> None:
    with pytest.raises(TypeError, match=message):
        call(tg.ones((2, 3)))


def test_a_type_alone_is_a_dtype_and_a_number() -> None:
    x = np.zeros((4, 2))
    assert tg.zeros((2,), dtype=tg.f64).dtype == tg.f64
    assert tg.tensor([1.0]).astype(tg.f16).dtype == np.float16
    assert tg.tensor([1.0]).sum(dtype=tg.f64).dtype == np.float64
    assert tg.spec((2,), tg.i32) == tg.i32[2] and tg.Aval((), tg.u8) == tg.u8[()]
    assert np.zeros(2, tg.i16).dtype == np.int16
    assert nn.Linear(2, 3, dtype=tg.f64).weight.dtype == np.float64
    assert nn.init.ones((2,), tg.f64).dtype == tg.random.normal((2,), tg.f64).dtype == np.float64
    assert next(iter(data.Loader(x, dtype=tg.f64)))[0].dtype == np.float64
    assert tg.Parameter([1.0], tg.f64).dtype == tg.Buffer([1.0], tg.f64).dtype == np.float64
    graph = tg.trace(lambda x: tg.zeros((2,), dtype=tg.f64) + x, tg.f32)
    assert [v.aval for v in graph.inputs] == [tg.f32[()]] and tg.parse(str(graph)) == graph
    assert "scalar f32" in tg.draw(lambda x: x * 2, tg.f32).text()
    assert not tg.lint(lambda x: x * 2, tg.f32) and tg.explain_gradient(lambda x: x * 2, tg.f32)
    assert tg.trace(lambda a: a["x"] + a["n"], {"x": tg.f32, "n": tg.i64[3]}).outputs[0].aval == tg.f32[3]


def test_a_checked_function_is_like_its_own() -> None:
    @checked
    def repeat(text: str, times: Count = 2, *rest: int, sep: str = "") -> str:
        """Say it again."""
        return sep.join([text] * times) + str(rest)

    assert repeat("a") == "aa()" and repeat("a", np.int64(1), 3, sep="-") == "a(3,)"
    assert repeat.__doc__ == "Say it again." and repeat.__name__ == "repeat"
    with pytest.raises(ValueError, match=r"^repeat: times must be a positive integer, got 0$"):
        repeat("a", 0)
    with pytest.raises(TypeError, match=r"^repeat: rest\[1\] must be an integer, got 'b'$"):
        repeat("a", 1, 2, "b")
    with pytest.raises(TypeError, match=r"^repeat has no argument 'tims'; did you mean 'times'\?$"):
        repeat("a", tims=2)
    with pytest.raises(TypeError, match=r"^repeat needs the argument 'text'$"):
        repeat()
