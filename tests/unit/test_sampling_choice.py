"""Another sampler for a run: what a choice makes of the run's own, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hallucade.actions import ActionSpace, Choice
from hallucade.diffusion.timesteps import UniformLevels
from hallucade.models.base import LatentClip, WorldModel
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.pong import pong
from hallucade.recipes.sampling import resampled
from hallucade.rollout import Prompt, World, dream
from hallucade.samplers.base import SamplerConfig, seeded
from hallucade.samplers.categorical import CodeChoice
from hallucade.samplers.choice import SamplingChoice
from hallucade.samplers.clipwise import ClipwiseSamplerConfig
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.samplers.raster import RasterSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer

ACTIONS = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
H, W, WINDOW = 4, 6, 3
FLOW, DDIM = FlowSamplerConfig(steps=3, shift=2.0), DDIMSamplerConfig(steps=5, eta=0.5)
GUIDED = GuidedSamplerConfig(sampler=DDIM, history_level=0.02)
MASKGIT = MaskGITSamplerConfig(choice=CodeChoice(top_k=9))
PYRAMID = ClipwiseSamplerConfig(joint=JointSamplerConfig(steps=5, lag=1, eta=0.5), clip=16)


@pytest.mark.parametrize(
    ("own", "choice", "expected"),
    [
        (FLOW, {}, FLOW),
        (GUIDED, {}, GUIDED),
        (FLOW, {"sampling_steps": 7}, replace(FLOW, steps=7)),
        (FLOW, {"sampler": "ddim", "eta": 0.25}, DDIMSamplerConfig(steps=3, shift=2.0, eta=0.25)),
        (DDIM, {"sampler": "flow", "order": 2}, FlowSamplerConfig(steps=5, order=2)),
        (FLOW, {"action_guidance": 1.5}, GuidedSamplerConfig(sampler=FLOW, action=1.5)),
        (replace(FLOW, guidance=2.0), {"action_guidance": 1.5}, GuidedSamplerConfig(sampler=FLOW, action=1.5)),
        (replace(FLOW, guidance=2.0), {"limit": 1.0}, GuidedSamplerConfig(sampler=FLOW, action=2.0, limit=1.0)),
        (GUIDED, {"history_guidance": 2.0}, replace(GUIDED, history=2.0)),
        (DDIM, {"schedule": "pyramid"}, PYRAMID),
        (GUIDED, {"schedule": "pyramid", "clip": 8}, replace(GUIDED, sampler=replace(PYRAMID, clip=8))),
        (PYRAMID, {"eta": 0.0}, replace(PYRAMID, joint=JointSamplerConfig(steps=5, lag=1))),
        (PYRAMID, {"schedule": "full_sequence"}, replace(PYRAMID, joint=JointSamplerConfig(steps=5, eta=0.5))),
        (PYRAMID, {"schedule": "autoregressive", "sampler": "flow"}, FlowSamplerConfig(steps=5)),
        (MASKGIT, {"temperature": 0.0}, replace(MASKGIT, choice=CodeChoice(temperature=0.0, top_k=9))),
        (
            MASKGIT,
            {"sampling_steps": 4, "top_p": 0.5},
            replace(MASKGIT, steps=4, choice=CodeChoice(top_k=9, top_p=0.5)),
        ),
        (RasterSamplerConfig(), {"top_k": 5}, RasterSamplerConfig(choice=CodeChoice(top_k=5))),
    ],
)
def test_a_choice_changes_what_it_names_and_keeps_the_rest(own: SamplerConfig, choice: dict, expected: SamplerConfig):
    assert SamplingChoice(**choice).of(own) == expected


@pytest.mark.parametrize(
    ("own", "choice", "remedy"),
    [
        (FLOW, {"eta": 0.5}, "FlowSamplerConfig has no eta; --sampler ddim has it"),
        (DDIM, {"order": 2}, "DDIMSamplerConfig has no order; --sampler flow has it"),
        (DDIM, {"clip": 8}, "drawn one by one; add --schedule pyramid"),
        (FLOW, {"schedule": "pyramid", "sampler": "flow"}, "leave out --sampler flow"),
        (FlowSamplerConfig(), {"schedule": "full_sequence"}, "full_sequence of 1 step; add --sampling-steps 10"),
        (DDIM, {"schedule": "pyramid", "clip": 0}, "clip is 0"),
        (DDIM, {"sampling_steps": 0}, "sampling steps is 0"),
        (DDIM, {"limit": -1.0}, "limit is -1.0"),
        (
            FLOW,
            {"temperature": 0.5, "top_k": 3},
            "FlowSamplerConfig chooses no codes, and has no temperature and no top_k",
        ),
        (MASKGIT, {"temperature": -1.0}, "temperature is -1.0; use 0"),
        (RasterSamplerConfig(), {"sampling_steps": 4}, "^RasterSamplerConfig has no steps; leave it out"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(own: SamplerConfig, choice: dict, remedy: str):
    with pytest.raises(ValueError, match=remedy):
        SamplingChoice(**choice).of(own)


CLIPS_OF_ONE_LEVEL = DiffusionForcingConfig(levels=UniformLevels(per="clip"))


@pytest.mark.parametrize(
    ("objective", "choice", "remedy"),
    [
        (NextFrameConfig(), {"action_guidance": 2.0}, "train it with --objective.action-dropout 0.1"),
        (
            NextFrameConfig(),
            {"history_level": 0.2},
            "a past at noise level 0.2, and this run's NextFrameConfig went up",
        ),
        (NextFrameConfig(), {"history_guidance": 2.0}, "history guidance shows the network a past at noise level 1"),
        (NextFrameConfig(), {"schedule": "pyramid", "sampling_steps": 9}, "train it with DiffusionForcingConfig"),
        (CLIPS_OF_ONE_LEVEL, {"history_level": 0.2}, "went up to 0.1"),
    ],
)
def test_what_training_never_showed_is_refused(objective, choice: dict, remedy: str):
    run = replace(pong(), objective=objective)
    with pytest.raises(ValueError, match=remedy):
        resampled(run, SamplingChoice(**choice))
    assert resampled(run, SamplingChoice(history_level=0.1)).sampler == GuidedSamplerConfig(
        sampler=run.sampler, history_level=0.1
    )


def test_a_model_trained_so_takes_every_choice():
    run = replace(pong(), objective=DiffusionForcingConfig(action_dropout=0.1))
    choice = SamplingChoice(schedule="pyramid", sampling_steps=4, action_guidance=2.0, history_guidance=1.5)
    assert isinstance(resampled(run, choice).sampler, GuidedSamplerConfig)


@pytest.mark.parametrize("config", [FLOW, DDIM, GUIDED, PYRAMID])
def test_samplers_of_levels_refuse_a_model_that_has_none(config: SamplerConfig, counter):
    with pytest.raises(ValueError, match="steps through noise levels, and Counter has none"):
        config.view(counter)


# Clip after clip


@pytest.fixture(scope="module")
def model():
    config = DiffusionTransformerConfig(width=16, heads=2, depth=2, patch=2, window=WINDOW, layout="full")
    built = config.build(ACTIONS, (3, H, W))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator) + (parameter == 1))
    return built.eval()


def films(model, config: SamplerConfig, frames: int, rows: np.ndarray, prompt_frames: int = 2) -> np.ndarray:
    world = World(PixelTokenizer(), config.view(model), config.build(), ACTIONS, (H, W), 30.0)
    pictures = np.random.default_rng(5).integers(0, 256, (len(rows), prompt_frames, H, W, 3), np.uint8)
    prompts = [Prompt(p, np.zeros((prompt_frames - 1, 1), np.float32)) for p in pictures]
    return torch.cat(list(dream(world, prompts, rows[:, :frames])), 1).numpy()


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("prompt_frames", [1, 2])
def test_the_first_clip_is_the_joint_samplers_and_the_next_goes_on_from_its_end(model, lag: int, prompt_frames: int):
    joint = JointSamplerConfig(steps=3, lag=lag)
    config = ClipwiseSamplerConfig(joint=joint, clip=4)
    rows = np.random.default_rng(0).integers(0, 3, (1, 8, 1)).astype(np.float32)
    film = films(model, config, 8, rows, prompt_frames)
    pixels, generators = PixelTokenizer(), seeded(0, 1)
    pictures = np.random.default_rng(5).integers(0, 256, (1, prompt_frames, H, W, 3), np.uint8)
    pressed = torch.as_tensor(ACTIONS.encode(rows), dtype=torch.float32)
    before = torch.as_tensor(ACTIONS.encode(np.zeros((1, prompt_frames - 1, 1), np.float32)), dtype=torch.float32)
    prompt = LatentClip(pixels.encode(torch.from_numpy(pictures)), before)
    with torch.no_grad():
        first = joint.build()(model, prompt, pressed[:, :4], generators)
        recent = LatentClip(first[:, -WINDOW:], pressed[:, 4 - WINDOW + 1 : 4])
        second = joint.build()(model, recent, pressed[:, 4:], generators)
    assert np.array_equal(film, pixels.decode(torch.cat([first, second], 1)).numpy())


def test_batch_size_does_not_change_a_film_and_its_memory_does_not_grow(model):
    config = ClipwiseSamplerConfig(joint=JointSamplerConfig(steps=2, lag=1), clip=3)
    rows = np.random.default_rng(1).integers(0, 3, (5, 9, 1)).astype(np.float32)
    together, alone = films(model, config, 9, rows), films(model, config, 9, rows[:1])
    assert np.abs(together[0].astype(int) - alone[0]).max() <= 1
    view = config.view(model)
    state = view.prefill(LatentClip(torch.rand(2, 2, 3, H, W), torch.zeros(2, 1, 3)))
    for _ in range(4):
        state = view.observe(state, torch.zeros(2, 3, 3), torch.rand(2, 3, 3, H, W))
        assert state.latents.shape[1] == WINDOW
        assert state.actions.shape[1] == WINDOW - 1


@pytest.fixture
def counter():
    class Counter(WorldModel[int]):
        """Counts what it sees."""

        def initial(self, latent):
            return 1

        def observe(self, state, action, latent):
            return state + 1

        def fork(self, state):
            return state

    return Counter()


@pytest.mark.parametrize(
    ("own", "choice", "message"),
    [
        (FLOW, {"weaker_history_level": 0.5}, "no history guidance moves away from it; add --history-guidance 1.5"),
        (FLOW, {"weaker_history_level": 0.5, "history_guidance": 1.0}, "no history guidance moves away from it"),
        (FLOW, {"limit": float("nan")}, "limit is nan; it is positive"),
        (FLOW, {"shift": float("nan")}, "shift is nan; it must be positive and finite"),
        (DDIM, {"shift": float("inf")}, "shift is inf; it must be positive and finite"),
        (DDIM, {"sampling_steps": 10**9}, "sampling steps is 1000000000; use 10000 or fewer"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(own, choice, message):
    with pytest.raises(ValueError, match=message):
        SamplingChoice(**choice).of(own)


def test_a_weaker_history_is_for_guidance_that_the_run_has():
    guided = replace(GUIDED, history=1.5)
    assert SamplingChoice(weaker_history_level=0.5).of(guided) == replace(guided, weaker_history_level=0.5)
