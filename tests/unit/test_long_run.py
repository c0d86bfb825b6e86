"""A thousand frames beside the truth: what is measured, on dreams whose faults are known."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dot_game import ACTIONS, write_store
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.evaluate import evaluate
from hallucade.evaluation.game_check.dreaming import dream_chunks
from hallucade.evaluation.game_check.pong_truth import held_out_games
from hallucade.evaluation.intervals import mean_interval, share_interval
from hallucade.evaluation.long_run import check
from hallucade.evaluation.long_run.check import LongRunConfig, measure, run_beside_episodes, run_beside_game
from hallucade.evaluation.long_run.game_curves import GameCurves, Span, log_spans, merged, segments, up_to
from hallucade.evaluation.long_run.true_play import RecordedPlay, SimulatedPlay
from hallucade.evaluation.metrics.picture_statistics import brightness, contrast, flicker, sharpness
from hallucade.evaluation.perceptual import PerceptualConfig
from hallucade.evaluation.recorded_clips import ClipCheckConfig
from hallucade.games.maze import MAZE_ACTIONS
from hallucade.games.pong import PLAYER_Y, PONG_ACTIONS, PongConfig
from hallucade.games.registry import make_vector_game
from hallucade.models.base import WorldModel
from hallucade.rollout import World
from hallucade.samplers.base import Generators, seeded
from hallucade.tokenizers.pixel import PixelTokenizer

RNG = np.random.default_rng(3)


# Statistics of single pictures


def test_a_chequerboard_has_its_closed_forms():
    board = torch.zeros(3, 6, 10, 3, dtype=torch.uint8)
    board[:, ::2, ::2] = board[:, 1::2, 1::2] = 200
    torch.testing.assert_close(brightness(board), torch.full((3,), 100.0))
    torch.testing.assert_close(contrast(board), torch.full((3,), 100.0))
    torch.testing.assert_close(sharpness(board), torch.full((3,), 200.0))
    assert torch.equal(flicker(board), torch.zeros(1))


def test_a_colour_is_no_contrast_and_no_step():
    flat = torch.zeros(2, 6, 10, 3, dtype=torch.uint8)
    flat[..., 0], flat[..., 2] = 250, 30
    assert torch.equal(contrast(flat), torch.zeros(2))
    assert torch.equal(sharpness(flat), torch.zeros(2))


def test_flicker_counts_what_turns_back_by_the_smaller_of_its_steps():
    grey = torch.tensor([10, 60, 40, 90, 90, 95], dtype=torch.uint8)  # up 50, down 20, up 50, still, up 5
    frames = grey[:, None, None, None].expand(6, 4, 5, 3)
    assert flicker(frames).tolist() == [20, 20, 0, 0]


# Curves


def curves(games: int = 5, frames: int = 40, seed: int = 0) -> GameCurves:
    rng = np.random.default_rng(seed)
    series = {n: rng.random((games, frames)).astype(np.float32) * 3 for n in ("ssim", "one_ball")}
    return GameCurves(np.arange(games), series, frozenset({"one_ball"}))


def test_spans_cover_every_frame_once_and_grow():
    for frames in (1, 2, 7, 100, 1000):
        spans = log_spans(frames)
        assert [f for s in spans for f in range(s.first, s.last + 1)] == list(range(1, frames + 1))
        assert [f for s in segments(frames, 30) for f in range(s.first, s.last + 1)] == list(range(1, frames + 1))
    lengths = [s.last - s.first + 1 for s in log_spans(1000)]
    assert lengths[:5] == [1] * 5
    assert 100 < lengths[-1] < 250
    assert [up_to(h) for h in (1, 9, 10, 1000)] == [Span(1, 1), Span(9, 9), Span(10, 10), Span(901, 1000)]


def test_an_average_is_over_frames_and_then_over_games():
    found = curves()
    average = found.average("ssim", Span(3, 9))
    means = found.series["ssim"][:, 2:9].astype(np.float64).mean(1)
    half = 2.7764451 * means.std(ddof=1) / math.sqrt(5)  # t of four degrees of freedom
    assert average is not None
    assert (average.value, average.low, average.high) == pytest.approx(
        (means.mean(), means.mean() - half, means.mean() + half)
    )


def test_a_game_that_has_ended_is_left_out_and_too_few_give_nothing():
    found = curves(3, 10)
    found.series["ssim"][1, 4:] = np.nan
    found.series["ssim"][2, 7:] = np.nan
    two = found.average("ssim", Span(6, 7))
    assert two is not None
    assert two.value == pytest.approx(found.series["ssim"][[0, 2], 5:7].mean())
    assert found.average("ssim", Span(8, 10)) is None
    assert found.curve("ssim", "dream", [Span(1, 5), Span(8, 10)]).x == (5.0,)


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (1, 1, 5), (2, 2, 3)])
def test_ranks_of_any_size_in_any_order_give_the_same_bits(sizes: tuple[int, ...]):
    whole = curves(7, 33)
    ends = np.cumsum((0, *sizes))
    cuts = [slice(a, b) for a, b in pairwise(ends)]
    parts = [
        GameCurves(whole.games[cut], {n: v[cut] for n, v in whole.series.items()}, whole.shares) for cut in cuts[::-1]
    ]
    together = merged(parts)
    for span in log_spans(33):
        for name in ("ssim", "one_ball"):
            assert together.average(name, span) == whole.average(name, span)
    with pytest.raises(ValueError, match="in more than one part"):
        merged([whole, whole])


def test_intervals_have_their_closed_forms():
    assert mean_interval(np.array([2.0])) == (2, 2, 2)
    mean, low, high = mean_interval(np.array([1.0, 3.0]))
    assert (mean, low, high) == pytest.approx((2, 2 - 12.7062047, 2 + 12.7062047))
    low, high = share_interval(1.0, 8)
    assert (low, high) == pytest.approx((8 / (8 + 1.9599640**2), 1.0))
    assert share_interval(0.5, 10) == pytest.approx((0.2365931, 0.7634069))


# Dreams with known faults


class Fading(WorldModel[Any]):
    """Shows the last real frame, closer to grey with every step, and to the keys in its corner."""

    def __init__(self, fade: float, block: int = 1) -> None:
        super().__init__()
        self.fade, self.block = fade, block
        self.anchor = nn.Parameter(torch.zeros(1))

    def initial(self, latent: Tensor) -> Tensor:
        return latent[:, -1:]

    def observe(self, state: Tensor, action: Tensor, latent: Tensor) -> Tensor:
        return latent[:, -1:]

    def fork(self, state: Tensor) -> Tensor:
        return state.clone()


def show(model: Fading, state: Tensor, action: Tensor, generators: Generators) -> Tensor:
    steps = torch.arange(1, model.block + 1).reshape(1, -1, 1, 1, 1)
    return state * (1 - model.fade) ** steps


def fading(
    fade: float, game: str | None, actions: ActionSpace, size: tuple[int, int] = (24, 24), block: int = 1
) -> World:
    return World(PixelTokenizer(), Fading(fade, block), show, actions, size, 30.0, game)


SHORT = LongRunConfig(games=3, frames=30, segment=10, prompt_frames=4)


def test_a_frozen_dream_of_pong_is_the_copy_and_its_statistics_are_those_of_real_play():
    found = run_beside_game(fading(0.0, "pong", PONG_ACTIONS), SHORT).metrics
    for name in ("psnr", "ssim"):
        assert found[f"long/{name}@30"] == pytest.approx(found[f"long/copy_{name}@30"])
    assert found["long/paddle_error_px@30"] == pytest.approx(found["long/copy_paddle_error_px@30"], abs=0.1)
    assert found["long/one_ball_share_worst"] == 1
    assert found["long/contrast_ratio_worst"] == pytest.approx(1, abs=0.1)
    assert 0.3 < found["long/other_ssim@30"] < 0.9
    assert found["long/flicker_ratio@30"] == 0


def test_the_true_game_with_other_serves_is_itself_up_to_the_first_one():
    config = replace(SHORT, games=2, frames=300)
    rules = PongConfig(frame_size=24)
    games = held_out_games(rules, config.games, config.prompt_frames, config.frames, (0, 30), seed=4)
    truth = SimulatedPlay.of_pong(games)
    real, luck = truth.frames(0, 300), truth.frames_of_other_luck(0, 300)
    assert luck is not None
    assert truth.foreseeable is not None
    assert (~truth.foreseeable).sum() > 30, "games without a serve show nothing here"
    same = (real == luck).all((2, 3, 4))
    assert same[truth.foreseeable].all()
    assert same[~truth.foreseeable].mean() < 0.1
    player = [s[..., PLAYER_Y] for s in (truth.states, truth._other_luck)]
    assert np.array_equal(*player)  # the keys decide, and they are the same


def test_a_dream_that_fades_is_seen_in_contrast_and_sharpness_and_in_its_worst_segment():
    found = run_beside_game(fading(0.05, "pong", PONG_ACTIONS), SHORT).metrics
    assert found["long/contrast_ratio@30"] == found["long/contrast_ratio_worst"] < 0.45
    assert found["long/sharpness_ratio_worst"] < 0.45
    assert found["long/one_ball_share_worst"] < 0.5
    assert found["long/brightness_ratio@30"] > 2


def test_a_collapse_in_the_middle_is_not_forgiven_for_a_good_end():
    dark = np.ones((2, 30), np.float32)
    dark[:, 10:20] = 0.2
    blank = {n: np.full((2, 30), 1.0, np.float32) for n in ("contrast", "real_contrast")}
    found = check.long_metrics(GameCurves(np.arange(2), {**blank, "contrast": dark}), 30, 10, "long")
    assert found["long/contrast_ratio@30"] == 1
    assert found["long/contrast_ratio_worst"] == pytest.approx(0.2)


def test_any_built_in_game_has_a_long_run_and_others_are_refused():
    maze = evaluate(fading(0.0, "maze", MAZE_ACTIONS, (18, 30), block=4), long=SHORT)
    assert {"long/ssim@30", "long/other_ssim@30", "long/contrast_ratio_worst"} <= maze.metrics.keys()
    assert not [name for name in maze.metrics if "paddle" in name or "one_ball" in name]
    assert len(maze.stills) == 1
    assert any("nobody can foresee" in note for note in maze.notes)
    with pytest.raises(ValueError, match="the model does not play maze"):
        evaluate(fading(0.0, "maze", PONG_ACTIONS, (18, 30)), long=SHORT)


def test_the_truth_of_a_simulator_goes_on_from_its_prompts():
    world = fading(0.0, "maze", MAZE_ACTIONS, (18, 30))
    truth = SimulatedPlay.of_world(world, 2, 4, 6, (0, 3), seed=1)
    games = make_vector_game("maze", (18, 30))
    for i, prompt in enumerate(truth.prompts):
        assert prompt.state is not None
        games.set_state(prompt.state[None])
        for t in range(6):
            games.act(truth.actions[i : i + 1, t])
            assert np.array_equal(games.frames()[0], truth.frames(t, t + 1)[i, 0])


# Recorded episodes


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    write_store(tmp_path / "store", [3, 17, 4, 2, 5, 13, 2])  # episodes 1 and 5 are for validation
    return EpisodeStore(tmp_path / "store")


def test_episodes_are_dreamed_as_far_as_they_go(store: EpisodeStore):
    truth = RecordedPlay(store, games=9, prompt_frames=4, frames=1000)
    lengths = [store.episodes[i].frames for i in (1, 5)]
    assert truth.lengths.tolist() == [n - 4 for n in lengths]
    whole = [np.asarray(store.read(i, 0, n).frames) for i, n in zip((1, 5), lengths, strict=True)]
    seen = np.concatenate([truth.frames(t, t + 3) for t in range(0, truth.horizon, 3)], 1)
    for game, frames in enumerate(whole):
        assert np.array_equal(seen[game, : len(frames) - 4], frames[4:])
    assert np.array_equal(truth.prompts[0].frames, whole[0][:4])
    held = store.read(1, 3, lengths[0] - 3).actions
    assert np.array_equal(truth.actions[0], held)
    found = measure(fading(0.0, None, ACTIONS, (6, 10)), truth, (), seed=0)
    assert np.isnan(found.series["psnr"][1, int(truth.lengths[1]) :]).all()
    assert not np.isnan(found.series["psnr"][0]).any()


def test_a_store_adds_its_episodes_to_an_evaluation(store: EpisodeStore):
    clips = ClipCheckConfig(clips=2, prompt_frames=4, horizons=(1, 3), perceptual=PerceptualConfig(lite0="off"))
    world = replace(fading(0.0, None, ACTIONS, (6, 10)), fps=store.fps)
    found = evaluate(world, store, clips=clips, long=replace(SHORT, frames=9))
    assert {"clips/psnr@3", "episodes/psnr@9", "episodes/contrast_ratio_worst"} <= found.metrics.keys()
    assert evaluate(world, store, clips=clips, long=replace(SHORT, frames=0)).metrics.keys() == {
        name for name in found.metrics if name.startswith("clips/")
    }
    with pytest.raises(ValueError, match="longer than a prompt of 40 frames"):
        run_beside_episodes(world, store, replace(SHORT, prompt_frames=40))


# Memory


@pytest.mark.parametrize("block", [1, 3])
def test_chunks_are_the_dream_and_no_longer_than_asked(block: int):
    world = fading(0.1, "pong", PONG_ACTIONS, block=block)
    truth = SimulatedPlay.of_world(world, 2, 4, 11, (0, 3), seed=0)
    whole = next(dream_chunks(world, truth.prompts, truth.actions, seeded(0, 2), 99))
    parts = list(dream_chunks(world, truth.prompts, truth.actions, seeded(0, 2), 2))
    assert whole.shape[1] == 11
    assert np.array_equal(np.concatenate(parts, 1), whole)
    assert max(part.shape[1] for part in parts) == max(2, block)


def test_a_longer_run_draws_no_more_frames_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check, "CHUNK_BYTES", 3 * 24 * 24 * 3 * 7)  # seven frames of three games
    asked: list[int] = []
    frames = SimulatedPlay.frames

    def spied(truth: SimulatedPlay, first: int, last: int) -> np.ndarray:
        asked.append(last - first)
        return frames(truth, first, last)

    monkeypatch.setattr(SimulatedPlay, "frames", spied)
    chunked = run_beside_game(fading(0.05, "pong", PONG_ACTIONS), SHORT).metrics
    assert max(asked) == 7
    monkeypatch.undo()
    assert run_beside_game(fading(0.05, "pong", PONG_ACTIONS), SHORT).metrics == pytest.approx(chunked, rel=1e-5)
