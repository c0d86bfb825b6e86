"""A given picture in channels of its own: in one pass, in a game without end, and in training."""

from dataclasses import replace

import pytest
import torch

from hallucade.actions import ActionSpace, Button
from hallucade.diffusion.weighting import EqualWeight, MinSNRWeight
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.image_condition import image_channels
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.samplers.view import ModelView

SMALL = DiffusionTransformerConfig(width=24, heads=2, depth=2, window=4, stride=2, image_condition="every_frame")
FIRE = ActionSpace(buttons=(Button(name="fire"),))
LEVEL = torch.full((2,), 0.6)


def shaken(config):
    torch.manual_seed(3)
    model = config.build(FIRE, (3, 8, 12)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def drawn(latents: int) -> LatentClip:
    return LatentClip(torch.randn(2, latents, 3, 8, 12), torch.rand(2, 2 * latents - 2, 1))


def test_mask_and_picture_stand_where_they_should():
    image, given = torch.randn(2, 1, 3, 5, 7), torch.tensor([True, False, False, False])
    for kind in ("first_frame", "every_frame"):
        channels = image_channels(kind, image, given, 4)
        assert channels.shape == (2, 4, 4 + 3, 5, 7)
        assert (channels[:, 0, :4] == 1).all()
        assert (channels[:, 1:, :4] == 0).all()
        assert torch.equal(channels[:, :1, 4:], image)
        later = channels[:, 1:, 4:]
        assert torch.equal(later, torch.zeros_like(later) if kind == "first_frame" else image.expand_as(later))


def test_the_network_reads_a_mask_for_every_frame_of_a_latent():
    plain = replace(SMALL, image_condition="none").build(FIRE, (3, 8, 12))
    conditioned = SMALL.build(FIRE, (3, 8, 12))
    more = conditioned.embed.project.in_features - plain.embed.project.in_features
    assert more == (2 + 3) * SMALL.patch**2
    assert conditioned.output.project.out_features == plain.output.project.out_features


@torch.no_grad()
@pytest.mark.parametrize("kind", ["first_frame", "every_frame"])
def test_a_memory_keeps_the_condition_when_the_first_frame_left_its_window(kind):
    model, whole = shaken(replace(SMALL, image_condition=kind)), drawn(12)
    state = model.initial(whole.latents[:, :1])
    levels = torch.zeros(2, 12)
    for i in range(1, 12):
        action, latent = whole.actions[:, 2 * i - 2 : 2 * i], whole.latents[:, i : i + 1]
        levels[:, i] = 0.6
        parallel = model(whole.latents[:, : i + 1], levels[:, : i + 1], whole.actions[:, : 2 * i])[:, -1:]
        torch.testing.assert_close(model.denoise(state, action, latent, LEVEL), parallel, rtol=1e-5, atol=1e-5)
        levels[:, i] = 0
        state = model.observe(state, action, latent)


@torch.no_grad()
def test_a_picture_on_every_frame_is_seen_after_the_first_frame_is_forgotten():
    model, whole, image = shaken(SMALL), drawn(12), torch.randn(2, 1, 3, 8, 12)
    change = model(whole.latents, torch.rand(2, 12), whole.actions, image=image)
    change = change - model(whole.latents, torch.rand(2, 12), whole.actions)
    assert change[:, -1].abs().max() > 1e-3


@torch.no_grad()
def test_the_picture_can_be_exchanged_in_the_middle_of_a_game():
    model, whole, image = shaken(SMALL), drawn(12), torch.randn(2, 1, 3, 8, 12)
    state = model.prefill(whole)
    ask = whole.actions[:, :2], whole.latents[:, :1], LEVEL
    before = model.denoise(state, *ask)
    other = model.conditioned_on(model.fork(state), image)
    assert (model.denoise(other, *ask) - before).abs().max() > 1e-3
    torch.testing.assert_close(model.denoise(state, *ask), before, rtol=0, atol=0)
    # Two layers of a window of 4: after 6 frames under the new picture, nothing of the old one is left.
    fresh = model.prefill(LatentClip(image, whole.actions[:, :0]))
    for i in range(1, 8):
        action, latent = whole.actions[:, 2 * i - 2 : 2 * i], whole.latents[:, i : i + 1]
        other, fresh = model.observe(other, action, latent), model.observe(fresh, action, latent)
    torch.testing.assert_close(model.denoise(other, *ask), model.denoise(fresh, *ask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "first_frame"])
def test_models_without_a_picture_to_exchange_say_so(kind):
    model = replace(SMALL, image_condition=kind).build(FIRE, (3, 8, 12))
    with pytest.raises(ValueError, match=f'image_condition is "{kind}".*image_condition="every_frame"'):
        model.conditioned_on(model.blank(2), torch.zeros(2, 1, 3, 8, 12))


@pytest.mark.parametrize("weight", [EqualWeight(), MinSNRWeight()])
def test_training_leaves_the_given_frame_clean_and_ungraded(weight):
    class Spy(ModelView):
        """Predicts zeros and keeps what it was asked."""

        def forward(self, noisy, levels, actions, dropped=None):
            self.asked = noisy, levels
            return torch.zeros_like(noisy)

    config = DiffusionForcingConfig(clean_share=0.0, loss_space="x", level_weight=weight)
    clip, generator = drawn(5), torch.Generator().manual_seed(0)
    spy = Spy(SMALL.build(FIRE, (3, 8, 12)))
    loss = config.build()(spy, clip, generator)["denoising"]
    noisy, levels = spy.asked
    assert torch.equal(noisy[:, 0], clip.latents[:, 0])
    assert (levels[:, 0] == 0).all()
    assert (levels[:, 1:] > 0).all()
    error = clip.latents[:, 1:].square().flatten(2).mean(2)
    expected = error * weight.weight("x", levels[:, 1:], spy.schedule)
    torch.testing.assert_close(loss, expected.mean())


def test_a_fresh_network_learns_to_repeat_the_picture():
    # Nothing but the condition tells: the frames are noise, and the first one left the window.
    torch.manual_seed(0)
    model = replace(SMALL, width=32).build(FIRE, (3, 4, 8))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = list[float]()
    for _ in range(80):
        picture = torch.randn(8, 1, 3, 1, 1).expand(-1, -1, -1, 4, 8)
        noisy = torch.cat([picture, torch.randn(8, 4, 3, 4, 8)], 1)
        levels = torch.ones(8, 5)
        levels[:, 0] = 0
        loss = (model(noisy, levels, torch.zeros(8, 8, 1))[:, -1] - picture[:, 0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.3 < sum(losses[:5]) / 5
