from dataclasses import replace

import pytest
import torch
from test_self_forcing import TRANSFORMER, UNET, network

from hallucade.actions import ActionSpace, Choice
from hallucade.data.clips import Clip
from hallucade.methods.streaming_long_tuning import StreamingLongTuning, StreamingLongTuningConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig

ACTIONS = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
SHAPE = (3, 8, 12)
B = 2
CONFIG = StreamingLongTuningConfig(prompt=2, student_every=2, chunk=5, overlap=2)


def method(config=CONFIG, model=TRANSFORMER, sampler=None, seed: int = 0, tokenizer=None) -> StreamingLongTuning:
    networks = {name: network(model, i) for i, name in enumerate(("model", "teacher", "critic"))}
    sampler = sampler or FewStepSamplerConfig(steps=3)
    return config.build(tokenizer or PixelTokenizerConfig().build(), networks, sampler.build(), seed)


def batch(frames: int = 11, seed: int = 5) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (B, frames, *SHAPE[1:], 3), generator=generator, dtype=torch.uint8)
    rows = torch.randint(0, 3, (B, frames - 1, 1), generator=generator)
    return Clip(pixels, ACTIONS.encode(rows.float()), seed)


@pytest.fixture(params=[TRANSFORMER, replace(TRANSFORMER, layout="full", sink=1), UNET], ids=["axial", "full", "u-net"])
def model(request):
    return request.param


def positions(taught: StreamingLongTuning, steps: int, frames: int = 11) -> list[int]:
    """Return where the sequence stands after each of so many steps."""
    found = []
    for step in range(steps):
        assert list(dict(taught.losses(batch(frames, seed=step), step)))[-1] == "critic"
        found.append(taught.state.of(0).position)
    return found


def test_a_sequence_goes_on_from_step_to_step_and_begins_again_at_its_end(model) -> None:
    assert positions(method(model=model), 4) == [3, 6, 9, 3]
