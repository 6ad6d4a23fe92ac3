"""Recurrent layers: stacked, in both directions, over padded sequences; and their cells, a step at a time."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tensorgraph.arguments import Count, Fraction, Natural, checked
from tensorgraph.engine import init
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.dropout import Dropout
from tensorgraph.nn.linear import parameter
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.nn.torch_names import transposed
from tensorgraph.ops import recurrent
from tensorgraph.ops.recurrent import ACTIVATIONS, Activation
from tensorgraph.ops.shape import concatenate, expand_dims, stack

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]


class _Cell(Module):
    """The weights of one recurrence, which sees one step a call."""

    gates: ClassVar[int]
    atomic = True

    @checked
    def __init__(
        self,
        inputs: Count,
        units: Count,
        bias: bool = True,
        *,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        self.inputs, self.units = inputs, units
        width, edge = self.gates * units, 1.0 / math.sqrt(units)
        start = init.uniform.using(low=-edge, high=edge)
        seeds = [None if seed is None else seed + i for i in range(4)]
        self.weight = parameter((inputs, width), start, dtype, seeds[0])
        self.recurrent = parameter((units, width), start, dtype, seeds[1])
        self.bias = parameter((width,), start, dtype, seeds[2]) if bias else None
        # one would do where only the sum counts, but optimisers take two steps for two
        self.recurrent_bias = parameter((width,), start, dtype, seeds[3]) if bias else None

        self._place_in_torch()

    def _place_in_torch(self, up: str = "", end: str = "") -> None:
        """Where PyTorch has the weights: `up` the path, and with these last letters."""
        vars(self)["torch_state"] = {
            "weight": transposed(f"{up}weight_ih{end}"), "recurrent": transposed(f"{up}weight_hh{end}"),
            "bias": f"{up}bias_ih{end}", "recurrent_bias": f"{up}bias_hh{end}",
        }  # fmt: skip

    def _both_biases(self) -> Any:
        first, second = self.bias, self.recurrent_bias
        return None if first is None or second is None else first + second

    def _over(self, x: Any, states: tuple[Any, ...], lengths: Any = None, reverse: bool = False) -> tuple[Any, ...]:
        """The op on whole sequences: outputs, then the last states."""
        raise NotImplementedError

    def _step(self, x: Any, states: tuple[Any, ...]) -> tuple[Any, ...]:
        x = input_of(self, x)
        if x.ndim != 2 or x.shape[-1] != self.inputs:
            raise ValueError(f"{self.label} takes x of shape (batch, {self.inputs}), got {x.shape}")
        return self._over(expand_dims.public(x, axis=1), states)[1:]

    def config(self) -> dict[str, Any]:
        return dict(inputs=self.inputs, units=self.units, bias=self.bias is not None, dtype=self.weight.dtype.name)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.units}" + ("" if self.bias is not None else ", bias=False")


class LSTMCell(_Cell):
    """One step of an `LSTM`: ``h, c = cell(x, (h, c))``, with x (batch, inputs) and states (batch, units).

    Parameters
    ----------
    inputs, units : int
    bias : bool
    seed : int, optional
    dtype : dtype-like, optional

    Attributes
    ----------
    weight, recurrent : Parameter
        Shapes (inputs, 4 units) and (units, 4 units), the gates i, f, g, o side by side.
    bias, recurrent_bias : Parameter or None
        Shape (4 units,).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> cell = tg.nn.LSTMCell(3, 4, seed=0)
    >>> h, c = cell(tg.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4

    def _over(self, x: Any, states: tuple[Any, ...], lengths: Any = None, reverse: bool = False) -> tuple[Any, ...]:
        h, c = states or (None, None)
        made: tuple[Any, ...] = recurrent.lstm.public(
            x, self.weight, self.recurrent, self._both_biases(), h, c, lengths, reverse=reverse
        )
        return made

    def forward(self, x: Any, state: tuple[Any, Any] | None = None) -> tuple[Tensor, Tensor]:
        h, c = self._step(x, () if state is None else _pair(self, state))
        return h, c


class GRUCell(_Cell):
    """One step of a `GRU`: ``h = cell(x, h)``, with x (batch, inputs) and h (batch, units).

    Parameters
    ----------
    inputs, units : int
    bias : bool
    seed : int, optional
    dtype : dtype-like, optional

    Attributes
    ----------
    weight, recurrent : Parameter
        Shapes (inputs, 3 units) and (units, 3 units), the gates r, z, n side by side.
    bias, recurrent_bias : Parameter or None
        Shape (3 units,).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.GRUCell(3, 4, seed=0)(tg.ones((2, 3))).shape
    (2, 4)
    """

    gates = 3

    def _over(self, x: Any, states: tuple[Any, ...], lengths: Any = None, reverse: bool = False) -> tuple[Any, ...]:
        made: tuple[Any, ...] = recurrent.gru.public(
            x, self.weight, self.recurrent, self.bias, self.recurrent_bias, *(states or (None,)), lengths,
            reverse=reverse,
        )  # fmt: skip
        return made

    def forward(self, x: Any, state: Any = None) -> Tensor:
        (h,) = self._step(x, () if state is None else (state,))
        return h  # type: ignore[no-any-return]


class RNNCell(_Cell):
    """One step of an `RNN`: ``h = cell(x, h)``, with x (batch, inputs) and h (batch, units).

    Parameters
    ----------
    inputs, units : int
    bias : bool
    activation : {"tanh", "relu"}
    seed : int, optional
    dtype : dtype-like, optional

    Attributes
    ----------
    weight, recurrent : Parameter
        Shapes (inputs, units) and (units, units).
    bias, recurrent_bias : Parameter or None
        Shape (units,).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.RNNCell(3, 4, seed=0)(tg.ones((2, 3))).shape
    (2, 4)
    """

    gates = 1

    @checked
    def __init__(
        self,
        inputs: Count,
        units: Count,
        bias: bool = True,
        *,
        activation: Activation = ACTIVATIONS[0],
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        super().__init__(inputs, units, bias, seed=seed, dtype=dtype)
        self.activation = activation

    def _over(self, x: Any, states: tuple[Any, ...], lengths: Any = None, reverse: bool = False) -> tuple[Any, ...]:
        made: tuple[Any, ...] = recurrent.rnn.public(
            x, self.weight, self.recurrent, self._both_biases(), *(states or (None,)), lengths,
            activation=self.activation, reverse=reverse,
        )  # fmt: skip
        return made

    def forward(self, x: Any, state: Any = None) -> Tensor:
        (h,) = self._step(x, () if state is None else (state,))
        return h  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {**super().config(), "activation": self.activation}


def _pair(module: Module, state: Any) -> tuple[Any, Any]:
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"{module.label} takes its state as a pair (h, c), got {type(state).__name__}")
    return state[0], state[1]


class _Recurrent(Module):
    """Layers of one kind of cell, one above the other."""

    cell: ClassVar[type[_Cell]]

    @checked
    def __init__(
        self,
        inputs: Count,
        units: Count,
        layers: Count = 1,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: Fraction = 0.0,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        self._make(inputs, units, layers, bidirectional, float(dropout), dict(bias=bias, dtype=dtype), seed)

    def _make(
        self, inputs: int, units: int, layers: int, bidirectional: bool, dropout: float, options: dict[str, Any],
        seed: int | None,
    ) -> None:  # fmt: skip
        self.inputs, self.units, self.count = inputs, units, layers
        self.bidirectional = bidirectional
        ways = 2 if bidirectional else 1
        self.cells = [
            self.cell(
                inputs if i < ways else ways * units, units, seed=None if seed is None else seed + 4 * i, **options
            )
            for i in range(ways * layers)
        ]
        for i, cell in enumerate(self.cells):
            cell._place_in_torch("^^", f"_l{i // ways}" + "_reverse" * (i % ways))
        self.dropouts = [Dropout(dropout, seed=seed) for _ in range(layers - 1)] if dropout else []

    def _run(self, x: Any, states: tuple[Any, ...], lengths: Any) -> tuple[Any, list[Any]]:
        """Outputs of the last layer, and the last states, each (layers ways, batch, units)."""
        x = input_of(self, x)
        if x.ndim != 3 or x.shape[-1] != self.inputs:
            raise ValueError(
                f"{self.label} takes x of shape (batch, time, {self.inputs}), got {x.shape}; where time comes first "
                "take x.swapaxes(0, 1)"
            )
        shape = (len(self.cells), x.shape[0], self.units)
        for s in states:
            if s.shape != shape:
                raise ValueError(f"{self.label} takes a state of shape (layers, batch, units), {shape}, got {s.shape}")
        ways = 2 if self.bidirectional else 1
        ends: list[Any] = []
        for layer in range(self.count):
            outputs = []
            for way in range(ways):
                i = layer * ways + way
                y, *last = self.cells[i]._over(x, tuple(s[i] for s in states), lengths, way == 1)
                outputs.append(y)
                ends.append(last)
            x = concatenate.public(outputs, axis=-1) if ways == 2 else outputs[0]
            if self.dropouts and layer < self.count - 1:
                x = self.dropouts[layer](x)
        return x, [stack.public(list(each), axis=0) for each in zip(*ends, strict=True)]

    def config(self) -> dict[str, Any]:
        first = self.cells[0].config()
        return {
            **first, "inputs": self.inputs, "layers": self.count, "bidirectional": self.bidirectional,
            "dropout": self.dropouts[0].rate if self.dropouts else 0.0,
        }  # fmt: skip

    def extra_repr(self) -> str:
        parts = [str(self.inputs), str(self.units)]
        parts += [f"layers={self.count}"] * (self.count > 1) + ["bidirectional=True"] * self.bidirectional
        return ", ".join(parts)


_PARAMETERS = """inputs, units : int
    layers : int
        One above the other; each reads the outputs of the one below.
    bias : bool
    bidirectional : bool
        Whether each layer reads the sequence from both ends; the outputs are side by side, (batch, time, 2 units).
    dropout : float
        In training, the rate at which the outputs of all layers but the last are dropped.
    seed : int, optional
    dtype : dtype-like, optional

    Attributes
    ----------
    cells : list of cells
        Of each layer the one that reads forwards, then the one that reads backwards.

    Notes
    -----
    The batch comes first, (batch, time, inputs), as with PyTorch's ``batch_first=True``; for (time, batch, inputs)
    write ``x.swapaxes(0, 1)``. States are (layers, batch, units), as in PyTorch, two a layer where it reads both ways.
    `lengths`, one integer a sequence, does what packing does there: at later steps the output is 0, and the last state
    is that at the sequence's own end."""


class LSTM(_Recurrent):
    __doc__ = f"""Long short-term memory: ``y, (h, c) = layer(x, state=None, lengths=None)``. See `tensorgraph.lstm`.

    Parameters
    ----------
    {_PARAMETERS}

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.LSTM(3, 4, layers=2, bidirectional=True, seed=0)
    >>> y, (h, c) = layer(tg.ones((5, 7, 3)))
    >>> y.shape, h.shape, c.shape
    ((5, 7, 8), (4, 5, 4), (4, 5, 4))
    """

    cell = LSTMCell

    def forward(
        self, x: Any, state: tuple[Any, Any] | None = None, lengths: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, (h, c) = self._run(x, () if state is None else _pair(self, state), lengths)
        return y, (h, c)


class GRU(_Recurrent):
    __doc__ = f"""Gated recurrent units: ``y, h = layer(x, state=None, lengths=None)``. See `tensorgraph.gru`.

    Parameters
    ----------
    {_PARAMETERS}

    Examples
    --------
    >>> import tensorgraph as tg
    >>> y, h = tg.nn.GRU(3, 4, seed=0)(tg.ones((5, 7, 3)))
    >>> y.shape, h.shape
    ((5, 7, 4), (1, 5, 4))
    """

    cell = GRUCell

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        y, (h,) = self._run(x, () if state is None else (state,), lengths)
        return y, h


class RNN(_Recurrent):
    __doc__ = f"""The plain recurrent layer: ``y, h = layer(x, state=None, lengths=None)``. See `tensorgraph.rnn`.

    Parameters
    ----------
    activation : {{"tanh", "relu"}}
    {_PARAMETERS}

    Examples
    --------
    >>> import tensorgraph as tg
    >>> y, h = tg.nn.RNN(3, 4, activation="relu", seed=0)(tg.ones((5, 7, 3)))
    >>> y.shape, h.shape
    ((5, 7, 4), (1, 5, 4))
    """

    cell = RNNCell

    @checked
    def __init__(
        self,
        inputs: Count,
        units: Count,
        layers: Count = 1,
        *,
        activation: Activation = ACTIVATIONS[0],
        bias: bool = True,
        bidirectional: bool = False,
        dropout: Fraction = 0.0,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        options = dict(bias=bias, dtype=dtype, activation=activation)
        self._make(inputs, units, layers, bidirectional, float(dropout), options, seed)

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        y, (h,) = self._run(x, () if state is None else (state,), lengths)
        return y, h

    config = _Recurrent.config  # of this constructor
