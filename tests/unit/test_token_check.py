"""Diagnostics of worlds of codes by their definitions; R18: what is not defined is absent, and never 0."""

import math

import numpy as np
import pytest
import torch
from samples.codes import Memoryless
from torch import nn

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data.recorder import RecordingConfig, record
from hallucade.evaluation.dream_series import SeriesReader, dream_series, real_series, recorded_actions
from hallucade.evaluation.long_run.true_play import RecordedPlay
from hallucade.evaluation.metrics.code_statistics import mode_share, unique_codes
from hallucade.evaluation.token_check.check import TokenCheckConfig, evaluate_tokens, series_metrics
from hallucade.evaluation.token_check.predictions import GradedClips, agreement, own_past_gap, predictions
from hallucade.evaluation.token_check.strips import held_actions, storyboard
from hallucade.models.base import LatentClip
from hallucade.nn.film import FiLM
from hallucade.rollout import Prompt, World
from hallucade.samplers.base import seeded
from hallucade.samplers.categorical import CodeChoice
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.tokenizers.pictures import PictureTokenizer

H, W, CODES = 3, 4, 6
SIZE = 12  # pixels of a frame
ACTIONS = ActionSpace(buttons=(Button(name="fire"),), axes=(Axis(name="yaw", low=-20, high=10, by_key=5),))


class Greys(PictureTokenizer):
    """A code for each of six greys, of areas of 4x3 pixels."""

    codes = CODES

    def encode_pixels(self, pixels):
        means = nn.functional.avg_pool2d(pixels.mean(1), (SIZE // H, SIZE // W))
        return ((means + 1) / 2 * (CODES - 1)).round().long()

    def decode_pixels(self, latents):
        greys = latents.float() / (CODES - 1) * 2 - 1
        large = greys.repeat_interleave(SIZE // H, 1).repeat_interleave(SIZE // W, 2)
        return large[:, None].expand(-1, 3, -1, -1)

    def latent_shape(self, height, width):
        return (H, W)


class Rule(Memoryless):
    """Code c + 1 follows code c, with what is left even over all; an action above 0 makes it c + 2."""

    latent_shape, codes = (H, W), CODES

    def __init__(self, sure=0.8, modulated=False):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(math.log(sure / (1 - sure) * CODES + 1)))
        self.film = FiLM(2, 5) if modulated else None

    def initial(self, latent):
        return latent

    def prefill(self, clip):
        return clip.latents[:, -1:]

    def observe(self, state, action, latent):
        return latent

    def fork(self, state):
        return state.clone()

    def logits(self, state, action, tokens):
        return self._after(state, action)

    def forced_logits(self, clip, tokens, dropped=None):
        p = tokens.shape[1]
        return self._after(clip.latents[:, -p - 1 : -1], clip.actions[:, -p:])

    def _after(self, before, actions):
        if self.film is not None:
            self.film(actions)
        step = 1 + (actions[..., 0] > 0).long()[..., None, None]
        return self.logit * nn.functional.one_hot((before + step) % CODES, CODES).float()


def world(temperature=0.0, **choices):
    sampler = MaskGITSamplerConfig(steps=1, choice=CodeChoice(temperature=temperature)).build()
    return World(Greys(), Rule(**choices).eval(), sampler, ACTIONS, (SIZE, SIZE), 10.0)


def clips(graded=3, batch=2, rows=0.0):
    first = torch.randint(0, CODES, (batch, 1, H, W), generator=torch.Generator().manual_seed(0))
    latents = (first + torch.arange(graded + 2)[:, None, None]) % CODES
    return GradedClips(LatentClip(latents, torch.full((batch, graded + 1, 2), rows)), graded)


def test_r18_predictions_have_their_definitions():
    sure, even = 0.8 + 0.2 / CODES, 0.2 / CODES
    found = predictions(Rule().eval(), clips(), ACTIONS, torch.Generator().manual_seed(0))
    assert found["loss"] == pytest.approx(-math.log(sure), rel=1e-4)
    assert found["accuracy"] == pytest.approx(1)
    entropy = -sure * math.log(sure) - (CODES - 1) * even * math.log(even)
    assert found["entropy"] == pytest.approx(entropy, rel=1e-4)
    assert found["confidence"] == pytest.approx(sure, rel=1e-4)
    assert found["confidence_min"] == pytest.approx(sure, rel=1e-4)
    assert found["confidence_std"] == pytest.approx(0, abs=1e-6)


def test_r18_action_sensitivity_is_by_perturbation():
    """Half of the wrong actions press the button, which makes every cell another; the axis changes nothing."""
    found = predictions(Rule().eval(), clips(batch=400), ACTIONS, torch.Generator().manual_seed(0))
    assert set(found["action_changes"]) == {0.0, 1.0}
    assert found["action_changes"].mean() == pytest.approx(0.5, abs=0.1)
    sure, even = 0.8 + 0.2 / CODES, 0.2 / CODES
    changed = found["action_changes"] == 1
    assert found["action_kl"][changed] == pytest.approx((sure - even) * math.log(sure / even), rel=1e-4)
    assert found["action_kl"][~changed] == pytest.approx(0, abs=1e-6)


def test_r18_modulation_is_absent_where_there_is_none_and_0_where_it_is_0():
    generator = torch.Generator().manual_seed(0)
    assert "film_scale" not in predictions(Rule().eval(), clips(), ACTIONS, generator)
    model = Rule(modulated=True).eval()
    assert predictions(model, clips(), ACTIONS, generator)["film_scale"] == pytest.approx(0)
    with torch.no_grad():
        model.film.project.bias.copy_(torch.tensor([0.5] * 5 + [-0.25] * 5))
    found = predictions(model, clips(), ACTIONS, generator)
    assert found["film_scale"] == pytest.approx(0.5)
    assert found["film_shift"] == pytest.approx(0.25)


def test_r18_the_gap_of_an_own_past_is_unknown_without_one():
    true, generators = world(), seeded(0, 2)
    assert own_past_gap(true, clips(), generators)["loss_gap"] == pytest.approx(0, abs=1e-5)
    assert np.isnan(own_past_gap(true, clips(graded=1), generators)["loss_gap"]).all()
    drawn = own_past_gap(world(temperature=3.0), clips(graded=4), generators)["loss_gap"]
    assert (drawn > 0.3).all()


def test_r18_agreement_of_one_draw_is_unknown():
    def draw(number):
        return seeded(10 + number, 2)

    assert agreement(world(), clips(), draw, 5)["consistency"] == pytest.approx(1)
    assert np.isnan(agreement(world(), clips(), draw, 1)["consistency"]).all()
    assert (agreement(world(temperature=3.0), clips(), draw, 6)["consistency"] < 0.7).all()


def test_mode_share_and_unique_codes():
    draws = torch.tensor([[[1, 2], [3, 4]], [[1, 2], [3, 5]], [[1, 0], [3, 6]], [[1, 0], [0, 7]]])
    assert float(mode_share(draws)) == pytest.approx((1 + 0.5 + 0.75 + 0.25) / 4)
    assert unique_codes(torch.tensor([[[1, 1], [3, 1]], [[4, 5], [6, 7]]])).tolist() == [2, 4]


def test_held_actions_press_every_control_alone():
    space = ActionSpace(
        buttons=ACTIONS.buttons, choices=(Choice(name="go", options=("stay", "up")),), axes=ACTIONS.axes
    )
    assert {name: row.tolist() for name, row in held_actions(space).items()} == {
        "nothing": [0, 0, 0],
        "fire": [1, 0, 0],
        "up": [0, 1, 0],
        "yaw-": [0, 0, -5],
        "yaw+": [0, 0, 5],
    }


def test_a_storyboard_has_one_noise_for_all_actions():
    """The button changes what is dreamed, and the axis, which this world does not heed, changes nothing."""
    frames = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    board = storyboard(world(temperature=2.0), Prompt(frames, np.zeros((1, 2), np.float32)), 0, moments=(1, 3)).pixels
    names = list(held_actions(ACTIONS))
    below = [row[-SIZE:] for row in np.split(board, len(names))]
    rows = dict(zip(names, below, strict=True))
    assert names == ["nothing", "fire", "yaw-", "yaw+"]
    assert np.array_equal(rows["nothing"], rows["yaw-"])
    assert np.array_equal(rows["nothing"], rows["yaw+"])
    assert not np.array_equal(rows["nothing"], rows["fire"])


# Long dreams


def series(frames):
    """The statistics of frames `g n h w 3` after a black one."""
    reader = SeriesReader(np.zeros_like(frames[:, 0]))
    for first in range(0, frames.shape[1], 7):
        reader.add(torch.from_numpy(frames[:, first : first + 7]))
    return reader.result()


def noise(frames, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, frames, 8, 10, 3), dtype=np.uint8)


def test_what_fades_freezes_or_blurs_dies_when_it_does():
    real = series(noise(90))
    assert real.alive(real).all()
    fading, frozen, blurred = noise(90, 1), noise(90, 2), noise(90, 3)
    fading[0, 40:] = 128
    frozen[0, 40:] = frozen[0, 40]
    blurred[0, 40:] = blurred[0, 40:, :4, :5].repeat(2, 1).repeat(2, 2) // 3 + 80
    for frames in (fading, frozen, blurred):
        alive = series(frames).alive(real)
        assert alive[0, :40].all()
        assert not alive[0, 70:].any()
        assert alive[1].all()


def test_noise_as_sharp_as_play_that_moves_little_flickers_and_is_dead():
    slow = np.repeat(noise(10), 10, 1)  # a new picture every ten frames
    dream = slow.copy()
    dream[0, 40:] = noise(60, 1)[0]
    alive = series(dream).alive(series(slow))
    assert alive[0, :40].all()
    assert not alive[0, 60:].any()
    assert alive[1].all()


def test_a_dream_as_real_play_has_ratios_of_1_and_nothing_flashes():
    real = series(noise(120))
    metrics = series_metrics(series(noise(120, 1)), real)
    assert metrics["tokens/sharpness_ratio@100"] == pytest.approx(1, abs=0.05)
    assert "tokens/flash_period" not in metrics
    assert not [name for name in metrics if "unique" in name], "there were no codes"
    flashes = noise(120, 2)
    flashes[:, ::5] = 128
    assert series_metrics(series(flashes), real)["tokens/flash_period"] == 5


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "store"
    return record(RecordingConfig(frame_size=SIZE, frames=200, episode_length=40, validation_share=0.5), path)


def pong(store):
    small = world()
    return World(small.tokenizer, small.model, small.sampler, store.actions, store.frame_size, store.fps)


def test_a_world_of_codes_is_judged_as_such(store):
    config = TokenCheckConfig(clips=3, batch=2, frames=4, draws=2, games=2, long=60)
    found = evaluate_tokens(pong(store), store, config)
    assert {"tokens/entropy", "tokens/loss_gap", "tokens/unique_codes@10", "tokens/unique_codes_real"} <= set(
        found.metrics
    )
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert "tokens/film_scale" not in found.metrics
    assert [still.title for still in found.stills] == ["Stability", "Storyboard"]
    assert len(found.plots) == 2
    again = evaluate_tokens(pong(store), store, config)
    assert again.metrics == found.metrics


def test_a_dream_goes_on_under_the_actions_of_its_episode(store):
    play = RecordedPlay(store, 2, 4, 100)
    rows = recorded_actions(play, 90)
    known = int(play.lengths.min())
    assert rows.shape[1] == 90
    assert np.array_equal(rows[0, : play.lengths[0]], play.actions[0, : play.lengths[0]])
    assert np.array_equal(rows[0, play.lengths[0]], play.actions[0, 0])
    dream = dream_series(pong(store), play.prompts, rows, 0, [1, 50])
    real = real_series(pong(store), play, known, [1, 50])
    assert (sorted(dream.shown), sorted(real.shown)) == ([1, 50], [1])
    assert dream.series["unique_codes"].shape == (2, 90)


def test_bad_values_are_refused(store):
    with pytest.raises(ValueError, match="long is 3; use 6 or more"):
        TokenCheckConfig(long=3)
