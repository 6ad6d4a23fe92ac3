"""What public functions take, and what they say of the rest."""

import contextlib
import inspect
import itertools
import sys
import threading

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import data, nn, optim, train
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
    assert tg.profile(lambda x: x * 2, tg.f32, repeats=1).made == ("x",)
    assert not tg.find_faults(lambda x: x * 2, tg.f32)
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tg.clip_norm([tg.ones(3)], -1.0), r"clip_norm\(.*limit must be a positive number, got -1.0"),
        (lambda: tg.clip_norm([tg.ones(3)], float("nan")), "limit must be a positive number, got nan"),
        (lambda: tg.trace(lambda a: tg.clip_norm([a], 0.0), tg.f32[3])(tg.ones(3)), "limit must be a positive number"),
        (lambda: tg.one_hot([0.5, 1.0], 3), r"one_hot\(.*labels must be integers, got float32"),
        (lambda: tg.trace(lambda a: tg.one_hot(a, 3), tg.f32[2]), "labels must be integers, got float32"),
        (lambda: tg.ones(3).astype(None), "expected a dtype such as .* got None"),
        (lambda: tg.stack(None), "stack: input 'arrays' .*: expected a list of tensors, got NoneType"),
        (lambda: tg.exp(10**30), "exp.*: expected numbers"),
        (lambda: tg.add([[1.0], [1.0, 2.0]], 1.0), "add: input 'a' .*: expected numbers in a regular nesting"),
        (lambda: tg.getitem(tg.ones(3), [], key=itertools.count()), "getitem: key must be a tuple, got a count"),
        (lambda: nn.Linear(10**30, 2), "Linear: inputs must be a positive integer, got 1000.*; there are never more"),
        (lambda: optim.SGD(p for p in itertools.repeat(tg.Parameter([1.0]))), "SGD: parameters .* to have no end"),
        (lambda: train.fit(lambda a: a, ([[1.0]], [0]), optimizer=None, epochs=1, early_stop=0), "fit: optimizer must"),
        (lambda: data.minibatches([1.0], batch_size=0), "^minibatches: batch_size must be a positive integer, got 0"),
        (lambda: optim.by_hand({0.1, 0.2}), "by_hand: rates must be a sequence .* a set has no order"),
        (lambda: nn.Sequential(nn.ReLU), r"Sequential: expected a layer, got the class ReLU; write ReLU\(\)"),
        (lambda: data.Loader(np.ma.masked_array([1.0], [True])), "Loader: .* is a masked array.*array.filled"),
        (
            lambda: setattr(data.Loader([1.0]), "epoch", 0.5),
            "Loader.epoch: value must be a non-neg.*, got 0.5",
        ),
        (lambda: setattr(optim.SGD(nn.Linear(2, 2)), "lr", [0.1]), "SGD: lr must be a finite number that is not neg"),
        (lambda: nn.Sequential(nn.ReLU())["0"], "Sequential.__getitem__: index must be an integer or a slice, got '0'"),
        (lambda: nn.Linear(2, 2)({1.0}), "Linear: x: expected numbers, got set"),
        (lambda: tg.grad(abs)("x"), "abs: argument 0: expected numbers, got str"),
        (lambda: optim.SGD(params=nn.Linear(2, 2)), "SGD has no argument 'params'; write parameters="),
        (lambda: train.fit(nn.Linear(2, 2), n_epochs=3), "fit has no argument 'n_epochs'; write epochs="),
        (lambda: nn.init.he_normal((2, 2), gain="a"), "^he_normal: gain must be a finite number, got 'a'"),
        (lambda: nn.init.normal((2, 2), std=-1.0), "^normal: std must be a finite number that is not negative, got -1"),
        (lambda: nn.init.uniform((2, 2), generator=3), "uniform: generator must be a tensorgraph.random.Generator or"),
        (lambda: nn.init.normal((2, 2), stddev=0.1), "normal has no argument 'stddev'; write std="),
        (lambda: optim.Adam(nn.Linear(2, 2), lr=0.1, name=b"adam"), "Adam: name must be a str .* value.decode"),
    ],
)
def test_the_function_that_was_called_is_named(call, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_errors_of_the_users_functions_stay_as_they_are() -> None:
    def loss(outputs, y):
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        train.evaluate(lambda a: a, ([[1.0]], [0]), loss=loss, metrics=())


def test_no_room_names_the_function() -> None:
    with pytest.raises(MemoryError, match=r"^zeros: Unable to allocate"):
        tg.zeros(10**17)
    with pytest.raises(MemoryError, match=r"^Linear: Unable to allocate"):
        nn.Linear(10**17, 2, weight_init="zeros")


def test_a_checked_function_may_be_called_first_from_many_threads() -> None:
    @checked
    def add(a: int, b: Count = 2, *, c: int = 3) -> int:
        return a + b + c

    together = threading.Barrier(8)
    results = []

    def call() -> None:
        together.wait()
        results.append(add(1))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [6] * 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: tg.stack(x, x),
            r"stack: axis is a static .* tensor f32\[3\]; .* as one list: stack\(\[a, b\]\)",
        ),
        (lambda x: tg.max(x, x), "max: axis is a static Python value, got a tensor.*tensorgraph.maximum"),
        (lambda x: x.sum(x), "sum: axis is a static Python value, got a tensor"),
        (lambda x: x.sum([0, x]), "sum: axis is a static Python value, got a tensor"),
        (lambda x: x.sum((0, x)), r"sum\(.*: axis must be an integer, got tensor"),
        (lambda x: x.reshape(x), "reshape: shape is a static Python value, got a tensor"),
        (lambda x: tg.polygamma(1, x), "polygamma: n is a static Python value, got a tensor"),
        (
            lambda x: tg.full((2,), x),
            "full: value is a static .*, got a tensor.*where a gradient should flow",
        ),
        (lambda x: tg.softmax(x, axis=x, impl="composed"), "softmax: axis is a static Python value, got a tensor"),
        (lambda x: tg.trace(lambda a: tg.max(a, a), x), "max: axis is a static Python value, got a tensor"),
    ],
)
def test_attributes_that_are_tensors_name_op_and_argument(call, message) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        call(tg.ones(3))


def test_an_attribute_that_is_a_traced_number_is_named() -> None:
    with pytest.raises(tg.TraceError, match=r"^sum: axis is a static Python value: it needs numbers, but n: int is"):
        tg.trace(lambda x, n: tg.sum(x, n), tg.ones(3), 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tg.reshape(x, 3, 2), r"reshape takes 2 arguments \(x, shape\), got 3; write reshape\(x, \(3, 2\)\)"),
        (lambda x: tg.transpose(x, 0, 1), r"transpose takes 2 .*write transpose\(x, \(0, 1\)\)"),
        (lambda x: tg.zeros(2, 3, 4), r"zeros takes 2 arguments \(shape, dtype\), got 3; write zeros\(\(2, 3, 4\)\)"),
        (lambda x: tg.concatenate(x, x, x), r"concatenate takes 2 .* got 3; .* as one list: concatenate\(\[a, b\]\)"),
        (lambda x: tg.softmax(x, 1, 2, 3), r"softmax takes 2 arguments \(x, axis\), got 4"),
        (lambda x: x.sum(0, False, None, 1), r"sum takes 4 arguments \(x, axis, keepdims, dtype\), got 5"),
        (lambda x: tg.softmax(), "softmax is missing its input 'x'; it takes x, axis"),
        (lambda x: tg.batch_norm(x), "batch_norm is missing its input 'gamma'"),
        (lambda x: tg.stack(axis=1), "stack is missing its input 'arrays'"),
        (lambda x: tg.sum(axis=1), "sum is missing its input 'x'"),
        (
            lambda x: train.fit(x, x, x),
            r"fit takes 2 arguments by position \(model, data\), got 3; .* in optimizer=",
        ),
        (lambda x: tg.vmap(abs, 1, 2, 3, 4), r"vmap takes \d arguments? by position \(function.*, got 5"),
        (
            lambda x: tg.tensor(1, 2, 3, 4),
            r"tensor takes 3 arguments by position \(data, dtype, .*\), got 4",
        ),
        (lambda x: nn.Linear(*range(1, 12)), r"Linear takes 3 arguments by position \(.*\), got 11; .* by name"),
        (lambda x: tg.graph(x, x), r"graph takes 1 argument by position \(tensors\), got 2"),
    ],
)
def test_arguments_are_counted_truly(call, message) -> None:
    for _ in range(2):  # the first call prepares
        with pytest.raises(TypeError, match=f"^{message}"):
            call(tg.ones(6))
    with pytest.raises(TypeError, match=f"{message}"):
        tg.trace(call, tg.ones(6))


def nested(kind: type, depth: int = 5_000) -> object:
    value: object = kind()
    for _ in range(depth):
        value = kind([value])
    return value


def test_a_call_deep_in_a_recursion_is_not_blamed_for_it():
    def dive(x):
        try:
            return dive(x)
        except RecursionError:
            return x.reshape((3, 1)).sum(axis=(0, 1))

    def sink(x):
        return sink(x.reshape((3, 1)).reshape((3,)))

    def sought(n):
        return optim.Adam([tg.Parameter(tg.ones(3))], lr=0.1) if n == 0 else sought(n - 1)

    assert dive(tg.ones(3)).item() == 3
    for call in (lambda: sink(tg.ones(3)), lambda: tg.trace(sink, tg.ones(3))):
        with pytest.raises(RecursionError):
            call()
    depth = sys.getrecursionlimit() - len(inspect.stack())
    for n in range(depth - 40, depth):
        with contextlib.suppress(RecursionError):
            sought(n)


GRAPH = "def f(x: f32[3]): return x * 2.0"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tg.reshape(x, nested(list)), "reshape: shape is nested too deep"),
        (lambda x: tg.reshape(x, nested(tuple)), "reshape.*: (an argument|a shape) is nested too deep"),
        (lambda x: tg.ones(nested(tuple)), "ones.*: (an argument|a shape) is nested too deep"),
        (lambda x: tg.zeros(3, dtype=nested(list)), "zeros: dtype is nested too deep"),
        (lambda x: tg.tensor([1.0], dtype=nested(list)), "tensor: .*(nested too deep|got a list of 1)"),
        (lambda x: tg.spec((2,), nested(list)), "spec: .*(nested too deep|got a list of 1)"),
        (lambda x: tg.draw(abs, x, overlay=nested(list)), "draw: overlay must be one of .* got a list of 1"),
        (lambda x: tg.draw(abs, x, overlay=np.array(["a", "b"])), "overlay must be one of .* got an ndarray of shape"),
        (lambda x: nn.GraphModule(GRAPH, arrays=np.array(["a", "b"])), r"arrays\[0\] must be an array of numbers"),
        (lambda x: tg.parse(GRAPH, arrays=np.array(["a", "b"])), r"parse: arrays\[0\] must be an array of numbers"),
        (lambda x: tg.parse(GRAPH).batched(3, in_dims=np.True_), "batched: in_dims must be an integer, a sequence"),
        (lambda x: tg.parse(GRAPH).batched(3, in_dims="a"), "batched: in_dims must be an integer, a sequence"),
        (lambda x: tg.parse(GRAPH).batched(3, in_dims=[0.5]), r"batched: in_dims\[0\] must be an integer or None"),
        (lambda x: tg.parse(GRAPH).batched(3, in_dims=np.array(["2020"], "M8[Y]")), r"in_dims\[0\] must be an integer"),
        (lambda x: data.read_csv(__file__, encoding="a\0b"), r"read_csv: encoding must be .*, got 'a\\x00b'"),
        (lambda x: train.save("\ud800", nn.Linear(2, 2)), "save: path must be a path .* no file has such a name"),
        (lambda x: train.load("\ud800", nn.Linear(2, 2)), "load: path must be a path .* no file has such a name"),
        (lambda x: data.write_idx("\ud800", np.zeros(3, np.uint8)), "path must be a path .* no file has such a name"),
    ],
)
def test_what_is_wrong_in_odd_ways_is_told(call, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        call(tg.ones(3))
    assert type(caught.value) in (TypeError, ValueError)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, many: x.reshape(many), lambda x, many: tg.full((2,), many), lambda x, many: tg.split(x, many),
        lambda x, many: tg.pad(x, many), lambda x, many: tg.polygamma(many, x), lambda x, many: tg.sum(x, "a" * 9**6),
        lambda x, many: nn.BatchNorm(3, momentum=many), lambda x, many: tg.vjp(tg.exp, x)[1](many),
        lambda x, many: tg.gradients(x.sum(), [x], grad_outputs=many), lambda x, many: tg.zeros(3, dtype=many),
    ],
)  # fmt: skip
def test_no_message_prints_all_of_a_long_list(call) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        call(tg.tensor([1.0, 2.0, 3.0], requires_grad=True), list(range(10**5)))
    assert len(str(caught.value)) < 2_000


def test_the_values_of_a_dict_are_a_sequence() -> None:
    assert nn.init.fans({"a": 4, "b": 3}.values()) == (4, 3)
    parts = data.split(np.zeros((10, 2)), fractions={"a": 0.5, "b": 0.5}.values(), seed=0)
    assert len(parts) == 2


@pytest.mark.parametrize("call", [lambda x, s: x * tg.tensor([s]), lambda x, s: x + [s, s, s]])
def test_a_list_of_traced_numbers_is_told_from_gradients(call) -> None:
    with pytest.raises(
        TypeError, match=r"a Python number that is traced \(s: float\) is not an array; .*stack"
    ) as caught:
        tg.trace(call, tg.ones(3), 2.0)
    assert "detach" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: nn.ReLU()(x, 2), "^ReLU: too many positional arguments; it takes x$"),
        (lambda m, x: m(), "^Linear: missing a required argument: 'x'; it takes x$"),
        (lambda m, x: m(x, training=True), "^Linear: got an unexpected keyword argument 'training'; it takes x$"),
        (lambda m, x: x.numpy(force=True), r"^Tensor.numpy\(\) got an unexpected keyword argument 'force'"),
        (lambda m, x: optim.SGD(m, lr=0.1).zero_grad(set_to_none=True), "^SGD.zero_grad has no argument 'set_to_none'"),
    ],
)
def test_methods_are_called_what_the_user_calls_them(call, message) -> None:
    with pytest.raises(TypeError, match=message):
        call(nn.Linear(3, 2, seed=0), tg.ones((2, 3)))


def test_errors_inside_a_users_forward_stay_as_they_are() -> None:
    class Model(nn.Module):
        def forward(self, x):
            return abs(x, 2)

    with pytest.raises(TypeError, match=r"abs\(\) takes exactly one argument") as caught:
        Model()(tg.ones(3))
    assert "Model" not in str(caught.value)
