"""One network trained by several processes, each with a part of every batch; a job that ends is launched again.

    pip install "tensorgraph-engine[demo,mpi]"
    python examples/data_parallel.py                                         # one process
    mpiexec -n 2 python -m mpi4py examples/data_parallel.py                  # two, with the same result to rounding
    mpiexec -n 2 python -m mpi4py examples/data_parallel.py 10 runs/digits   # ten epochs, kept in a folder

With a folder, the same command goes on where the last one ended, killed or not, with as many processes or with others.
"""

import sys

from tensorgraph import data, dist, nn, optim, train

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
FOLDER = sys.argv[2] if len(sys.argv) > 2 else None

digits = data.load_digits()
training, held = data.split(digits, fractions=(0.8, 0.2), seed=0)
normalizer = data.Normalizer().fit(training.x)

model = nn.Sequential(
    nn.Linear(64, 64, bias=False, seed=1),
    nn.BatchNorm(64),
    nn.ReLU(),
    nn.Dropout(0.1, seed=2),
    nn.Linear(64, 10, seed=3),
)
optimizer = dist.DataParallel(optim.Adam(model, lr=0.003), sync=True)  # batch norm over all rows of a batch

history = train.fit(
    model, training, optimizer=optimizer, epochs=EPOCHS, dev=held, batch_size=64, normalizer=normalizer, run=FOLDER,
    progress=False,
)  # fmt: skip
optimizer.verify()  # the replicas are equal to the last bit

if optimizer.rank == 0:
    for epoch, (loss, accuracy) in enumerate(zip(history["loss"], history["dev_accuracy"], strict=True), 1):
        print(f"epoch {epoch}: loss {loss:.6f}, dev accuracy {accuracy:.1%}")
    print(f"{optimizer.size} ranks, {sum(history.seconds):.2f} s")
