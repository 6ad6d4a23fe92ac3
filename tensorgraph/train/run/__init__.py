"""A training run as a folder: checkpoints, events, commands; killed at any moment, it goes on as if nothing had been.

    runs/first/
      run.json             what the run is of: digests of model, data and settings, and where it was begun
      lock                 held by the process that trains, with its number: never two
      events.jsonl         what happens, a line each; a line without an end is nobody's, and cut off
      control.jsonl        commands, appended by anyone; never rewritten
      ckpt/00000000.safetensors, ...    all that the next step depends on, numbered
      model.safetensors    the trained model, once the run is over

**The plan.** Training is deterministic, so a run is its beginning and the commands that were applied to it, each at a
branch and a step. A checkpoint is a state between two steps that says how many commands it includes; its *place* in
the history is (commands, steps, epochs), which only grows, also over rollbacks. To go on, take the latest place whose
checkpoint is whole (a rollback is a place too: its state is the checkpoint that it went back to) and apply the
commands that the log holds after it, each at its step. Then it is the run that was never interrupted.

**Where a kill may come**, and what is there then:

1. Before ``run.json``: no run; the next call begins it.
2. Before checkpoint 0, which is written before the first step: no step was made; the next call begins again.
3. Between steps, or in one: the steps since the last checkpoint are made again, to the same bits.
4. While a checkpoint is written: it lies under a temporary name, which the next process removes; the one before
   serves. It is renamed when its bytes are on the disk, and older ones go when the folder is.
5. After a command was read, before its answer: it has no answer, so the next process takes it. Answers are told by the
   command's id in the log and by nothing else, so none is lost and none is applied twice.
6. While the answer is written: the line has no end and is cut off; as 5. The step that depends on a command begins when
   its line is on the disk.
7. After the answer, before its effect or the next checkpoint: the log has the command, and it is applied again at its
   step. New commands wait until all of those were.
8. In a rollback. The state that it leaves is written first, as the tip of its branch, and is no candidate for "the last
   checkpoint" should the command be taken again (5). Then the answer: from now on its target is where the run goes on.
   No other checkpoint is needed for that, and the commands behind it are without an answer still.
9. In the middle of an epoch's end: its events may be told twice; of its checkpoint see 4.
10. After the last step: the next process finds nothing to train, saves the model and tells the end.

A damaged checkpoint is set aside under another name, and the place before it serves. When the steps up to a rollback
are made again, so is the checkpoint that it goes back to, where that one is damaged.
"""

from tensorgraph.train.run.folder import RunBusyError
from tensorgraph.train.run.run import Run

__all__ = ["Run", "RunBusyError"]
