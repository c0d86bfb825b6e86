"""Objectives against closed forms, graded on models simple enough to work out by hand."""

import pytest
import torch
from torch import nn

from hallucade.diffusion.schedules import RectifiedFlow
from hallucade.diffusion.targets import loss_scale
from hallucade.diffusion.timesteps import LogitNormalLevels, UniformLevels
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.objectives.next_frame import NextFrameConfig

B, T, C, H, W, A = 2, 7, 3, 6, 10, 5
PURE_NOISE = LogitNormalLevels(pure_noise_share=1.0)


class KnownModel(DiffusionModel[None]):
    """Says what a subclass says, and remembers what it was given."""

    def __init__(self, gain: float = 0.5, lead: int = 0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.schedule, self.lead = RectifiedFlow(), lead
        self.seen = []  # (noisy, levels, actions, dropped) of every call

    def forward(self, noisy, levels, actions, dropped=None):
        self.seen.append((noisy.detach(), levels, actions, dropped))
        return self.gain * self.guess(noisy)

    def guess(self, noisy):
        raise NotImplementedError

    def initial(self, latent):
        raise NotImplementedError

    def observe(self, state, action, latent):
        raise NotImplementedError

    def fork(self, state):
        raise NotImplementedError

    def denoise(self, state, action, noisy, level):
        raise NotImplementedError


class Grey(KnownModel):
    """Predicts one grey everywhere."""

    def guess(self, noisy):
        return torch.ones_like(noisy[:, self.lead :])


class Repeat(KnownModel):
    """Predicts the newest past frame, fainter."""

    def guess(self, noisy):
        return noisy[:, self.lead - 1 : -1]


def clip(batch=B, frames=T, height=H, width=W) -> LatentClip:
    latents = torch.rand(batch, frames, C, height, width) * 2 - 1
    return LatentClip(latents, torch.randn(batch, frames - 1, A))


def squared_error(latents, answer=0.5):
    """Mean over the elements of each frame, `b t`."""
    return (latents - answer).square().flatten(2).mean(2)


def graded(config, model, clip, seed=0):
    (loss,) = config.build()(model, clip, torch.Generator().manual_seed(seed)).values()
    return loss


# Diffusion forcing


def test_forcing_grades_every_frame_in_x_by_its_mean_error():
    play, model = clip(), Grey()
    loss = graded(DiffusionForcingConfig(loss_space="x", clean_share=0.0), model, play)
    torch.testing.assert_close(loss, squared_error(play.latents).mean())
    loss.backward()
    torch.testing.assert_close(model.gain.grad, 2 * (0.5 - play.latents).mean())


@pytest.mark.parametrize("space", ["eps", "v", "flow"])
def test_forcing_weighs_each_frame_by_the_level_it_was_given(space):
    play, model = clip(), Grey()
    config = DiffusionForcingConfig(loss_space=space, clean_share=0.0, levels=UniformLevels())
    loss = graded(config, model, play)
    ((noisy, levels, actions, dropped),) = model.seen
    assert levels.unique().numel() == B * T  # independent from frame to frame
    torch.testing.assert_close(loss, (squared_error(play.latents) * loss_scale(space, levels, model.schedule)).mean())
    assert torch.equal(actions, play.actions)
    assert dropped is None
    eps = model.schedule.noise_of(play.latents, noisy, levels)
    assert abs(eps.std() - 1) < 0.1
    assert abs(eps.mean()) < 0.1


def test_forcing_never_grades_clean_context():
    play, model = clip(batch=150), Grey()
    config = DiffusionForcingConfig(loss_space="x", clean_share=1.0, context_noise=0.1, levels=PURE_NOISE)
    loss = graded(config, model, play)
    levels = model.seen[0][1]
    noisy = levels == 1
    assert (levels[~noisy] <= 0.1).all()
    assert noisy[:, -1].all()  # a clip always asks for something
    assert not noisy[:, 0].any()  # and always gives something
    assert (noisy.int().diff(dim=1) >= 0).all()  # context comes first
    assert set(noisy.sum(1).tolist()) == set(range(1, T))  # every length of context
    torch.testing.assert_close(loss, squared_error(play.latents)[noisy].mean())
    play.latents[~noisy] += 100
    torch.testing.assert_close(graded(config, Grey(), play), loss)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_forcing_gives_clean_context_to_its_share_of_the_clips(share):
    model = Grey()
    graded(DiffusionForcingConfig(clean_share=share, levels=PURE_NOISE), model, clip(batch=400, height=1, width=1))
    assert abs((model.seen[0][1][:, 0] < 1).float().mean() - share) < 0.1


def test_forcing_leaves_the_lead_of_a_model_ungraded():
    play, model = clip(), Grey(lead=3)
    loss = graded(DiffusionForcingConfig(loss_space="x", clean_share=0.0), model, play)
    torch.testing.assert_close(loss, squared_error(play.latents)[:, 3:].mean())


def test_forcing_counts_what_moves_more():
    play = clip()
    play.latents[:] = play.latents[:, :1]
    play.latents[:, 4:, :, 2, 3:5] += 0.5  # two of sixty pixels jump once, between frames 3 and 4
    loss = graded(DiffusionForcingConfig(loss_space="x", clean_share=0.0, motion_weight=6.0), Grey(), play)
    jump = (play.latents[:, 4, :, 2, 3:5] - 0.5).square().sum() * 6.0
    torch.testing.assert_close(loss, squared_error(play.latents).mean() + jump / play.latents.numel())


def test_forcing_drops_its_share_of_the_actions():
    model, play = Grey(), clip(batch=300, height=1, width=1)
    graded(DiffusionForcingConfig(action_dropout=0.2), model, play)
    dropped = model.seen[0][3]
    assert dropped.shape == play.actions.shape[:2]
    assert abs(dropped.float().mean() - 0.2) < 0.04


def test_forcing_needs_two_frames():
    with pytest.raises(ValueError, match="clips of 1 latents are one block of 1; diffusion forcing needs 2"):
        graded(DiffusionForcingConfig(), Grey(), clip(frames=1))


# Next frame


def test_next_frame_unrolls_over_its_own_predictions():
    play, g = clip(), 0.5
    loss = graded(NextFrameConfig(loss_space="x", context_noise=0.0), Repeat(g, lead=2), play)
    start = play.latents[:, 1]
    errors = [(g ** (i - 1) * start - play.latents[:, i]).square().mean() for i in range(2, T)]
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_next_frame_with_true_frames_never_sees_its_own():
    play, g = clip(), 0.5
    loss = graded(NextFrameConfig(loss_space="x", context_noise=0.0, own_frames=False), Repeat(g, lead=2), play)
    torch.testing.assert_close(loss, (g * play.latents[:, 1:-1] - play.latents[:, 2:]).square().mean())


@pytest.mark.parametrize("through_time", [True, False])
def test_gradients_reach_earlier_predictions_only_through_time(through_time):
    play, g = clip(), 0.5
    model = Repeat(g, lead=2)
    config = NextFrameConfig(loss_space="x", context_noise=0.0, through_time=through_time)
    graded(config, model, play).backward()
    start = play.latents[:, 1]
    slopes = []
    for n, i in enumerate(range(2, T), 1):  # frame i is predicted as g^n times the start
        error = g**n * start - play.latents[:, i]
        slope = (n if through_time else 1) * g ** (n - 1) * start  # of all n factors, or of the last alone
        slopes.append((2 * error * slope).mean())
    torch.testing.assert_close(model.gain.grad, torch.stack(slopes).mean())


def test_no_gradient_reaches_the_past_through_true_frames():
    gradients = []
    for through_time in (False, True):
        torch.manual_seed(3)
        play, model = clip(), Repeat(lead=2)
        graded(NextFrameConfig(own_frames=False, through_time=through_time), model, play).backward()
        gradients.append(model.gain.grad)
    assert torch.equal(*gradients)


def test_a_prediction_beyond_the_tolerance_is_replaced_by_the_truth_row_by_row():
    play, model = clip(), Repeat(1.0, lead=2)
    play.latents[:] = play.latents[:, 1:2]
    play.latents[0, 2:] += 0.04  # near enough
    play.latents[1, 2:, 1, 4, 7] += 0.2  # one element of the picture is not
    graded(NextFrameConfig(context_noise=0.0, tolerance=0.1), model, play)
    newest = model.seen[1][0][:, 1]  # of the context of the second prediction
    torch.testing.assert_close(newest[0], play.latents[0, 1])
    torch.testing.assert_close(newest[1], play.latents[1, 2])
    assert (newest[0] - play.latents[0, 2]).abs().min() > 0.03


def test_a_replaced_prediction_carries_no_gradient_on():
    def gradient(**changes):
        torch.manual_seed(3)
        play, model = clip(), Repeat(lead=2)
        graded(NextFrameConfig(context_noise=0.0, **changes), model, play).backward()
        return model.gain.grad

    torch.testing.assert_close(gradient(tolerance=1e-6, through_time=True), gradient(own_frames=False))
    torch.testing.assert_close(gradient(tolerance=99.0, through_time=True), gradient(through_time=True))


def test_next_frame_gives_a_model_its_context_its_actions_and_one_level_a_clip():
    play, model = clip(batch=30), Repeat(lead=2)
    graded(NextFrameConfig(context_noise=0.2, levels=PURE_NOISE), model, play)
    assert len(model.seen) == T - 2
    for i, (noisy, levels, actions, dropped) in enumerate(model.seen, 2):
        assert noisy.shape == (30, 3, C, H, W)
        assert torch.equal(actions, play.actions[:, i - 2 : i])
        assert dropped is None
        assert torch.equal(levels[:, 0], levels[:, 1])
        assert levels[:, 0].unique().numel() == 30
        assert 0.1 < levels[:, 0].max() <= 0.2
        assert (levels[:, 2] == 1).all()


@pytest.mark.parametrize("space", ["eps", "v", "flow"])
def test_next_frame_weighs_each_clip_by_its_level(space):
    play, model = clip(), Repeat(lead=T - 1)  # one frame to predict
    loss = graded(NextFrameConfig(loss_space=space, context_noise=0.0), model, play)
    error = (0.5 * play.latents[:, -2] - play.latents[:, -1]).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, (error * loss_scale(space, model.seen[0][1][:, -1], model.schedule)).mean())


def test_next_frame_counts_what_moves_more():
    play = clip()
    play.latents[:] = play.latents[:, :1]
    play.latents[:, 4:, :, 2, 3:5] += 0.5
    config = NextFrameConfig(loss_space="x", context_noise=0.0, own_frames=False)
    plain = graded(config, Grey(lead=2), play)
    weighted = graded(NextFrameConfig(**{**vars(config), "motion_weight": 6.0}), Grey(lead=2), play)
    jump = (play.latents[:, 4, :, 2, 3:5] - 0.5).square().sum() * 6.0
    torch.testing.assert_close(weighted, plain + jump / play.latents[:, 2:].numel())


def test_next_frame_drops_its_share_of_the_actions():
    model = Repeat(lead=2)
    graded(NextFrameConfig(action_dropout=0.2), model, clip(batch=200, height=1, width=1))
    shares = [dropped.float().mean() for *_, dropped in model.seen]
    assert abs(sum(shares) / len(shares) - 0.2) < 0.04


def test_next_frame_says_what_it_needs():
    with pytest.raises(ValueError, match="clips of 3 frames; the model needs 3 of context and at least one to predict"):
        graded(NextFrameConfig(), Repeat(lead=3), clip(frames=3))
    with pytest.raises(ValueError, match=r"Grey has no fixed context.*diffusion forcing"):
        graded(NextFrameConfig(), Grey(lead=0), clip())


# Both

BOTH = [
    DiffusionForcingConfig(motion_weight=3.0),
    NextFrameConfig(motion_weight=3.0, levels=LogitNormalLevels(pure_noise_share=0.5)),
]


@pytest.mark.parametrize("kind", [DiffusionForcingConfig, NextFrameConfig])
def test_a_tiled_picture_has_the_loss_of_one_tile(kind):
    play, config = clip(), kind(motion_weight=3.0, levels=PURE_NOISE)  # no level depends on how much noise was drawn
    tiled = LatentClip(play.latents.tile(1, 1, 1, 2, 3), play.actions)
    torch.testing.assert_close(graded(config, Grey(lead=2), tiled), graded(config, Grey(lead=2), play))


@pytest.mark.parametrize("config", BOTH, ids=["forcing", "next frame"])
def test_a_repeated_batch_moves_no_mean(config):
    losses = [graded(config, Grey(lead=2), clip(batch=500, height=2, width=3), seed) for seed in (0, 1)]
    assert losses[0] != losses[1]
    torch.testing.assert_close(losses[0], losses[1], rtol=0.2, atol=0)


@pytest.mark.parametrize("config", BOTH, ids=["forcing", "next frame"])
def test_the_generator_is_the_only_source_of_randomness(config):
    play = clip()
    first = graded(config, Repeat(lead=2), play, seed=4)
    torch.manual_seed(99)
    assert torch.equal(graded(config, Repeat(lead=2), play, seed=4), first)
    assert not torch.equal(graded(config, Repeat(lead=2), play, seed=5), first)


@pytest.mark.parametrize("kind", [DiffusionForcingConfig, NextFrameConfig])
@pytest.mark.parametrize(("name", "value"), [("context_noise", 1.5), ("action_dropout", -0.1), ("motion_weight", -1.0)])
def test_impossible_settings_are_refused(kind, name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        kind(**{name: value})


def test_impossible_settings_of_one_objective_are_refused():
    with pytest.raises(ValueError, match=r"clean_share is 2.0; it lies between 0 and 1"):
        DiffusionForcingConfig(clean_share=2.0)
    with pytest.raises(ValueError, match=r"tolerance is 0.0; it must be positive, or None for any error"):
        NextFrameConfig(tolerance=0.0)
