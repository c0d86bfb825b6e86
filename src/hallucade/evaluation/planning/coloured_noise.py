"""Noise whose power falls with frequency: neighbouring actions resemble each other, and plans go somewhere.

Source: Timmer and Koenig 1995, "On generating power law noise"; for planning Pinneri et al. 2020, arXiv:2008.06389.
"""

import numpy as np
from jaxtyping import Float64


def coloured_noise(
    rng: np.random.Generator, count: int, steps: int, columns: int, exponent: float
) -> Float64[np.ndarray, "n h c"]:
    """Draw standard normal sequences whose power is as 1 / frequency ** `exponent`.

    0 is white noise, 1 pink, 2 a random walk; every single value is standard normal whatever the exponent.
    """
    frequencies = np.fft.rfftfreq(steps)
    frequencies[0] = 1 / steps  # no wave is longer than the plan
    scale = frequencies ** (-exponent / 2)
    both = (count, len(scale), columns)
    waves = rng.standard_normal(both) + 1j * rng.standard_normal(both)
    alone = [0] if steps % 2 else [0, -1]  # of these frequencies only the real part counts
    waves[:, alone] = np.sqrt(2) * waves[:, alone].real
    power = 4 * np.square(scale)
    power[alone] /= 2
    deviation = np.sqrt(power.sum()) / steps
    return np.fft.irfft(waves * scale[:, None], steps, axis=1) / (deviation if steps > 1 else np.sqrt(2) * scale[0])
