"""The colours: told apart by every eye, readable on every surface."""

from itertools import combinations, product

import numpy as np
import pytest

from tensorgraph.pages.palette import DARK, LIGHT, NAMES, contrast, ink_on

BORDERS = ("io", "param", "grad", "module", "op")
# linear RGB as eyes without one kind of cone see it (Machado, Oliveira and Fernandes 2009, severity 1)
EYES = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, eye: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of ``#RRGGBB`` as an eye sees it."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(eye @ linear, 0.0, 1.0)
    ratio = TO_XYZ @ seen / np.array([0.95047, 1.0, 1.08883])
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("palette", "least"), [(LIGHT, 34.4), (DARK, 30.8)], ids=["light", "dark"])
def test_borders_differ_for_every_eye(palette, least):
    for eye in EYES.values():
        for a, b in combinations(BORDERS, 2):
            difference = np.linalg.norm(lab(getattr(palette, a), eye) - lab(getattr(palette, b), eye))
            assert difference >= least, (a, b, difference)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_are_readable_and_borders_visible(palette):
    surfaces = [palette.page, palette.box, palette.group, palette.inner]
    for ink, surface in product((palette.ink, palette.muted, palette.alarm), surfaces):
        assert contrast(ink, surface) >= 4.5
    for border, surface in product(BORDERS, surfaces):
        assert contrast(getattr(palette, border), surface) >= 2.5, (border, surface)


def test_every_colour_of_the_light_theme_names_one_thing():
    colours = [getattr(LIGHT, name).lower() for name in NAMES]
    assert len(set(colours)) == len(colours)


def test_contrast_is_the_standards():
    assert abs(contrast("#000000", "#FFFFFF") - 21.0) < 1e-9
    assert abs(contrast("#777777", "#FFFFFF") - 4.478) < 1e-3
    assert ink_on("#FFFFFF") == "#000000" and ink_on("#35015F") == "#FFFFFF" and ink_on("#FCD475") == "#000000"
