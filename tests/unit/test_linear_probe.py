"""What can be read off features: closed forms, intervals, and beside whom."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.encoder_quality import EncoderCheckConfig, evaluate_encoder
from hallucade.evaluation.linear_probe import LinearProbeConfig, best_penalty, ridge, score
from hallucade.evaluation.state_clips import StateClips, changing_columns, state_clips
from hallucade.models.video_encoder import VideoEncoderConfig

ENCODER = VideoEncoderConfig(width=24, depth=2, heads=2, patch=4, tubelet=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    config = RecordingConfig(frames=1200, frame_size=12, episode_length=60, games=6, validation_share=0.3)
    return record(config, tmp_path_factory.mktemp("play") / "store")


def test_a_linear_map_is_found_again() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 7)) * [1, 5, 0.1, 1, 2, 1, 9] + 3
    weights = rng.normal(size=(7, 2))
    states = features @ weights + [4, -5]
    np.testing.assert_allclose(ridge(features, states, 1e-12)(features[:9] + 1), states[:9] + weights.sum(0), rtol=1e-6)
    np.testing.assert_allclose(ridge(features, states, 1e9)(features), np.tile(states.mean(0), (300, 1)), atol=1e-6)


def test_ridge_of_one_feature_shrinks_as_it_should() -> None:
    x = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    found = ridge(x, 6 * x + 2, 0.5)
    np.testing.assert_allclose(found(x), 6 * x / 1.5 + 2)  # 1 / (1 + penalty) of the slope


def test_the_penalty_is_chosen_on_other_episodes() -> None:
    rng = np.random.default_rng(1)
    features, noise = rng.normal(size=(60, 50)), rng.normal(size=(60, 1))
    episodes = np.arange(60) // 6
    empty = np.zeros((60, 1, 1, 1, 3), np.uint8)
    assert best_penalty(features, StateClips(empty, noise, episodes), (1e-6, 1e3)) == 1e3  # nothing is there
    told = features[:, :1] * 3.0
    assert best_penalty(features, StateClips(empty, told, episodes), (1e-6, 1e3)) == 1e-6


def test_scores_are_shares_of_variance_and_errors_in_units() -> None:
    true = np.array([0.0, 2, 4, 6])
    found = score(true + np.array([1.0, -1, 1, -1]), true, np.array([0, 0, 1, 1]), 200, np.random.default_rng(0))
    assert found.r2 == pytest.approx(1 - 4 / 20)
    assert found.error == 1.0
    assert found.error_interval == (1.0, 1.0)
    assert found.spread == pytest.approx(5**0.5)
    mean = score(np.full(4, 3.0), true, np.array([0, 0, 1, 1]), 200, np.random.default_rng(0))
    assert mean.r2 == pytest.approx(0)


def test_intervals_are_wider_where_episodes_are_alike_within() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=400)
    off = np.repeat(rng.normal(size=20), 20)  # a whole episode is off alike
    together = score(true + off, true, np.repeat(np.arange(20), 20), 500, np.random.default_rng(0))
    apart = score(true + off, true, np.arange(400), 500, np.random.default_rng(0))
    width = [high - low for low, high in (together.error_interval, apart.error_interval)]
    assert width[0] > 2 * width[1]


def test_clips_come_with_the_state_of_their_last_frame(store: EpisodeStore) -> None:
    clips = state_clips(store, "validation", ("ball_x", "player_y"), 4, 5, np.random.default_rng(0))
    assert clips.frames.shape == (5, 4, 12, 12, 3)
    for frames, state, index in zip(clips.frames, clips.states, clips.episodes, strict=True):
        episode = store.episode(int(index))
        assert store.episodes[int(index)].split == "validation"
        starts = [s for s in range(len(episode.frames) - 3) if (episode.frames[s : s + 4] == frames).all()]
        assert any((episode.state[s + 3][[2, 1]] == state).all() for s in starts)


def test_what_stays_as_it_is_within_episodes_is_not_read(store: EpisodeStore, tmp_path: Path) -> None:
    found = changing_columns(store, ())
    assert "seed" not in found
    assert {"ball_x", "ball_vy", "player_y"} <= set(found)
    assert changing_columns(store, ("ball_y",)) == ("ball_y",)
    with pytest.raises(ValueError, match="has no state ballx; choose among opponent_y, player_y, ball_x"):
        changing_columns(store, ("ballx",))


def test_a_trained_encoder_stands_beside_a_random_one(store: EpisodeStore) -> None:
    torch.manual_seed(0)
    encoder = ENCODER.build((12, 12))
    probing = LinearProbeConfig(columns=("player_y", "ball_x"), clips=200, held_out=100, frames=4, resamples=50)
    told: list[str] = []
    found = evaluate_encoder(
        encoder, store, probing, EncoderCheckConfig(supervised_steps=60), lambda stage, share: told.append(stage)
    )
    metrics = found.metrics
    assert metrics["supervised/mean/r2"] > metrics["random/mean/r2"] + 0.05
    for name in ("probe", "random", "supervised"):
        assert (
            metrics[f"{name}/player_y/r2_low"] <= metrics[f"{name}/player_y/r2"] <= metrics[f"{name}/player_y/r2_high"]
        )
        assert metrics[f"{name}/ball_x/error"] > 0
    assert metrics["probe/mean/r2"] == np.mean([metrics["probe/player_y/r2"], metrics["probe/ball_x/r2"]])
    assert "training on the state" in told
    alone = evaluate_encoder(encoder, store, probing, EncoderCheckConfig(random=False, supervised_steps=0)).metrics
    assert alone == {name: value for name, value in metrics.items() if name.startswith("probe/")}


def test_what_cannot_be_probed_is_refused(store: EpisodeStore) -> None:
    encoder = ENCODER.build((12, 12))
    with pytest.raises(ValueError, match="clips of 5 frames do not divide into tubelets of 2"):
        evaluate_encoder(encoder, store, LinearProbeConfig(frames=5))
    with pytest.raises(ValueError, match=r"no train episode of .* has 64 frames"):
        evaluate_encoder(encoder, store, LinearProbeConfig(frames=64))
    with pytest.raises(ValueError, match="penalties is"):
        LinearProbeConfig(penalties=(0.0,))
    with pytest.raises(ValueError, match="clips is 3; use 10 or more"):
        LinearProbeConfig(clips=3)
