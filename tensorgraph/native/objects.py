"""Machine code of kernels: compiled by LLVM, kept on disk, linked into this process."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tensorgraph.native.machine import llvm, machine

if TYPE_CHECKING:
    from tensorgraph.native.kernel import Kernel

__all__ = ["Unit", "addresses", "call", "compiled", "entries"]

_lock = threading.RLock()
_state: dict[str, Any] = {}
_addresses: dict[str, int] = {}

_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_int64, ctypes.c_int64)


def _target() -> Any:
    if "target" not in _state:
        found = machine()
        _state["target"] = (
            llvm()
            .Target.from_default_triple()
            .create_target_machine(cpu=found.cpu, features=found.features, opt=3, reloc="pic", codemodel="default")
        )
        _state["engine"] = llvm().create_mcjit_compiler(llvm().parse_assembly(""), _state["target"])
    return _state["target"]


def compiled(text: str) -> bytes:
    """The object of a module's text."""
    binding, target = llvm(), _target()
    module = binding.parse_assembly(text)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    builder = binding.create_pass_builder(target, options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    return bytes(target.emit_object(module))


class Unit(NamedTuple):
    """One function in machine code: its symbol, and what writes LLVM's text of its module."""

    symbol: str
    text: Callable[[], str]


def addresses(units: Sequence[Unit]) -> list[int]:
    """Where functions are in memory; those that are new are compiled."""
    with _lock:
        fresh = [u for u in {u.symbol: u for u in units}.values() if u.symbol not in _addresses]
        if fresh:
            _target()
            engine = _state["engine"]
            for one in fresh:
                engine.add_object_file(llvm().ObjectFileRef.from_data(compiled(one.text())))
            engine.finalize_object()
            for one in fresh:
                _addresses[one.symbol] = engine.get_function_address(one.symbol)
        return [_addresses[u.symbol] for u in units]


def entries(kernels: Sequence[Kernel]) -> list[int]:
    """The addresses of kernels, those that are new compiled."""
    return addresses([Unit(k.symbol, k.module) for k in kernels])


def call(entry: int, words: int, block: int, blocks: int) -> None:
    """Run one block of a kernel at an address, without the interpreter's lock."""
    _PROTOTYPE(entry)(words, block, blocks)
