"""A run that trains beside a test: slowly, until it is told to stop."""

import threading
import time
from contextlib import contextmanager

from training_helpers import clouds, small, trained_by

from tensorgraph.train import Run, fit


@contextmanager
def trained(folder, epochs=2000):
    """A run under way, in a thread; it is stopped at the end, and must end well."""
    run, ended = Run(folder), []

    def slow(training):
        time.sleep(0.002)

    class Slow:
        on_step_end = staticmethod(slow)

    def train():
        data = clouds()
        model = small(dropout=0.1)
        ended.append(
            fit(model, data, dev=data, optimizer=trained_by(model), epochs=epochs, run=run, callbacks=[Slow()],
                progress=False)
        )  # fmt: skip

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    until = time.monotonic() + 120
    while not (run.folder.busy() and run.checkpoints) and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield run
    finally:
        if thread.is_alive() and run.folder.busy():
            run.stop()
        thread.join(120)
        assert not thread.is_alive() and len(ended) == 1
