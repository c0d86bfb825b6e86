"""A shuffled order that is computed instead of stored: which window is the i-th of an epoch, for any i at once.

A Feistel network over a grid of sides near the square root of the size, with modular addition in place of exclusive or,
and a further walk for the few numbers that leave the range.

Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains", sections 3 and 5.
"""

import math

import numpy as np
from jaxtyping import Int64, UInt64

from hallucade.games.counter_random import random_bits

ROUNDS = 6


def shuffled(positions: Int64[np.ndarray, "n"], size: int, seed: int) -> Int64[np.ndarray, "n"]:
    """Return the items at `positions` of an endless sequence that visits all of range(size) in every epoch.

    Each epoch (positions k * size to (k + 1) * size - 1) has an order of its own.
    """
    epochs, items = np.divmod(positions, size)
    keys = random_bits(np.array([seed]), epochs)
    items = _permuted(items, keys, size)
    while (outside := items >= size).any():
        items[outside] = _permuted(items[outside], keys[outside], size)
    return items


def _permuted(items: Int64[np.ndarray, "n"], keys: UInt64[np.ndarray, "n"], size: int) -> Int64[np.ndarray, "n"]:
    """Map the grid rows x columns, at least `size` items, onto itself one to one."""
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    row, column = np.divmod(items, columns)
    for number in range(0, ROUNDS, 2):
        row = (row + _draw(keys, number, column, rows)) % rows
        column = (column + _draw(keys, number + 1, row, columns)) % columns
    return row * columns + column


def _draw(keys: UInt64[np.ndarray, "n"], number: int, items: Int64[np.ndarray, "n"], below: int) -> np.ndarray:
    bits = random_bits(keys.view(np.int64), items * ROUNDS + number)
    return ((bits >> np.uint64(33)) % np.uint64(below)).astype(np.int64)
