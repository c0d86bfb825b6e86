"""The aliases mean what their comments say, and pytest checks the whole package against them."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from hallucade import shapes
from hallucade.data.episode import Episode
from hallucade.tokenizers.pixel import PixelTokenizer


def test_the_package_is_checked_under_pytest():
    with pytest.raises(TypeCheckError):
        PixelTokenizer().encode(torch.zeros(2, 5, 6, 10, 4, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("alias", "value", "fits"),
    [
        (shapes.Frames, torch.zeros(2, 5, 6, 10, 3, dtype=torch.uint8), True),
        (shapes.Frames, torch.zeros(2, 5, 6, 10, 3), False),
        (shapes.Frames, torch.zeros(2, 5, 3, 6, 10, dtype=torch.uint8), False),
        (shapes.Actions, torch.zeros(2, 4, 7), True),
        (shapes.Actions, torch.zeros(2, 4, 7, dtype=torch.int64), False),
        (shapes.Latents, torch.zeros(2, 5, 3, 6, 10), True),
        (shapes.Latents, torch.zeros(2, 5, 9, dtype=torch.int64), True),
        (shapes.Scalar, torch.tensor(1.5), True),
        (shapes.Scalar, torch.zeros(1), False),
        (shapes.FrameArray, np.zeros((5, 6, 10, 3), np.uint8), True),
        (shapes.FrameArray, torch.zeros(5, 6, 10, 3, dtype=torch.uint8), False),
        (shapes.ActionRows, np.zeros((4, 7), np.float32), True),
        (shapes.ActionRows, np.zeros((4, 7), np.float64), False),
    ],
)
def test_an_alias_accepts_its_axes_and_type_only(alias, value, fits):
    assert isinstance(value, alias) is fits


def test_an_episode_refuses_columns_that_do_not_join_up():
    frames, actions = np.zeros((5, 6, 10, 3), np.uint8), np.zeros((4, 7), np.float32)
    assert len(Episode(frames, actions, rewards=np.zeros(4), state=np.zeros((5, 9))).frames) == 5
    with pytest.raises(ValueError, match="has 4 actions, so frames needs 5 rows; it has 4"):
        Episode(frames[:4], actions)
    with pytest.raises(ValueError, match="rewards needs 4 rows; it has 5"):
        Episode(frames, actions, rewards=np.zeros(5))
    with pytest.raises(ValueError, match=r"extras\['lives'\] needs 5 rows; it has 4"):
        Episode(frames, actions, extras={"lives": np.zeros(4)})
