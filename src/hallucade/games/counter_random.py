"""Random numbers as a pure function of integers, so that a draw depends on nothing but what it is named by.

Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators" (splitmix64).
"""

import numpy as np
from jaxtyping import Float64, Integer, UInt64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(bits: UInt64[np.ndarray, "*n"]) -> UInt64[np.ndarray, "*n"]:
    """Scramble 64-bit integers: splitmix64's output function."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def random_bits(*counters: Integer[np.ndarray, "..."] | int) -> UInt64[np.ndarray, "..."]:
    """Return 64 random bits for every combination of counters, which broadcast against each other."""
    bits = np.zeros((1,), np.uint64)  # an array, because scalars warn when they wrap around
    for counter in counters:
        bits = mix(bits + GOLDEN + np.asarray(counter).astype(np.uint64))
    return bits


def uniform(bits: UInt64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Return numbers in [0, 1) made of the upper 53 bits."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
