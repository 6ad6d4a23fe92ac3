"""Programs that the tests of teams run in processes of their own."""

BURN = "while True: pass"

PROGRAM = """
import numpy as np
from tensorgraph import jit
from tensorgraph.native.kernel import from_text, kernel
from tensorgraph.native.tape import Tape
from tensorgraph.native.words import WORDS

text = "def add(w, block, blocks):\\n    x = word_at(w, 0) + 8 * block\\n    store(x, load(x) + 1.0)\\n"
x = np.zeros(16)
tape = Tape([(kernel(from_text(text, WORDS), x.dtype).entry, [x.ctypes.data], 16)])
for _ in range(100):
    tape.run()
print(jit.num_threads(), int(x.sum()))
"""
