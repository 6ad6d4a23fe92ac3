"""Kernels mean what Python means, or are refused with the line and the remedy."""

import numpy as np
import pytest

from tensorgraph.native import emitting, machine, objects
from tensorgraph.native.kernel import from_text, kernel
from tensorgraph.native.lowering import routine
from tensorgraph.native.sources import KernelError, tree_of
from tensorgraph.native.words import WORDS, ldm, stm, word_at

needs_code = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))

LANES = SIZE = SCALE = UNREAD = 0  # constants of kernels


@routine
def scaled_lines(source, target, n, is_added):
    """What is called and not put in place; from one routine to another, and with truth values."""
    for i in range(0, n, LANES):
        x = ldm(source + i * SIZE, n - i, 0.0) * SCALE
        if is_added > 0:
            x = x + ldm(target + i * SIZE, n - i, 0.0)
        stm(target + i * SIZE, x, n - i)


@routine
def twice(source, target, n):
    scaled_lines(source, target, n, False)
    scaled_lines(source, target, n, n > 0)


def calls_twice(w, block, blocks):
    twice(word_at(w, 0), word_at(w, 1), word_at(w, 2))


def calls_once(w, block, blocks):
    scaled_lines(word_at(w, 0), word_at(w, 1), n=word_at(w, 2) * UNREAD, is_added=0)


HEAD = "def apply(w, block, blocks):\n    p, q, n, m = [word_at(w, k) for k in static(4)]\n"


def lowered(body, dtype="float32", **constants):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return kernel(from_text(HEAD + lines, {**WORDS, "np": np}), dtype, **constants)


def both(body, n=0, m=0, dtype="float64", count=64, **options):
    """What a kernel leaves in its second array, by machine code and by the emulation; the first one is read."""
    x = (np.arange(count) - count // 2).astype(dtype) / 4
    k, results = lowered(body, dtype, **options), []
    for run in ("machine", "emulation"):
        out = np.zeros(count)
        words = np.array([x.ctypes.data, out.ctypes.data, n, m])
        if run == "machine":
            k.run(words)
        else:
            k.emulate(words, [x, out], width=machine.machine().width)
        results.append(out)
    return results


def same(body, n=0, m=0, **options):
    one, two = both(body, n, m, **options)
    np.testing.assert_array_equal(one, two, body)
    return two


# integers ------------------------------------------------------------------------------------------------------------


@needs_code
@pytest.mark.parametrize("divisor", ["m", "8", "-8", "3", "-3", "1", "LANES"])
def test_division_rounds_down_as_in_python(divisor):
    for n in (-17, -16, -9, -8, -1, 0, 1, 7, 8, 9, 1 << 40, -(1 << 40) - 1):
        for m in (-5, -1, 1, 5, 8):
            got = same(f"store_int(q, n // {divisor})\nstore_int(q + 8, n % {divisor})", n, m).view(np.int64)
            by = eval(divisor, {"m": m, "LANES": machine.machine().width // 8})
            assert (got[0], got[1]) == (n // by, n % by)
            if divisor != "m":
                break


@needs_code
def test_numbers_have_pythons_remainder():
    same("stm(q, ldm(p, 64, 0.0) % 3.0, 64)\nstm(q + 8 * LANES, ldm(p, 64, 0.0) % -2.5, 64)")
    same("store(q, real(n) % real(m))", -7, 3)


@needs_code
def test_shifts_and_bits():
    for n in (-5, 5, 1 << 62, -(1 << 63)):
        got = same("store_int(q, n >> m)\nstore_int(q + 8, n >> 1)\nstore_int(q + 16, (n & 255) << m)", n, 3)
        assert got.view(np.int64)[:3].tolist() == [n >> 3, n >> 1, (n & 255) << 3]
    same("store_int(q, ~n)\nstore_int(q + 8, -n)\nstore_int(q + 16, n ^ m | 12)\nstore_int(q + 24, abs(n))", -17, 6)


@needs_code
def test_min_and_max_are_pythons():
    for n, m in ((1, 2), (2, 1), (-3, -3)):
        same("store_int(q, min(n, m, 2))\nstore_int(q + 8, max(n, m))\nstore_int(q + 16, min([n, m]))", n, m)
    nan = "x = load(p)\nbad = (x - x) / (x - x)\n"
    got = same(nan + "store(q, min(bad, x))\nstore(q + 8, min(x, bad))\nstore(q + 16, max(bad, x))")
    assert np.isnan(got[[0, 2]]).all() and got[1] == -8


# what runs -----------------------------------------------------------------------------------------------------------


@needs_code
@pytest.mark.parametrize("bounds", ["n", "m, n", "n, m, -1", "m, n, 3", "n, m, -2", "m, n, m + 3", "n, m, 0 - 1 - m"])
def test_loops_go_as_pythons_range(bounds):
    for n, m in ((7, 0), (0, 0), (-2, 0), (5, -3)):
        if eval(bounds.rsplit(",", 1)[-1], {"n": n, "m": m}) == 0 and bounds.count(",") == 2:
            continue
        got = same(f"i = 0\ns = 0\nfor k in range({bounds}):\n    s = s * 3 + k\n    i += 1\nstore_int(q, s)\n", n, m)
        s = 0
        for k in eval(f"range({bounds})", {"n": n, "m": m}):
            s = s * 3 + k
        assert got.view(np.int64)[0] == s


@needs_code
def test_and_and_or_compute_what_follows_only_where_it_is_wanted():
    body = (
        "a = 0\nif n < 64 and load(p + 8 * n) > -100.0:\n    a = 1\nif n >= 64 or load(p + 8 * n) > 7.0:\n    a += 2\n"
    )
    for n, expected in ((63, 3), (0, 1), (64, 2), (1 << 40, 2)):  # the last ones would read far beyond the array
        assert same(body + "store_int(q, a)", n).view(np.int64)[0] == expected
    same("store_int(q, 1 if (n > 0 and LANES > 2) or m == 3 else 0)", 0, 3)
    same("store_int(q, 1 if LANES > 1000 or n > m and n < 5 else 0)", 4, 3)


@needs_code
def test_a_choice_computes_one_of_two():
    for n in (0, 3, 64, 1 << 40):
        same("store(q, load(p + 8 * n) if n < 64 else 2.5)\nstore_int(q + 8, 4 if n == 3 else m)", n, 9)


@needs_code
def test_branches_and_returns_that_are_known():
    text = "def choose(x, y):\n    if FIRST:\n        return x\n    return y\n"
    for first, expected in ((True, 5), (False, 6)):
        choose = from_text(text.replace("FIRST", str(first)), {})
        got = kernel(from_text(HEAD + "    store_int(q, choose(n, m))\n", {**WORDS, "choose": choose}), "float64")
        out = np.zeros(8)
        got.run(np.array([0, out.ctypes.data, 5, 6]))
        assert out.view(np.int64)[0] == expected


@needs_code
def test_a_name_that_both_branches_assign():
    for n in (-1, 1):
        same("if n > 0:\n    a = 2\n    b = load(p)\nelse:\n    a = 3\n    b = load(p + 8)\nstore(q, b * a)", n)
        same("a = 1.0\nif n > 0:\n    a = load(p)\nif n < 0:\n    pass\nelse:\n    a = a * 2.0\nstore(q, a)", n)
        same("if n > 0:\n    a = 1\nelif m > 0:\n    a = 2\nelse:\n    a = 3\nstore_int(q, a)", n, n + 1)


@needs_code
def test_names_of_comprehensions_are_their_own():
    same("k = 7\nk += n\nvalues = [load(p + 8 * k) for k in static(3)]\nstore_int(q, k)\nstore(q + 8, values[2])", 5)


@needs_code
def test_names_from_lists_are_values_and_not_their_places():
    same("pair = [load(p), load(p + 8)]\na, b = pair\npair[0] = 9.0\nstore(q, a)\nstore(q + 8, pair[0] + b)")
    same("pair = [1, n]\nfor i in range(m):\n    pair[1] = pair[0] + pair[1]\nstore_int(q, max(pair))", 4, 3)


@needs_code
def test_constants_of_equal_value_make_kernels_of_their_own():
    function = from_text(HEAD + "    store(q, load(p) / C)\n", WORDS)
    assert len({kernel(function, "float64", C=value) for value in (1, 1.0, True)}) == 3
    assert kernel(function, "float64", C=0.0) is not kernel(function, "float64", C=-0.0)


def test_only_helpers_are_contracted():
    from tensorgraph.ops.kernels.scalar import exp

    own = kernel(from_text(HEAD + "    st(q, ld(p) * 2.0 + 1.0)\n", WORDS), "float32").module(64)
    inside = kernel(from_text(HEAD + "    st(q, exp(ld(p)) * 2.0)\n", {**WORDS, "exp": exp}), "float32").module(64)
    assert "fmul <16 x float>" in own and "contract" not in own
    assert "fmul nsz arcp contract <16 x float>" in inside and "fmul <16 x float>" in inside


# refused -------------------------------------------------------------------------------------------------------------

REFUSED = {
    "x = 0\nx = load(p)": "x began as an integer and cannot become a float32: begin it as that",
    "x = 0\nfor i in range(n):\n    x += 1.5": "began as an integer and cannot become",
    "x = load(p)\nx = double(x)": "began as a float32 and cannot become a float64",
    "x = 0.0\nx = ld(p)": "began as a float32 and cannot become 16 lanes of float32: begin it as that, by vset",
    "x = n > 0\nx = n": "began as a truth value and cannot become an integer",
    "if n > 0:\n    y = load(p)\nstore(q, y)": "y may have no value here: it is assigned in one branch alone",
    "if n > 0:\n    y = 2\nstore(q, y)": "y may have no value here",
    "if n > 0:\n    y = 2\nelse:\n    store(q, y)": "y may have no value here: it is assigned in the other branch",
    "for i in range(n):\n    y = load(p)\nstore(q, y)": "y may have no value .* a loop that may run no times",
    "while n > block:\n    y = 2\nstore(q, y)": "y may have no value here",
    "for i in range(n):\n    pass\nstore_int(q, i)": "i may have no value here: it was the name of the loop",
    "for i in range(n):\n    y = z + 1\n    z = y": "z is read before it is assigned",
    "rows = []\nfor i in range(n):\n    rows = rows + [load(p)]": "the list rows is bound again",
    "rows = [n]\nif n > 0:\n    rows = [m]": "the list rows is bound again",
    "if n > 0:\n    return": "a return stands at the end of a function",
    "return\nn = 3": "nothing can follow a return",
    "x = ld(p) * iota()": "16 lanes of integer meet numbers: write real",
    "x = iota() / 2": "16 lanes of integer are divided by //",
    "x = n ** 2": "integers have no operator Pow; write products",
    "x = load(p) & 1": r"numbers have no operator BitAnd; integers have: .*bits\(x\)",
    "x = n << 64": "a shift goes by 0 to 63 places, not 64",
    "m1 = ld(p) > 0.0\nx = m1 + m1": "masks are joined by &, |",
    "x = not n": r"not is of one truth value, not of an integer; write x == 0",
    "x = ~load(p)": r"a float32 has no bits to turn; bits\(x\) has",
    "x = -(n > 0)": "masks and truth values have no sign",
    "if ld(p) > 0.0:\n    pass": "a condition is one truth value, not 16 lanes of truth value",
    "x = 1.0 if ld(p) > 0.0 else 2.0": "choose lane by lane with select",
    "x = (ld(p) > 0.0) and n > 0": "reduce a mask by any_lane",
    "if n:\n    pass": "a condition is one truth value, not an integer; compare",
    "x = min(ld(p), ld(q))": "min and max are of numbers; of lanes write least and most",
    "x = load(load(q))": r"expected an integer, got a float32; integer\(x\) makes one",
    "for i in range(load(p)):\n    pass": "expected an integer, got a float32",
    "for i in range(0, n, 0):\n    pass": "the step of range.* is not 0",
    "for i in static(n):\n    pass": "bounds of static.* known while lowering; use range",
    "for i in [1, 2]:\n    pass": "a loop goes over range",
    "for i in range(n):\n    pass\nelse:\n    pass": "and no else",
    "while LANES > 2:\n    pass": "this loop would never end or never begin: its condition is True",
    "while n > 0:\n    break": "no statement Break; let the loop's condition end it",
    "assert n > 0": "no statement Assert; check before the kernel runs",
    "rows = [1, 2]\nx = rows[n]": "by numbers that are known too; memory is read by ld",
    "x = n[0]": "only lists, tuples and arrays",
    "n[0] = 1.0": "only places of lists that have a name",
    "x = n.bit_length()": "values of kernels have no attributes, as .bit_length",
    "x = [i for i in range(3)]": "a list is made by one loop over static",
    "x, y = n": "2 names are assigned from a list or tuple of as many, not an integer",
    "x = {}": "kernels have no Dict",
    "x = unknown(n)": "unknown is not known here: it is no name of the function, no constant, and no word",
    "x = ld(p=p)": "words and helpers take their arguments by place",
    "store(q, ld(p))": "expected one number, got 16 lanes of float32; st and stm write lanes",
    "x = fma(n, n, m)": r"fma is of numbers; of integers write a \* b \+ d",
    "x = transposed([ld(p), ld(q)])": "a list of LANES vectors of one type, which are 16, not 2",
    "x = bits(n)": "bits takes numbers, not an integer",
    "x = from_bits(load(p))": "from_bits takes integers of 32 or 64 bits, not a float32",
    "x = bits(load(p)) + 5000000000": "5000000000 is no integer of 32 bits, from -2147483648 to 2147483647",
    "x = np.convolve(load(p), load(q))": "convolve has no meaning in kernels; docs/native.md has the words",
    "x = ld()": "missing 1 required positional argument",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_refused_names_the_line_and_the_remedy(body):
    with pytest.raises(KernelError, match=REFUSED[body]) as told:
        lowered(body).module(64)
    place, rest = str(told.value).split(": ", 1)
    assert place.startswith("<tensorgraph kernel ") and 3 <= int(place.split(":")[1]) <= 3 + body.count("\n"), (
        told.value
    )
    assert rest.endswith(f"(in the kernel {lowered(body).symbol})")


def test_a_name_of_the_function_around_is_refused():
    width = 3

    def apply(w, block, blocks):
        return w + width

    with pytest.raises(KernelError, match="width belongs to the function around this one; give its value to kernel"):
        kernel(apply, "float32").module(64)


def test_a_file_that_was_edited_after_its_import_is_refused(tmp_path, monkeypatch):
    import importlib.util
    import linecache

    monkeypatch.setattr(linecache, "cache", {})  # the lines of generated functions are nowhere else
    path = tmp_path / "edited.py"
    path.write_text(
        "def apply(w, block, blocks):\n    return 1 + w\n\n\nfirst, second = lambda x: x + 1, lambda x: x + 2\n"
    )
    spec = importlib.util.spec_from_file_location("edited", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert [tree_of(f).body[0].value.right.value for f in (module.first, module.second)] == [1, 2]
    path.write_text("# a line more\ndef apply(w, block, blocks):\n    return 1 - w\n")
    linecache.clearcache()
    with pytest.raises(KernelError, match="another than what was imported; start Python anew"):
        tree_of(module.apply)
    path.unlink()
    linecache.clearcache()
    with pytest.raises(KernelError, match="cannot be read"):
        tree_of.__wrapped__(module.apply)


def test_digests_tell_apart_what_kernels_read():
    extra = "def inner(x):\n    return x * C\n"
    body = HEAD + "    rows = [inner(load(p + k)) for k in static(2)]\n    store(q, rows[0])\n"
    inner = [from_text(extra.replace("C", c), {"np": np}) for c in ("2.0", "2.5", "np.pi")]
    inner += [from_text(extra, {"C": c}) for c in (2, np.float32(2), 3.0)]
    kernels = [kernel(from_text(body, {**WORDS, "inner": f}), dtype) for f in inner for dtype in ("float32", "float64")]
    assert len({k.digest for k in kernels}) == 12


def test_a_kernel_is_a_function_of_floats():
    for function, dtype in ((len, "float32"), (lambda w, block, blocks: None, "float16")):
        with pytest.raises(TypeError, match=f"for float32 or float64, not .* for {dtype}"):
            kernel(function, dtype)


# routines ------------------------------------------------------------------------------------------------------------


def test_kernels_that_differ_elsewhere_have_the_same_routines():
    one, other, third = (kernel(calls_twice, "float32", SCALE=s, UNREAD=u) for s, u in ((3, 1), (3, 2), (4, 1)))
    assert one is not other and one.routines == other.routines != third.routines
    assert {r.name: r.constants for r in one.routines} == {"twice": {"SCALE": 3}, "scaled_lines": {"SCALE": 3}}
    assert set(kernel(calls_once, "float32", SCALE=3, UNREAD=1).routines) < set(one.routines)
    assert set(kernel(calls_twice, "float64", SCALE=3).routines).isdisjoint(one.routines)


@needs_code
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_routines_are_called_as_they_are_in_python(dtype, width):
    if width > machine.machine().width:
        pytest.skip("this processor has no such vectors")
    x = np.arange(37, dtype=dtype)
    # what was linked before is found by what comes later, and both are held apart from what has other constants
    for text, times, scale in ((calls_once, 1, 5.0), (calls_twice, 2, 5.0), (calls_twice, 2, 7.0)):
        k, out = kernel(text, dtype, SCALE=scale, UNREAD=1), np.zeros_like(x)
        words = np.array([x.ctypes.data, out.ctypes.data, 37])
        objects.call(objects.entries([k], width)[0], words.ctypes.data, 0, 1)
        np.testing.assert_array_equal(out, x * times * scale)
        seen = np.zeros_like(x)
        k.emulate(words - [0, out.ctypes.data - seen.ctypes.data, 0], [x, seen], width=width)
        np.testing.assert_array_equal(seen, out)


def test_a_routine_takes_integers():
    k = kernel(
        from_text(HEAD + "    scaled_lines(p, q, 1.5, False)\n", {**WORDS, "scaled_lines": scaled_lines}), "float32"
    )
    with pytest.raises(KernelError, match=r"expected an integer, got 1\.5"):
        k.module(32)


@needs_code
def test_long_texts_mean_what_short_ones_do():
    body = "\n".join(f"stm(q + {8 * k}, ldm(p + {8 * k}, n, 0.0) * 3.0, n)" for k in range(300))
    k = lowered(body, "float64")
    assert len(k.module()) > emitting.LONG > len(lowered("pass").module())
    x, out = np.arange(310.0), np.zeros(310)
    k.run(np.array([x.ctypes.data, out.ctypes.data, 4, 0]))
    np.testing.assert_array_equal(out, np.where(np.arange(310) < 303, 3 * x, 0))
