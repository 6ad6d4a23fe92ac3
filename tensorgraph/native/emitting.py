"""LLVM's text into machine code; run by its path it does so for the process that started it.

LLVM serves one thread of a process at a time, so that two processors need two processes. The program imports llvmlite
and nothing of this package, as it should be there within a tenth of a second.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

__all__ = ["emitted", "read", "target_of", "write"]

LEVEL = 2  # of LLVM's passes
LONG = 30_000  # characters of a text whose loops are written out as far as it pays: LLVM would do so once more
LENGTH = struct.Struct("<Q")


def target_of(binding: Any, cpu: str, features: str) -> Any:
    """What emits objects for a processor."""
    triple = binding.Target.from_default_triple()
    return triple.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default")


def emitted(binding: Any, target: Any, text: str) -> bytes:
    """The object of a module's text."""
    module = binding.parse_assembly(text)
    module.verify()
    is_long = len(text) > LONG
    options = binding.create_pipeline_tuning_options(speed_level=1 if is_long else LEVEL)
    options.loop_unrolling = not is_long
    builder = binding.create_pass_builder(target, options)
    if is_long:  # half of the passes, for the same inner loops
        manager = builder.getFunctionPassManager()
        for function in module.functions:
            if not function.is_declaration:
                manager.run(function, builder)
    else:
        builder.getModulePassManager().run(module, builder)
    return bytes(target.emit_object(module))


def read(stream: Any) -> bytes | None:
    """The next message; None where the other side has ended."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    data: bytes = stream.read(size)
    return data if len(data) == size else None


def write(stream: Any, data: bytes) -> None:
    """Send a message."""
    stream.write(LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def main(folder: str, cpu: str, features: str) -> None:
    """Answer texts by objects until there are no more; `folder` is that in which llvmlite lies."""
    sys.path.append(folder)
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = target_of(binding, cpu, features)
    write(sys.stdout.buffer, b"ready")
    while (text := read(sys.stdin.buffer)) is not None:
        write(sys.stdout.buffer, emitted(binding, target, text.decode()))


if __name__ == "__main__":
    main(*sys.argv[1:])
