"""`--dry-run`: what a training would need, by the command that would train, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_recipe import tiny_recipe

from hallucade.cli import main
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.models.token_transformer import TokenTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.masked_tokens import MaskedTokensConfig
from hallucade.objectives.token_losses.inverse_dynamics import InverseDynamicsLossConfig
from hallucade.objectives.token_losses.semantic import SemanticLossConfig
from hallucade.objectives.token_losses.sobel import SobelLossConfig
from hallucade.objectives.token_losses.weighted import TokenLossesConfig
from hallucade.recipes.dry_run import dry_run
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.recipes.train import train
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.tokenizers.convolutions import ConvolutionsConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig
from hallucade.training.curriculum import Stage

RECIPE = Path(__file__).parent.parent / "tiny_recipe.py"


def short() -> RunConfig:
    config = replace(tiny_recipe(), focus=None, model=UNetConfig(context=2, widths=(8,), blocks=(1,)), prompt_frames=2)
    stages = (Stage(steps=1, frames=4, batch=6),)
    return replace(config, stages=stages, trainer=replace(config.trainer, steps=1), sample_every=99)


def taught() -> RunConfig:
    method = SelfForcingConfig(prompt=2, student_every=2)
    return replace(short(), objective=None, method=method, sampler=FewStepSamplerConfig(steps=2))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return record(RecordingConfig(frames=1_200, episode_length=60), tmp_path_factory.mktemp("play") / "store")


def test_the_command_says_what_it_would_need_and_writes_nothing(
    store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", str(RECIPE), "--store", str(store.path), "--dry-run", "--trainer.offload"])
    heading, columns, model, peak, checkpoint = capsys.readouterr().out.splitlines()
    assert heading.endswith("a step of 3x9x3x24x24 latents")
    assert columns.split() == ["network", "parameters", "weights", "gradients", "momenta", "averages", "at", "rest"]
    assert model.startswith("model ")
    assert peak.startswith("at rest ")
    assert checkpoint.startswith("a checkpoint takes ")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_as_large_as_it_was_said_to_be(store: EpisodeStore, tmp_path: Path) -> None:
    said = dry_run(short(), store).budget
    result = train(short(), store, tmp_path / "run", progress=False)
    size = sum(file.stat().st_size for file in result.checkpoint.glob("*.safetensors"))
    assert said.checkpoint < size < said.checkpoint + 50_000  # names and shapes


def test_the_largest_batch_counts(store: EpisodeStore) -> None:
    stages = (Stage(steps=1, frames=7, batch=2), *short().stages)
    said = dry_run(replace(short(), stages=stages, trainer=replace(short().trainer, steps=2)), store)
    assert said.stage == Stage(steps=1, frames=4, batch=6)
    assert said.shape == (6, 4, 3, 24, 24)


def test_a_teacher_that_is_not_given_is_guessed_and_one_that_is_is_read(store: EpisodeStore, tmp_path: Path) -> None:
    guessed = dry_run(taught(), store)
    assert guessed.assumed == ("teacher",)
    assert guessed.lines()[-1] == "the teacher is not given: taken to be as large as the model"
    wide = replace(short(), model=UNetConfig(context=2, widths=(24,), blocks=(1,)))
    train(wide, store, tmp_path / "wide", progress=False)
    given = dry_run(taught(), store, networks={"teacher": tmp_path / "wide"})
    assert given.assumed == ()
    ours, theirs = ({n.name: n for n in said.budget.networks} for said in (given, guessed))
    assert ours["model"] == theirs["model"]
    assert ours["teacher"].frozen > 1.5 * theirs["teacher"].frozen
    assert ours["critic"].trained == ours["teacher"].frozen  # its copy


def test_a_recipe_that_says_what_its_play_is_needs_none(store: EpisodeStore) -> None:
    with pytest.raises(ValueError, match="does not say what its play looks like before there is some; give --store"):
        dry_run(short(), None)
    known = replace(short(), source=Source.of(store))
    assert dry_run(known, None).budget == dry_run(short(), store).budget


def test_ranks_share_a_batch(store: EpisodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dry_run(short(), store)
    monkeypatch.setenv("WORLD_SIZE", "3")
    share = dry_run(replace(short(), trainer=replace(short().trainer, sharded=True)), store)
    assert share.shape == (2, 4, 3, 24, 24)
    assert share.budget.working < whole.budget.working
    assert "spread over 3 ranks: each keeps " in "\n".join(share.lines())
    assert whole.spread == 1
    assert share.budget.resting == whole.budget.resting
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="a batch of 6 windows cannot be shared by 4 ranks"):
        dry_run(short(), store)


def test_losses_that_ask_for_vectors_of_codes_and_networks_of_their_own_are_counted(store: EpisodeStore) -> None:
    losses = TokenLossesConfig(
        semantic=SemanticLossConfig(weight=1.0),
        inverse_dynamics=InverseDynamicsLossConfig(weight=0.1, width=8),
        sobel=SobelLossConfig(weight=0.1),
    )
    config = replace(
        short(),
        tokenizer=LearnedTokenizerConfig(convolutions=ConvolutionsConfig(widths=(8, 8))),
        model=TokenTransformerConfig(width=16, depth=2, heads=2, window=4, code_width=8),
        objective=MaskedTokensConfig(losses=losses),
        sampler=MaskGITSamplerConfig(steps=2),
    )
    said = dry_run(config, store)
    assert said.shape == (6, 4, 6, 6)
    networks = {n.name: n for n in said.budget.networks}
    assert list(networks) == ["model", "inverse_dynamics", "tokenizer"]
    assert networks["inverse_dynamics"].trained > 0
    assert networks["tokenizer"].trained == 0
    assert networks["tokenizer"].frozen == sum(p.numel() for p in config.tokenizer.build().parameters())
