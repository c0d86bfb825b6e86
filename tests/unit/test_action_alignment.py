"""Which drawn latents an action changes, where a latent holds several frames and a block several latents."""

import pytest
import torch
from test_self_forcing import ACTIONS, SHAPE, TRANSFORMER, network

from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformer, DiffusionTransformerConfig
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.few_step import FewStepSamplerConfig

STRIDE, BLOCK, PROMPT, END = 4, 3, 3, 12  # frames in a latent; latents in a block, in the prompt, in all
CONFIG = DiffusionTransformerConfig(
    width=TRANSFORMER.width, depth=2, heads=2, window=PROMPT + BLOCK, block=BLOCK, stride=STRIDE
)


@pytest.fixture(scope="module")
def model() -> DiffusionTransformer:
    return network(CONFIG).eval()


@torch.no_grad()
def drawn(model: DiffusionTransformer, rows: torch.Tensor) -> torch.Tensor:
    """Continue a fixed prompt in play, under an action between every two frames."""
    prompt = torch.randn(1, PROMPT, *SHAPE, generator=torch.Generator().manual_seed(2))
    whole = LatentClip.encoded(prompt.expand(1, PROMPT, *SHAPE), rows[:, : PROMPT * STRIDE - 1], STRIDE)
    state = model.prefill(whole)
    first = PROMPT * STRIDE - 1  # the action that leads to the first frame of the first drawn latent
    steps = rows[:, first:].split(BLOCK * STRIDE, dim=1)
    return torch.cat([prompt, *rollout(model, FewStepSamplerConfig(steps=2).build(), state, steps, seeded(1, 1))], 1)


@pytest.mark.parametrize("changed", range(STRIDE - 1, END * STRIDE - 1, 3))
def test_an_action_first_changes_the_block_that_holds_the_frame_it_leads_to(model, changed: int) -> None:
    """A block's latents see each other, so all of it changes; what came before it stays, to the last bit."""
    keys = torch.randint(0, 3, (1, END * STRIDE - 1, 1), generator=torch.Generator().manual_seed(4)).float()
    rows = ACTIONS.encode(keys)
    other = rows.clone()
    other[:, changed] = rows[:, changed].roll(1, -1)
    before, after = drawn(model, rows), drawn(model, other)
    latent = (changed + 1) // STRIDE
    start = max(latent // BLOCK * BLOCK, PROMPT)  # the prompt itself is given
    assert torch.equal(after[:, :start], before[:, :start])
    assert (after[:, start : start + BLOCK] != before[:, start : start + BLOCK]).flatten(2).any(2).all()


@torch.no_grad()
def test_actions_within_the_first_latent_lead_to_nothing_that_is_drawn(model) -> None:
    rows = torch.zeros(1, END * STRIDE - 1, ACTIONS.features)
    other = rows.clone()
    other[:, : STRIDE - 1] = 1
    assert torch.equal(drawn(model, rows), drawn(model, other))
