"""R10: a loss that teaches nothing is refused before the first step; one that will teach later is not."""

from dataclasses import replace

import pytest
import torch
from samples.codes import Memoryless
from tiny_training import A, B, TinyClips, tiny_trainer
from torch import nn

from hallucade.actions import ActionSpace, Axis
from hallucade.methods.pretrain import Pretrain
from hallucade.objectives.base import Setting
from hallucade.objectives.gradient_coverage import check_gradients
from hallucade.objectives.masked_tokens import MaskedTokensConfig
from hallucade.objectives.token_losses import lpips
from hallucade.objectives.token_losses.inverse_dynamics import InverseDynamicsLossConfig
from hallucade.objectives.token_losses.lpips import LpipsLossConfig
from hallucade.objectives.token_losses.semantic import SemanticLossConfig
from hallucade.objectives.token_losses.weighted import TokenLossesConfig
from hallucade.tokenizers.bottlenecks.fsq import FSQConfig
from hallucade.tokenizers.convolutions import ConvolutionsConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig

SIZE, CODES = (4, 6), 6  # pixels of a frame
ACTIONS = ActionSpace(axes=tuple(Axis(name=f"axis{i}", low=-1, high=1) for i in range(A)))


class Two(nn.Module):
    """A product of two weights."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.tensor([w])) for w in (first, second))

    def forward(self):
        return (self.first * self.second).sum()


def check(network, **losses):
    return check_gradients(lambda: {name: loss() for name, loss in losses.items()}, network)


def test_r10_a_loss_without_gradient_is_an_error_that_names_it():
    network = Two(0.3, 0.7)

    def choice():  # of the larger weight: no gradient passes
        return torch.stack([network.first, network.second]).argmax().float()

    for name, loss in {"detached": lambda: network().detach(), "chosen": choice, "other": torch.zeros(1).sum}.items():
        with pytest.raises(ValueError, match=f"the loss {name} has a weight and gives the model no gradient"):
            check(network, sound=network, **{name: loss})


def test_r10_flat_losses_are_found_out_though_they_have_a_graph():
    network = Two(0.3, 0.7)
    with pytest.raises(ValueError, match="the loss flat has a weight"):
        check(network, flat=lambda: 1 + 0 * network())


def test_weights_that_begin_at_zero_and_losses_that_are_content_are_no_fault():
    network = Two(0.0, 0.0)
    assert check(network, gated=lambda: (network() - 1).square()) == {"gated"}
    assert not torch.cat([network.first, network.second]).any()
    assert network.first.grad is None
    network = Two(0.3, 0.7)
    assert check(network, hinge=lambda: (network() - 9).clamp_min(0), loss=network) == {"hinge", "loss"}


class Cells(Memoryless):
    """The same logits for every cell, learned."""

    latent_shape, codes = (2, 3), CODES

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(CODES))

    def forced_logits(self, clip, tokens, dropped=None):
        return self.weights.expand(*tokens.shape, CODES)


def method(losses, **setting):
    torch.manual_seed(0)
    config = LearnedTokenizerConfig(convolutions=ConvolutionsConfig(widths=(8,)), bottleneck=FSQConfig(levels=(2, 3)))
    tokenizer = config.build()
    given = replace(Setting(tokenizer, ACTIONS, SIZE, lambda *_: lambda x, y: (x - y).abs().mean()), **setting)
    return Pretrain(tokenizer, Cells(), MaskedTokensConfig(losses=losses).build_for(given))


def trained(folder, method, batch=B):
    return tiny_trainer(folder, method, TinyClips(batch=batch, size=SIZE), steps=3).train()


def test_r10_training_with_a_loss_without_gradient_ends_before_the_first_step(tmp_path, monkeypatch):
    sound = lpips.LpipsLoss.__call__
    monkeypatch.setattr(lpips.LpipsLoss, "__call__", lambda self, shown: sound(self, shown).detach())
    with pytest.raises(ValueError, match="the loss lpips has a weight and gives the model no gradient"):
        trained(tmp_path, method(TokenLossesConfig(lpips=LpipsLossConfig(weight=0.1))))
    assert not (tmp_path / "metrics.jsonl").exists()
    assert not list((tmp_path / "checkpoints").glob("step_*"))


def test_r10_every_step_is_asked_for_losses_that_count_at_some_only(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "hallucade.objectives.token_losses.semantic.SemanticLoss.__call__", lambda *_: torch.tensor(1.0)
    )
    with pytest.raises(ValueError, match="the loss semantic has a weight"):
        trained(tmp_path, method(TokenLossesConfig(semantic=SemanticLossConfig(weight=1.0, every=7))))


@pytest.mark.parametrize("batch", [B, B - 1])
def test_what_a_loss_brings_along_learns_beside_the_model_and_is_kept(tmp_path, batch):
    whole = method(TokenLossesConfig(inverse_dynamics=InverseDynamicsLossConfig(weight=1.0, width=4)))
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    result = trained(tmp_path, whole, batch)
    assert result.reason == "finished"
    changed = {name.split(".")[0] for name, value in whole.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"model", "networks"}
    row = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    for name in ("loss/model", "loss/inverse_dynamics", '"inverse_dynamics"', '"cross_entropy"'):
        assert name in row


def test_what_a_loss_lacks_is_an_error_when_the_run_is_put_together():
    with pytest.raises(ValueError, match="lpips loss has a weight and needs its network"):
        method(TokenLossesConfig(lpips=LpipsLossConfig(weight=0.1)), lpips=None)
