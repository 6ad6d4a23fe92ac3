"""Networks of one shape that are trained at once, as one batched step: `ensemble`.

`ensemble` makes the networks (`members`) and finds which have one shape (`lanes`); their steps are traced (`steps`),
found to be the same but for numbers (`alike`) and made one batched graph (`batched`), with a learning rate each
(`rates`). They run in parts, side by side (`together`), and are measured so too (`measuring`).
"""

from tensorgraph.tune.ensembles.ensemble import Ensemble, ensemble

__all__ = ["Ensemble", "ensemble"]
