"""Tapes run their kernels in order, and every block of each once."""

import threading

import numpy as np
import pytest

from tensorgraph.native import machine
from tensorgraph.native.kernel import kernel
from tensorgraph.native.tape import HEAD, Tape
from tensorgraph.native.words import load, load_int, store, store_int, word_at

SIZE = 0  # a constant of kernels

needs_code = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))


def affine(w, block, blocks):
    """x becomes a x + b."""
    x = word_at(w, 0)
    store(x, load(x) * load(word_at(w, 1)) + load(word_at(w, 2)))


def blockwise(w, block, blocks):
    """Each block writes its number and how many there are."""
    p = word_at(w, 0) + 16 * block
    store_int(p, load_int(p) + block + 1)
    store_int(p + 8, blocks)


def address(array):
    return array.ctypes.data


def test_an_empty_tape_is_its_end():
    tape = Tape([])
    tape.run()
    assert tape.words.tolist() == [0] and len(tape) == 0


@needs_code
def test_records_run_in_order_and_words_change_between_runs():
    x, a, b, other = (np.array([value], np.float64) for value in (1.0, 3.0, 5.0, 100.0))
    entry = kernel(affine, np.float64).entry
    one, two = [address(x), address(a), address(b)], [address(x), address(b), address(a)]
    tape = Tape([(entry, one, 1), (entry, two, 1)])
    tape.run()
    assert x[0] == (1 * 3 + 5) * 5 + 3
    assert tape.words[tape.position(1, 2)] == address(a)
    tape.words[tape.position(1, 2)] = address(other)
    x[0] = 1
    tape.run()
    assert x[0] == (1 * 3 + 5) * 5 + 100
    with pytest.raises(IndexError, match="has 3 words"):
        tape.position(0, 3)


@needs_code
@pytest.mark.parametrize("blocks", [1, 2, 3, 16])
def test_every_block_runs_once(blocks):
    seen = np.zeros((blocks + 1, 2), np.int64)
    tape = Tape([(kernel(blockwise, np.float32).entry, [address(seen)], blocks)])
    tape.run()
    assert seen[:-1, 0].tolist() == list(range(1, blocks + 1))
    assert (seen[:-1, 1] == blocks).all() and not seen[-1].any()


@needs_code
def test_a_record_without_words():
    seen = np.zeros((1, 2), np.int64)
    entry = kernel(blockwise, np.float32).entry
    tape = Tape([(kernel(nothing, np.float32).entry, [], 2), (entry, np.array([address(seen)]), 1)])
    tape.run()
    assert seen.tolist() == [[1, 1]] and tape.position(1, 0) == 2 * HEAD


def nothing(w, block, blocks):
    pass


@needs_code
def test_what_is_no_record_is_refused():
    with pytest.raises(ValueError, match="record 0 of a tape has entry 0 and 1 blocks"):
        Tape([(0, [], 1)])
    with pytest.raises(ValueError, match="at least one block"):
        Tape([(kernel(nothing, np.float32).entry, [], 0)])


@needs_code
def test_threads_run_tapes_side_by_side():
    entry = kernel(affine, np.float64).entry
    a, b = np.ones(1), np.ones(1)
    arrays = [np.zeros(1) for _ in range(4)]
    tapes = [Tape([(entry, [address(x), address(a), address(b)], 1)] * 50) for x in arrays]
    threads = [threading.Thread(target=lambda t=tape: [t.run() for _ in range(100)]) for tape in tapes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [x[0] for x in arrays] == [5000.0] * 4
