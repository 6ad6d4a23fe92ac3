"""Images made larger and smaller: values of PyTorch 2.13, computed in float64."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

WAVE = np.sin(np.arange(6.0)).reshape(1, 1, 2, 3)
RECORDED: list[Any] = [
    (dict(scale_factor=2),
     [0.00000000000, 0.00000000000, 0.84147098481, 0.84147098481, 0.90929742683, 0.90929742683, 0.00000000000,
      0.00000000000, 0.84147098481, 0.84147098481, 0.90929742683, 0.90929742683, 0.14112000806, 0.14112000806,
      -0.75680249531, -0.75680249531, -0.95892427466, -0.95892427466, 0.14112000806, 0.14112000806,
      -0.75680249531, -0.75680249531, -0.95892427466, -0.95892427466]),
    (dict(size=(3, 2), mode="nearest-exact"),
     [0.00000000000, 0.90929742683, 0.14112000806, -0.95892427466, 0.14112000806, -0.95892427466]),
    (dict(size=(3, 4), mode="bilinear"),
     [0.00000000000, 0.52591936550, 0.86690590056, 0.90929742683, 0.07056000403, 0.05291890448, 0.01715386900,
      -0.02481342392, 0.14112000806, -0.42008155655, -0.83259816257, -0.95892427466]),
    (dict(size=(3, 4), mode="bilinear", align_corners=True),
     [0.00000000000, 0.56098065654, 0.86407979881, 0.90929742683, 0.07056000403, 0.05174283118, 0.01995168853,
      -0.02481342392, 0.14112000806, -0.45749499419, -0.82417642176, -0.95892427466]),
    (dict(size=(2, 4), mode="bicubic"),
     [-0.06039855213, 0.53079396516, 0.95835911264, 0.91416582867, 0.20557050024, -0.41102895632,
      -0.92828610684, -0.97343203910]),
    (dict(scale_factor=1.7, mode="bilinear"),
     [0.00000000000, 0.32173890596, 0.81672183820, 0.87937399652, 0.90929742683, 0.05395765014, 0.12140806172,
      0.22517792568, 0.21059018260, 0.19497736449, 0.13696941959, -0.18679323711, -0.68488963203,
      -0.81830799266, -0.90397657756]),
    (dict(size=(1, 2), mode="area"),
     [0.05644712439, 0.00876041042]),
]  # fmt: skip


@pytest.mark.parametrize(("options", "values"), RECORDED)
def test_values(options: dict[str, Any], values: Any) -> None:
    y = tg.interpolate(WAVE, **options)
    np.testing.assert_allclose(y.numpy().ravel(), values, rtol=0, atol=1e-10)


def test_pixels_go_and_come_back() -> None:
    x = np.arange(96.0).reshape(2, 8, 2, 3)
    assert np.array_equal(tg.pixel_unshuffle(tg.pixel_shuffle(x, 2), 2).numpy(), x)
    assert tg.channel_shuffle(x, 4)[0, :, 0, 0].tolist() == [0.0, 12.0, 24.0, 36.0, 6.0, 18.0, 30.0, 42.0]
    assert np.array_equal(tg.channel_shuffle(tg.channel_shuffle(x, 4), 2).numpy(), x)


def test_columns_are_counted_where_they_are_added_back() -> None:
    ones = tg.col2im(tg.im2col(tg.ones((1, 1, 3, 3)), 2), (3, 3), 2)
    assert ones.tolist() == [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: tg.interpolate(x), "give size or scale_factor"),
        (lambda x: tg.interpolate(x, 4, 2.0), "give size or scale_factor"),
        (lambda x: tg.interpolate(x, 4, mode="linear"), "is for 1 axes"),
        (lambda x: tg.interpolate(x, scale_factor=0.1), "leaves nothing"),
        (lambda x: tg.interpolate(x.astype("int64"), 4, mode="bilinear"), "floats"),
        (lambda x: tg.pixel_shuffle(x, 2), "multiple of 4"),
        (lambda x: tg.pixel_unshuffle(x, 2), "multiples of 2"),
        (lambda x: tg.channel_shuffle(x, 2), "groups must divide"),
        (lambda x: tg.im2col(x, 9), "a window spans 9"),
        (lambda x: tg.col2im(x, (5, 5), 2), "col2im: x must be"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call(tg.ones((2, 3, 5, 5)))
