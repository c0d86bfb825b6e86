"""Training on a model's own frames, from clips to metrics.jsonl: what is tried first, logged, and resumed."""

import json
from pathlib import Path

import pytest
import torch
from tiny_training import TinyClips, fingerprint, losses, tiny_trainer

from hallucade.methods.pretrain import Pretrain
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.objectives.adaptive_brake import AdaptiveBrakeConfig
from hallucade.objectives.autoregressive_tokens import AutoregressiveTokensConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling, UnrollRamp
from hallucade.tokenizers.base import Tokenizer

CODES, SIZE, ACTIONS = 16, (4, 3), 2
CONFIG = AutoregressiveTokensConfig(
    unroll=UnrollRamp(start=2, steps=4, most=3),
    truth=ScheduledSampling(most=0.3, least=0.2),
    chunk=2,
    through=3,
    brake=AdaptiveBrakeConfig(most_ratio=0.2, least_ratio=0.1, every=2),  # an untrained model errs as much anywhere
)


class Greys(Tokenizer):
    """A code for the grey of each pixel."""

    codes = CODES

    def encode(self, frames):
        return (frames[..., 0] // 16).long()

    def decode(self, latents):
        return (latents * 16)[..., None].expand(*latents.shape, 3).to(torch.uint8)

    def latent_shape(self, height, width):
        return height, width


def method(config=CONFIG):
    torch.manual_seed(3)
    model = TokenConvGRU(TokenConvGRUConfig(width=8, layers=1, code_width=4), CODES, ACTIONS, SIZE)
    return Pretrain(Greys(), model, config.build())


def rows(folder: Path):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_r4_asked_and_executed_stand_in_the_log_step_by_step(tmp_path):
    tiny_trainer(tmp_path / "run", method(), steps=8).train()
    logged = rows(tmp_path / "run")
    assert [row["unroll/asked"] for row in logged] == [0, 0, 0, 0, 1, 2, 3, 3]  # after n steps that of the n-th
    assert all(row["unroll/executed"] <= row["unroll/asked"] for row in logged)
    assert all((row["unroll/executed"] > 0) == (row["unroll/asked"] > 0) for row in logged)
    assert ["unroll/gap" in row for row in logged] == [row["unroll/asked"] > 0 for row in logged]
    assert logged[-1]["brake/held"] > 0
    assert logged[-1]["unroll/executed"] < logged[-1]["unroll/asked"]


def test_r5_the_longest_unroll_is_tried_before_the_first_step(tmp_path, monkeypatch):
    tried = []
    original = Pretrain.losses

    def watched(self, batch, step):
        yield from original(self, batch, step)
        tried.append((step, float(self.metrics["unroll/executed"])))

    monkeypatch.setattr(Pretrain, "losses", watched)
    tiny_trainer(tmp_path / "run", method(), steps=2).train()
    assert tried == [(6, 3.0), (0, 0.0), (1, 0.0)]


def test_r7_a_resumed_training_ends_with_the_same_bits_and_the_same_brake(tmp_path, monkeypatch):
    tiny_trainer(tmp_path / "whole", method(), steps=10).train()
    original = TinyClips.batch_at

    def failing(self, step, rank=0, world=1):
        if step == 7:
            raise KeyError("power")
        return original(self, step, rank, world)

    with monkeypatch.context() as patch:
        patch.setattr(TinyClips, "batch_at", failing)
        with pytest.raises(KeyError, match="power"):
            tiny_trainer(tmp_path / "halves", method(), steps=10).train()
    tiny_trainer(tmp_path / "halves", method(), steps=10).train(resume=True)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert fingerprint(tmp_path / "halves") == fingerprint(tmp_path / "whole")
    held = [[row.get("brake/held") for row in rows(tmp_path / name)] for name in ("halves", "whole")]
    assert held[0] == held[1]
    assert held[0][-1] > held[0][4]
