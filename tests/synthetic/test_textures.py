from __future__ import annotations

import numpy as np

from interpose_sfm.synthetic import (
    make_texture,
)


def test_a_large_footprint_reads_the_mean_of_its_surroundings() -> None:
    texture = make_texture(np.random.default_rng(1), (6.4, 6.4), 40.0)
    finest = texture.levels[0].astype(np.float64)
    x, y = np.array([1.2, 2.0, 3.6, 5.2]), np.array([1.2, 4.4, 2.8, 2.0])  # centres of texels of 0.8 m and half of it
    at_point = texture.sample(x, y, np.full(4, 0.02))
    around = texture.sample(x, y, np.full(4, 0.8))
    for index, (column, row) in enumerate(zip((x * 40).astype(int), (y * 40).astype(int), strict=True)):
        block = finest[row - 16 : row + 16, column - 16 : column + 16]
        assert np.abs(around[index] - block.mean(axis=(0, 1))).max() < 3.0
        corner = finest[row - 1 : row + 1, column - 1 : column + 1]
        assert np.abs(at_point[index] - corner.mean(axis=(0, 1))).max() < 0.01
    assert np.abs(at_point - around).max() > 10.0


def test_textures_do_not_repeat() -> None:
    texture = make_texture(np.random.default_rng(1), (8.0, 6.0), 20.0).levels[0].mean(axis=-1)
    spectrum = np.abs(np.fft.fft2(texture - texture.mean())) ** 2
    correlation = np.fft.ifft2(spectrum).real / spectrum.mean()
    correlation[:20, :20] = correlation[-20:, :20] = correlation[:20, -20:] = correlation[-20:, -20:] = 0.0
    assert correlation.max() < 0.35
    assert texture.std() > 15.0
