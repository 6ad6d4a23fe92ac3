"""One network trained by several processes, each with a part of every batch.

    pip install "tensorgraph-engine[demo,mpi]"
    python examples/data_parallel.py                                    # one process
    mpiexec -n 2 python -m mpi4py examples/data_parallel.py             # two, with the same result to rounding
    mpiexec -n 2 python -m mpi4py examples/data_parallel.py 2           # two epochs instead of ten

Every rank goes through the same batches and takes its rows of each; the gradients are summed over the ranks.
"""

import sys

import tensorgraph as tg
from tensorgraph import data, dist, nn, optim, train

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10

digits = data.load_digits()
training, held = data.split(digits, fractions=(0.8, 0.2), seed=0)
normalizer = data.Normalizer().fit(training.x)
batches = data.Loader(normalizer.transform(training.x), training.y, batch_size=64, seed=0, last="merge")

model = nn.Sequential(
    nn.Linear(64, 64, bias=False, seed=1),
    nn.BatchNorm(64),
    nn.ReLU(),
    nn.Dropout(0.1, seed=2),
    nn.Linear(64, 10, seed=3),
)
optimizer = dist.DataParallel(optim.Adam(model, lr=0.003), sync=True)

for epoch in range(EPOCHS):
    total = 0.0
    for x, y in batches:
        x, y = optimizer.share(x, y)  # this rank's rows
        loss = optimizer.part(tg.softmax_cross_entropy(model(tg.tensor(x)), y), len(y))
        optimizer.minimize(loss)
        total += optimizer.total(loss)  # the parts of all ranks are the batch's loss
    if optimizer.rank == 0:
        print(f"epoch {epoch + 1}: loss {total / len(batches):.6f}")

optimizer.verify()  # the replicas are equal to the last bit
measures = train.evaluate(model, held, normalizer=normalizer)
if optimizer.rank == 0:
    print(f"{optimizer.size} ranks: test accuracy {measures['accuracy']:.1%}")
