import pytest
import torch
from torch import Tensor

from hallucade.models.base import LatentClip, WorldModel


class Diary(WorldModel[list[tuple[list[int], list[int]]]]):
    """Remembers the numbers of the latents and of the actions that it was given."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def initial(self, latent: Tensor) -> list[tuple[list[int], list[int]]]:
        return [([], _numbers(latent))]

    def observe(
        self, state: list[tuple[list[int], list[int]]], action: Tensor, latent: Tensor
    ) -> list[tuple[list[int], list[int]]]:
        return [*state, (_numbers(action), _numbers(latent))]

    def fork(self, state: list[tuple[list[int], list[int]]]) -> list[tuple[list[int], list[int]]]:
        return list(state)


def _numbers(column: Tensor) -> list[int]:
    return [int(number) for number in column[0].flatten()]


def _clip(latents: int, actions: int, stride: int = 1) -> LatentClip:
    numbers = torch.arange(latents).view(1, -1, 1, 1, 1)
    return LatentClip.encoded(numbers, torch.arange(actions).view(1, -1, 1).float(), stride)


@pytest.mark.parametrize("trailing", [0, 1])  # frames of the first latent after its first, whose actions come first
def test_a_block_is_observed_with_the_actions_that_lead_to_its_frames(trailing: int) -> None:
    stride, block, latents = 2, 3, 9
    frames = latents * stride if trailing else (latents - 1) * stride + 1
    state = Diary(block).prefill(_clip(latents, frames - 1, stride))
    assert [shown for _, shown in state] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    # action i leads to frame i + 1, and latent j > 0 ends with frame j * stride + trailing
    assert state[1][0] == [action + trailing for action in range(4, 10)]
    assert state[2][0] == [action + trailing for action in range(10, 16)]


@pytest.mark.parametrize("latents", [1, 2, 3, 5])  # fewer and more than the frames of a latent
def test_actions_within_the_first_latent_join_nothing(latents: int) -> None:
    stride = 4
    clip = _clip(latents, latents * stride - 1, stride)
    assert clip.stride == (stride if latents > 1 else 0)
    assert _numbers(clip.leading_to(1, latents)) == list(range(stride - 1, latents * stride - 1))
    assert _numbers(clip.leading_to(latents - 1, latents)) == list(range(stride - 1, latents * stride - 1))[-stride:]


def test_actions_that_do_not_join_the_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"7 actions for 3 latents of 3 frame\(s\); give one between every two"):
        _clip(3, 7, 3)


def test_one_latent_a_block_takes_one_action_each() -> None:
    assert Diary(1).prefill(_clip(4, 3)) == [([], [0]), ([0], [1]), ([1], [2]), ([2], [3])]


def test_what_fills_no_block_is_left_out_at_the_start() -> None:
    assert Diary(2).prefill(_clip(5, 4)) == [([], [1, 2]), ([2, 3], [3, 4])]
