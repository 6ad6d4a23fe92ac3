"""Handwritten digits in twenty lines: train, stop early, test, save, load, predict.

python examples/digits.py
"""

from tensorgraph import nn, optim, train
from tensorgraph.data import Normalizer, load_digits, split

digits = load_digits()
training, dev, test = split(digits, fractions=(0.7, 0.15, 0.15), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)

model = nn.Sequential(
    nn.Linear(64, 128, bias=False, seed=0), nn.BatchNorm(128), nn.ReLU(),
    nn.Linear(128, 10, seed=1),
)  # fmt: skip
adam = optim.Adam(model.parameters(), lr=optim.exponential(0.01, rate=0.9).per_epoch())

history = train.fit(
    model, training, dev=dev, optimizer=adam, epochs=30, batch_size=64, normalizer=normalizer,
    early_stop=train.EarlyStop(patience=5, monitor="dev_loss"), progress=False,
)  # fmt: skip
print(history)
print("test:", train.evaluate(model, test, normalizer=normalizer))

train.save("digits.safetensors", model, normalizer=normalizer, class_names=digits.class_names)
classifier = train.load_model("digits.safetensors")  # needs no code of ours: the file says which layers it has
print("predicted:", classifier.predict(test.x[:5]), "true:", test.y[:5])
