"""Compiled code that hands blocks of a kernel's rows to threads which wait for them in compiled code.

A thread that sleeps in the operating system, or waits for the interpreter's lock, comes 20 to 60 microseconds late: as
much as half of a kernel may take. So all that passes between the threads of one call are a few words of memory, and
a thread that has helped looks at them for about a tenth of a millisecond more, giving the processor away whenever
somebody else wants it, before it goes back to sleep. It then finds the kernel's next stage, or the next kernel, at
once. The thread that calls takes blocks itself and needs nobody: one that comes late, or never, costs nothing.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

__all__ = ["ASLEEP", "LOOKS", "STATE", "STOP", "WORDS", "lead_of", "serve_of", "short_digest", "version"]

# positions in the words that the threads share; what different threads write is kept in different cache lines
STATE, DONE, JOB, ASLEEP, STOP, EPOCH, WORDS = 0, 8, 16, 32, 40, 48, 64
# a job: its entry, its arguments, its stage, its rows, the rows of a block, the number of blocks
ENTRY, ARGS, STAGE, ROWS, STEP, COUNT = (JOB + i for i in range(6))
# looks at the words before a thread goes back to sleep. The first take a tenth of a microsecond each, so that it is
# there for a kernel that follows at once also where others want the processor; the later ones, in which it lets others
# go first, about half a microsecond
LOOKS, NEAR = 300, 160

_made: dict[str, Any] = {}


def short_digest(text: str, size: int) -> str:
    """Hexadecimal digits for the names of what is kept on disk."""
    import hashlib  # loads the system's cryptography, which importing has no need of

    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def _symbols() -> str:
    """The name under which compiled code finds the operating system's call to give the processor away."""
    import llvmlite.binding

    name = "tensorgraph_yield"
    if os.name == "nt":
        function = ctypes.WinDLL("kernel32").SwitchToThread  # type: ignore[attr-defined]
    else:
        function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    llvmlite.binding.add_symbol(name, address)
    return name


def _parts(numba: Any) -> dict[str, Any]:
    """Intrinsics over shared words, and the loops written with them."""
    # Each inner function is the type and the code of one intrinsic: `look`, `put`, `add`, `swap` are a load, a store, a
    # sum and an exchange of a shared word, whole and in order for all threads; `pause` tells the processor that we
    # wait; `invoke` calls a compiled block by its address; `keep` gives the address of its arguments. LOOPS is text,
    # for the names of constants and intrinsics are bound here, in a scope of its own, and what compiles is what is
    # called most.
    if _made:
        return _made
    import llvmlite.binding
    import llvmlite.ir
    from numba.core import cgutils
    from numba.extending import intrinsic

    types = numba.types
    word, none = types.int64, types.none
    quad = (word, word, word, word)
    native = llvmlite.ir.IntType(64)
    nothing = llvmlite.ir.FunctionType(llvmlite.ir.VoidType(), [])

    def at(builder: Any, base: Any, index: Any) -> Any:
        return builder.gep(builder.inttoptr(base, native.as_pointer()), [index])

    def look(typing: Any, base: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load_atomic(at(builder, *args), "acquire", 8)

        return word(word, word), code

    def put(typing: Any, base: Any, index: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store_atomic(args[2], at(builder, *args[:2]), "release", 8)
            return context.get_dummy_value()

        return none(word, word, word), code

    def add(typing: Any, base: Any, index: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.atomic_rmw("add", at(builder, *args[:2]), args[2], "seq_cst")

        return word(word, word, word), code

    def swap(typing: Any, base: Any, index: Any, old: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pair = builder.cmpxchg(at(builder, *args[:2]), args[2], args[3], "seq_cst", "seq_cst")
            return builder.extract_value(pair, 1)

        return types.boolean(*quad), code

    def pause(typing: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            triple = llvmlite.binding.get_process_triple()
            if triple.startswith(("x86_64", "i686")):
                hint = cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause")
                builder.call(hint, [])
            elif triple.startswith(("aarch64", "arm64")):
                number = llvmlite.ir.IntType(32)
                kind = llvmlite.ir.FunctionType(llvmlite.ir.VoidType(), [number])
                builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint"), [number(1)])
            return context.get_dummy_value()

        return none(), code

    def invoke(typing: Any, entry: Any, args: Any, stage: Any, lo: Any, hi: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = context.call_conv.get_function_type(none, quad)
            function = builder.inttoptr(values[0], kind.as_pointer())
            status, _ = context.call_conv.call_function(builder, function, none, quad, values[1:])
            return builder.zext(status.is_error, native)

        return word(*quad, word), code

    def keep(typing: Any, args: Any) -> Any:
        """The address of a copy of the arguments on the stack of the function that calls."""

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            place = cgutils.alloca_once_value(builder, values[0])
            return builder.ptrtoint(place, native)

        return word(args), code

    scope: dict[str, Any] = {f.__name__: intrinsic(f) for f in (look, put, add, swap, pause, invoke, keep)}
    scope.update({name: value for name, value in globals().items() if name.isupper() and isinstance(value, int)})
    scope["give_way"] = types.ExternalFunction(_symbols(), types.int32())
    scope["__name__"] = __name__
    exec(compile(LOOPS, __file__, "exec"), scope)
    scope["_take"] = numba.njit(nogil=True)(scope["_take"])
    scope["_run"] = numba.njit(nogil=True)(scope["_run"])
    _made.update(scope)
    return _made


# The state is the number of the job, above how many of its blocks were taken from the front, above how many from the
# back. A block is taken by exchanging the state for the next one, which fails where anything has changed since, so
# that what was read of the job was read of this one.
LOOPS = '''
def _take(words, front):
    """Run one block of the present job; False where none is left."""
    while True:
        state = look(words, STATE)
        first, last = (state >> 16) & 0xFFFF, state & 0xFFFF
        entry, args, stage = look(words, ENTRY), look(words, ARGS), look(words, STAGE)
        rows, step, count = look(words, ROWS), look(words, STEP), look(words, COUNT)
        if first + last >= count:
            return False
        if swap(words, STATE, state, state + (0x10000 if front else 1)):
            block = first if front else count - 1 - last
            if stage == 8:
                # each thread begins with what it had last in the stage before, which may still be in the cache
                middle = count >> 1
                block = middle - 1 - block if block < middle else count - 1 - (block - middle)
            lo = block * step
            wrong = invoke(entry, args, stage, lo, min(lo + step, rows))
            # the count of blocks that have ended, above which the failed ones are counted
            add(words, DONE, 1 + (wrong << 32))
            return True


def _run(words, entry, args, rows, step, staged):
    """Run all stages of a job together with the threads that wait; how many blocks failed."""
    failed = 0
    for stage in range(4 if staged else 1):
        if staged and stage % 2 == 0:
            failed += invoke(entry, args, 1 << stage, 0, rows)
            continue
        count = (rows + step - 1) // step
        # closed while it changes: more blocks were taken than any job has
        epoch = (look(words, EPOCH) + 1) & 0x7FFFFFFF
        put(words, EPOCH, epoch)
        put(words, STATE, (epoch << 32) + 0xFFFFFFFF)
        put(words, ENTRY, entry)
        put(words, ARGS, args)
        put(words, STAGE, 1 << stage)
        put(words, ROWS, rows)
        put(words, STEP, step)
        put(words, COUNT, count)
        put(words, DONE, 0)
        put(words, STATE, epoch << 32)
        while _take(words, True):
            pass
        looks = 0
        while (look(words, DONE) & 0xFFFFFFFF) < count:
            looks += 1
            for i in range(8):
                pause()
            if looks > 16:
                give_way()
        failed += look(words, DONE) >> 32
    return failed


def serve(words, looks, woken):
    """Take blocks of whatever job is there; back when there was none for a while, or at the end."""
    address = words.ctypes.data
    add(address, ASLEEP, -woken)
    idle = 0
    while idle < looks and look(address, STOP) == 0:
        if _take(address, False):
            idle = 0
        else:
            idle += 1
            for i in range(8):
                pause()
            if idle > NEAR:
                give_way()
    add(address, ASLEEP, 1)
'''


def version() -> str:
    """Part of the name of what is kept in Numba's cache; the number is to be raised with a change of the functions."""
    return "2" + short_digest(LOOPS, 4)


def serve_of(numba: Any) -> Any:
    """What a helping thread runs, ``serve(words, looks, woken)``, to be compiled."""
    return _parts(numba)["serve"]


def lead_of(numba: Any, dispatcher: Any, name: str, count: int, staged: bool, file: str) -> Any:
    """What the calling thread runs, ``lead(words, rows, step, *args)``, for a kernel of `count` arguments.

    Numba's dispatcher takes several times as long to unpack a tuple, so each argument has a name of its own.
    """
    import llvmlite.ir
    from numba.core.imputils import impl_ret_borrowed
    from numba.extending import intrinsic

    word = numba.types.int64
    quad = (word,) * 4

    def locate(typing: Any, args: Any) -> Any:
        """The address of a function ``(args, stage, lo, hi)`` that calls the kernel with arguments kept in memory."""

        def fetch(typing: Any, address: Any) -> Any:
            def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                kind = context.get_value_type(args)
                value = builder.load(builder.inttoptr(values[0], kind.as_pointer()))
                return impl_ret_borrowed(context, builder, args, value)

            return args(word), code

        fetch_args = intrinsic(fetch)

        def plain(address: Any, stage: Any, lo: Any, hi: Any) -> None:
            dispatcher(*fetch_args(address), lo, hi)

        def several(address: Any, stage: Any, lo: Any, hi: Any) -> None:
            dispatcher(*fetch_args(address), stage, lo, hi)

        function = several if staged else plain
        # what is kept in the cache by different processes may meet in one, so no two of them may have the same name
        own = short_digest(str(args), 8)
        function.__name__ = function.__qualname__ = f"entry_{name}_{own}"
        entry = numba.njit(nogil=True)(function)
        entry.compile(quad)
        compiled = entry.overloads[quad]

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            context.add_linking_libs([compiled.library])
            function = context.declare_function(builder.module, compiled.fndesc)
            return builder.ptrtoint(function, llvmlite.ir.IntType(64))

        return word(args), code

    names = ", ".join(f"a{i}" for i in range(count))
    source = (
        f"def {name}(words, rows, step, {names}):\n"
        f"    args = ({names},)\n"
        f"    return _run(words.ctypes.data, locate(args), keep(args), rows, step, {staged})\n"
    )
    scope = {**_parts(numba), "locate": intrinsic(locate)}
    exec(compile(source, file, "exec"), scope)
    return scope[name]
