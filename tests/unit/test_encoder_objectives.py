"""What encoders are graded by: closed forms, who gets gradients, and what cannot be used."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.data.clips import Clip
from hallucade.methods.encoder_pretraining import EncoderPretraining, PartConfig, check_mix
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.objectives.clip_reconstruction import ClipReconstructionConfig
from hallucade.objectives.contrastive import ContrastiveConfig, ViewConfig
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig
from hallucade.objectives.frame_regression import FrameRegressionConfig
from hallucade.objectives.infonce import compared, same_episode
from hallucade.objectives.latent_prediction import (
    BlockMaskConfig,
    LatentPredictionConfig,
    block_masks,
    split_places,
)
from hallucade.objectives.masked_video import MaskedVideoConfig, normalised_patches
from hallucade.objectives.time_contrastive import TimeContrastiveConfig

ACTIONS = ActionSpace(buttons=(Button(name="fire"),), axes=(Axis(name="turn", low=-2, high=3),))
ENCODER = VideoEncoderConfig(width=24, depth=2, heads=2, patch=4, tubelet=2)
B, T, H, W = 5, 8, 12, 20
ALL: list[EncoderObjectiveConfig] = [
    MaskedVideoConfig(decoder_width=12),
    LatentPredictionConfig(predictor_width=12),
    ContrastiveConfig(projection=7),
    TimeContrastiveConfig(projection=7),
    FrameRegressionConfig(),
    ClipReconstructionConfig(bottleneck=5, decoder_width=12),
]


def clip(batch: int = B, seed: int = 3, **changes: Any) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, T, H, W, 3), dtype=torch.uint8, generator=generator)
    actions = torch.rand((batch, T - 1, 2), generator=generator)
    return Clip(frames, actions, seed, episodes=torch.arange(batch), **changes)


def encoder() -> VideoEncoder:
    torch.manual_seed(0)
    return ENCODER.build((H, W))


@torch.no_grad()
def graded(objective: EncoderObjective, net: VideoEncoder, batch: Clip) -> float:
    (loss,) = objective(net, batch, draws()).values()
    return float(loss)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("config", ALL, ids=lambda c: type(c).__name__)
def test_r10_every_objective_teaches_all_that_it_names(config: EncoderObjectiveConfig) -> None:
    net = encoder()
    objective = config.build(net, ACTIONS)
    losses = objective(net, clip(), draws())
    torch.stack(list(losses.values())).sum().backward()
    named = [*net.named_parameters(), *objective.named_parameters()]
    silent = {n for n, p in named if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)}
    assert {n for n in silent if not n.endswith("attention.qkv.bias")} == set()
    assert all(p.grad is None for n, p in objective.named_parameters() if n.startswith("target"))


@pytest.mark.parametrize("config", ALL, ids=lambda c: type(c).__name__)
def test_the_same_draws_give_the_same_loss(config: EncoderObjectiveConfig) -> None:
    net = encoder()
    objective = config.build(net, ACTIONS)
    assert graded(objective, net, clip()) == graded(objective, net, clip())
    assert EncoderObjectiveConfig.from_json(config.to_json()) == config


# Masked video


def test_only_hidden_patches_are_graded_and_only_visible_ones_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    net = encoder()
    objective = MaskedVideoConfig(mask_ratio=0.8, normalised=False).build(net, ACTIONS)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def draw(features: torch.Tensor, kept: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        seen.append((kept, hidden))
        return torch.zeros(B, T // 2, hidden.shape[1], 96)

    monkeypatch.setattr(objective.decoder, "forward", draw)
    batch = clip()
    loss = objective(net, batch, draws())["masked"]
    ((kept, hidden),) = seen
    assert kept.shape == (B, 3)
    assert hidden.shape == (B, 12)
    for row in torch.cat([kept, hidden], 1).tolist():
        assert sorted(row) == list(range(15))
    assert len({tuple(sorted(row)) for row in kept.tolist()}) > 1  # each clip hides other places
    patches = net.patches(batch.frames)
    truth = torch.stack([patches[i][:, places] for i, places in enumerate(hidden)])
    torch.testing.assert_close(loss, truth.square().mean())


def test_normalised_patches_have_no_mean_and_unit_deviation() -> None:
    patches = torch.rand(2, 3, 4, 50) * 5 + torch.arange(4)[:, None]
    patches[1, 2, 3] = 0.7  # an even one has nothing to tell
    found = normalised_patches(patches)
    torch.testing.assert_close(found.mean(-1), torch.zeros(2, 3, 4), atol=1e-4, rtol=0)
    deviation = found.square().mean(-1).sqrt()
    assert deviation[1, 2, 3] < 1e-3
    assert (deviation.flatten()[:-1] - 1).abs().max() < 1e-2


@pytest.mark.parametrize(("share", "count"), [(0.9, 14), (0.5, 8), (0.001, 1), (0.999, 14)])
def test_something_is_hidden_and_something_is_left(share: float, count: int) -> None:
    assert MaskedVideoConfig(mask_ratio=share).hidden_places(15) == count


# Latent prediction


def test_blocks_cover_what_their_scale_says() -> None:
    for family, low, high in (
        (BlockMaskConfig(blocks=1, scale=0.15), 0.14, 0.17),
        (BlockMaskConfig(blocks=2, scale=0.7), 0.72, 0.95),
    ):
        covered = block_masks(family, 400, (20, 24), draws())
        assert covered.shape == (400, 480)
        assert low < covered.float().mean() < high
    one = block_masks(BlockMaskConfig(blocks=1, scale=0.3), 50, (9, 7), draws()).unflatten(1, (9, 7))
    for mask in one:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert mask.sum() == box  # a block has no holes


def test_clips_of_a_batch_keep_and_hide_as_many_places() -> None:
    covered = torch.rand((40, 15), generator=draws()) < 0.5
    covered[7], covered[8] = True, False  # all is covered, or nothing
    kept, hidden = split_places(covered, 0.2, draws())
    assert kept.shape == (40, 3)  # the share that stays visible
    assert hidden.shape == (40, 1)
    for i in (0, 20, 39):
        assert not covered[i, kept[i]].any()
        assert set(kept[i].tolist()).isdisjoint(hidden[i].tolist())
        assert covered[i, hidden[i]].all()


def test_the_target_follows_once_a_step_and_never_learns() -> None:
    net = encoder()
    method = EncoderPretraining(net, [PartConfig(objective=LatentPredictionConfig(decay=0.75))], ACTIONS)
    target = method.objectives[0].target
    before = [p.clone() for p in target.parameters()]
    for _ in range(2):  # two microbatches
        for _, loss in method.losses(clip(), 4):
            loss.backward()
            with torch.no_grad():
                for p in net.parameters():
                    p += 1.0
    moved = {round(float((a - b).abs().max()), 4) for a, b in zip(target.parameters(), before, strict=True)}
    assert moved == {0.25}
    assert "networks.objectives.0.target.norm.weight" in method.state_dict()  # resume is exact
    assert not any(p.requires_grad for p in target.parameters())


def test_a_collapsed_target_shows_in_the_log() -> None:
    net = encoder()
    objective = LatentPredictionConfig().build(net, ACTIONS)
    batch = clip()
    objective(net, batch, draws())
    assert objective.metrics["target_deviation"] > 0.1
    alike = replace(batch, frames=batch.frames[:1].expand(B, -1, -1, -1, -1))
    objective(net, alike, draws())
    assert objective.metrics["target_deviation"] < 1e-5


# Contrastive


def test_random_views_cost_the_logarithm_of_their_number() -> None:
    rows = [torch.randn((50, 4000), generator=draws(i)) for i in range(2)]
    loss, metrics = compared(*rows, torch.eye(50, dtype=torch.bool), 1.0)
    assert abs(float(loss) - math.log(50)) < 0.02
    assert metrics["retrieved"] < 0.2


def test_an_untrained_encoder_costs_about_that_much() -> None:
    net = encoder()
    loss = graded(ContrastiveConfig(temperature=1.0).build(net, ACTIONS), net, clip(9))
    assert abs(loss - math.log(9)) < 0.1


def test_infonce_is_the_mean_of_both_directions() -> None:
    first, second = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [1, 1]]) / torch.tensor([[1.0], [2**0.5]])
    s = 0.5**0.5
    forward = -(math.log(math.e**1 / (math.e + math.e**s)) + math.log(math.e**s / (1 + math.e**s))) / 2
    backward = -(math.log(math.e / (math.e + 1)) + math.log(math.e**s / (2 * math.e**s))) / 2
    loss, _ = compared(3 * first, 5 * second, torch.eye(2, dtype=torch.bool), 1.0)  # lengths do not count
    torch.testing.assert_close(float(loss), (forward + backward) / 2, rtol=1e-5, atol=0)


def test_clips_of_one_episode_are_no_counterexamples() -> None:
    rows = [torch.randn((4, 6), generator=draws(i)) for i in range(2)]
    batch = Clip(
        torch.zeros(4, 2, 1, 1, 3, dtype=torch.uint8), torch.zeros(4, 1, 1), episodes=torch.tensor([7, 8, 7, 9])
    )
    alike = same_episode(batch)
    assert alike.long().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    before, _ = compared(*rows, alike, 0.5)
    assert float(before) < float(compared(*rows, torch.eye(4, dtype=torch.bool), 0.5)[0])  # fewer to be told from
    rows[1][2] += 5 * rows[0][0]  # the partner of another clip of its episode comes near the first
    nearer, _ = compared(*rows, alike, 0.5)
    mixed, _ = compared(*rows, torch.eye(4, dtype=torch.bool), 0.5)
    assert float(mixed) - float(nearer) > 0.1
    with pytest.raises(ValueError, match="all 4 clips of a step are of one episode"):
        compared(*rows, torch.ones(4, 4, dtype=torch.bool), 0.5)


def test_a_view_is_changed_alike_at_all_times() -> None:
    still = clip().frames[:, :1].expand(-1, 4, -1, -1, -1)
    seen = ViewConfig(shift=2, brightness=0.3, contrast=0.4).draw(still, draws())
    assert all(torch.equal(seen[:, i], seen[:, 0]) for i in range(4))
    assert not torch.equal(seen, still)
    plain = ViewConfig(shift=0, brightness=0, contrast=0).draw(clip().frames, draws())
    assert torch.equal(plain, clip().frames)


def test_a_view_moves_the_picture_and_repeats_its_edge() -> None:
    row = torch.arange(9, dtype=torch.uint8)[None, None, None, :, None].expand(60, 1, 5, 9, 3) * 20
    seen = ViewConfig(shift=2, brightness=0, contrast=0).draw(row, draws())[:, 0, 0, :, 0] // 20
    assert {tuple(found) for found in seen.tolist()} == {
        tuple(min(max(i + move, 0), 8) for i in range(9)) for move in range(-2, 3)
    }  # never mirrored


def test_futures_depend_on_what_is_pressed_between() -> None:
    net = encoder()
    objective = TimeContrastiveConfig(frames=2).build(net, ACTIONS)
    batch = clip()
    before = graded(objective, net, batch)
    batch.actions[:, 0] += 5  # on the way to the last frame that is seen
    assert graded(objective, net, batch) == before
    batch.actions[0, 1] += 5
    assert graded(objective, net, batch) != before
    without = TimeContrastiveConfig(frames=2, actions=False).build(net, ACTIONS)
    before = graded(without, net, batch)
    batch.actions[0] += 5
    assert graded(without, net, batch) == before


# Regression and reconstruction


def test_regression_does_not_see_what_it_draws() -> None:
    net = encoder()
    objective = FrameRegressionConfig().build(net, ACTIONS)
    batch = clip()
    drawn: list[torch.Tensor] = []
    objective.leave.register_forward_hook(lambda module, inputs, outcome: drawn.append(outcome))
    for change in (0, 50):
        batch.frames[:, -2:] += change
        objective(net, batch, draws())
    batch.actions[:, -1] += 1
    objective(net, batch, draws())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


# Mixes


def test_a_mix_weighs_its_parts_and_runs_each_when_it_is_due() -> None:
    net = encoder()
    parts = [
        PartConfig(objective=MaskedVideoConfig(decoder_width=12), weight=0.5),
        PartConfig(objective=FrameRegressionConfig(), weight=3.0, every=3),
    ]
    method = EncoderPretraining(net, parts, ACTIONS)
    for step in range(4):
        ((role, loss),) = list(method.losses(clip(), step))
        due = {"masked", "regression"} if step % 3 == 0 else {"masked"}
        assert role == "encoder"
        assert set(method.metrics) == due
        weights = {"masked": 0.5, "regression": 3.0}
        torch.testing.assert_close(loss.detach(), sum(weights[n] * v for n, v in method.metrics.items()))


def test_parts_of_one_kind_are_told_apart_in_the_log() -> None:
    parts = [PartConfig(objective=ContrastiveConfig(frames=frames, projection=5)) for frames in (2, 4)]
    method = EncoderPretraining(encoder(), parts, ACTIONS)
    list(method.losses(clip(), 0))
    assert {"contrast", "contrast.1", "retrieved", "retrieved.1"} <= set(method.metrics)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], "parts is empty"),
        ([(FrameRegressionConfig(), 2)], "no part counts in every step"),
        (
            [(MaskedVideoConfig(), 1), (FrameRegressionConfig(), 40)],
            "FrameRegressionConfig counts every 40 steps of 40",
        ),
        ([(ContrastiveConfig(frames=10), 1)], "clips of 8 frames hold no view of 10"),
        ([(TimeContrastiveConfig(frames=6), 1)], "hold no two times of 6; lengthen the stages' clips to 12"),
        ([(ContrastiveConfig(frames=3), 1)], "clips of 3 frames do not divide into tubelets of 2"),
    ],
)
def test_a_mix_that_never_runs_a_part_is_refused(parts: list[tuple[EncoderObjectiveConfig, int]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_mix([PartConfig(objective=o, every=every) for o, every in parts], ENCODER, [(30, T), (10, T)])
    with pytest.raises(ValueError, match=r"has the weight 0\.0 and would never teach"):
        PartConfig(objective=FrameRegressionConfig(), weight=0.0)


@pytest.mark.parametrize(
    ("config", "wrong", "told"),
    [
        (MaskedVideoConfig, {"mask_ratio": 1.0}, "mask_ratio is 1.0; it lies between 0 and 1"),
        (LatentPredictionConfig, {"decay": 1.0}, r"decay is 1.0; it lies in \[0, 1\)"),
        (LatentPredictionConfig, {"masks": ()}, "masks is empty"),
        (BlockMaskConfig, {"blocks": 2, "scale": 1.0}, "of a share between 0 and 1"),
        (ContrastiveConfig, {"temperature": 0.0}, "temperature is 0.0"),
        (ViewConfig, {"shift": -1}, "shift is -1"),
        (ClipReconstructionConfig, {"bottleneck": 0}, "bottleneck is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(config: type, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        config(**wrong)
