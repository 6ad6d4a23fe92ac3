"""The same loop without `train.fit`: every step is visible.

python examples/by_hand.py
"""

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.data import Normalizer, load_digits, minibatches, split

training, test = split(load_digits(), fractions=(0.8, 0.2), seed=0)
normalizer = Normalizer().fit(training.x)
batches = minibatches(normalizer.transform(training.x), training.y, batch_size=64, seed=0, last="merge")

model = nn.Sequential(nn.Linear(64, 64, bias=False, seed=0), nn.BatchNorm(64), nn.ReLU(), nn.Linear(64, 10, seed=1))
adam = optim.Adam(model.parameters(), lr=0.01)

for epoch in range(10):
    for x, y in batches:
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
    print(f"epoch {epoch + 1}: loss of the last batch {float(loss):.4f}")

model.eval()  # batch norm uses its running averages from here on
with tg.no_grad():
    scores = model(normalizer.transform(test.x))
print(f"test accuracy {train.metrics.accuracy(scores, test.y):.2%}")
