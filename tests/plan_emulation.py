"""Tapes that run as plain Python over the emulated vocabulary, every address checked: a plan needs no machine code."""

from typing import Any

import numpy as np
import pytest

from tensorgraph.compile import cell_memory, laying, native_runner
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.native.tape import HEAD

KERNELS: list[Any] = []
"""The kernels whose numbers stand for entries in tapes."""

RUNNERS: list[Any] = []
"""The one whose memory may be read and written."""


def entries(kernels: Any, width: Any = None) -> list[int]:
    """Numbers in the place of addresses of machine code."""
    KERNELS.extend(kernel for kernel in dict.fromkeys(kernels) if kernel not in KERNELS)
    return [1 + KERNELS.index(kernel) for kernel in kernels]


class EmulatedTape:
    """What `tensorgraph.native.tape.Tape` is, without machine code."""

    def __init__(self, records: Any) -> None:
        laid: list[int] = []
        self.starts = []
        for entry, words, blocks in records:
            self.starts.append(len(laid) + HEAD)
            laid += [entry, blocks, len(words), *words]
        self.words = np.array([*laid, 0], np.int64)

    def __len__(self) -> int:
        return len(self.starts)

    def position(self, record: int, word: int) -> int:
        return self.starts[record] + word

    def run(self) -> None:
        at = 0
        while self.words[at]:
            entry, blocks, count = (int(word) for word in self.words[at : at + HEAD])
            words = self.words[at + HEAD : at + HEAD + count]
            for block in reversed(range(blocks)):  # in any order
                KERNELS[entry - 1].emulate(words, memory(), block, blocks)
            at += HEAD + count


def memory() -> list[Any]:
    """All arrays that kernels may touch."""
    runner = RUNNERS[-1]
    tapes = [tape.words for tape, _, _ in runner.memory.heads]
    constants = list(runner.plan.layout.constants.values())
    cells = [cell._value for cell in runner.cells]
    return [runner.memory.arena, runner.verdicts.words, *tapes, *constants, *cells, *runner.lent]


class EmulatedRunner(NativeRunner):
    """A runner whose tapes are emulated."""

    lent: tuple[Any, ...] = ()

    def run(self, arrays: Any) -> list[Any]:
        RUNNERS.append(self)
        binding = self.binding
        bind = binding.bind

        def bound(given: Any) -> Any:
            self.lent = bind(given)
            return self.lent

        binding.bind = bound  # type: ignore[method-assign]
        try:
            return super().run(arrays)
        finally:
            binding.bind = bind  # type: ignore[method-assign]
            RUNNERS.pop()


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> type[NativeRunner]:
    """The class of runners, under which nothing is compiled."""
    monkeypatch.setattr(laying, "entries", entries)
    monkeypatch.setattr(laying, "Tape", EmulatedTape)
    monkeypatch.setattr(native_runner, "Tape", EmulatedTape)
    monkeypatch.setattr(cell_memory, "slot_offset", lambda: None)
    return EmulatedRunner
