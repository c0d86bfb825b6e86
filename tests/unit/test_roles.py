from pathlib import Path

import pytest
import torch
from tiny_training import LongCosine, TinyMethod, tiny_config, tiny_trainer

from hallucade.training.checkpoint import read_checkpoint
from hallucade.training.ema import EMAConfig
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.run_folder import RunFolder
from hallucade.training.trainer import Trainer
from hallucade.training.trainer_config import TrainerConfig


def _trainer(folder: Path, steps: int, interval: int = 3, **changes: object) -> Trainer:
    torch.manual_seed(1)
    method = TinyMethod(critic=True, interval=interval, averaged=("model",))
    return tiny_trainer(folder, method, steps=steps, **changes)


def test_averages_move_only_with_their_role(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, steps=8)
    trainer.train()
    assert {role: ema.updates for role, ema in trainer.learner.emas.items()} == {"model": 3}  # at steps 0, 3 and 6


def test_a_role_that_is_not_averaged_is_saved_once(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(_trainer(tmp_path, steps=4).train().checkpoint)
    averaged = {name for name in checkpoint.training if name.startswith("raw/")}
    assert averaged
    assert not any("critic" in name for name in averaged)


def test_resume_with_roles_at_their_own_pace_is_exact(tmp_path: Path) -> None:
    _trainer(tmp_path / "whole", steps=8).train()
    _trainer(tmp_path / "halves", steps=4, schedule=LongCosine(steps=8)).train()
    _trainer(tmp_path / "halves", steps=8).train(resume=True)
    whole, halves = (RunFolder(tmp_path / name).checkpoints.load() for name in ("whole", "halves"))
    assert all(torch.equal(value, halves.weights[name]) for name, value in whole.weights.items())
    assert whole.state["ema_updates"] == halves.state["ema_updates"] == {"model": 3}


def test_a_role_has_the_optimizer_that_is_given_for_it(tmp_path: Path) -> None:
    own = OptimizerConfig(learning_rate=0.5, muon=False)
    trainer = _trainer(tmp_path, steps=1, role_optimizers={"critic": own})
    rates = {role: {g["lr"] for o in each.optimizers for g in o.param_groups} for role, each in _optimizers(trainer)}
    assert rates == {"model": {3e-3, 1e-2}, "critic": {0.5}}


def test_an_optimizer_for_an_unknown_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"role 'teacher'; this method trains model, critic"):
        _trainer(tmp_path, steps=1, role_optimizers={"teacher": OptimizerConfig()})


def test_optimizers_of_roles_travel_as_json() -> None:
    config = tiny_config(role_optimizers={"critic": OptimizerConfig(learning_rate=0.25)}, ema=EMAConfig(gamma=2.0))
    assert TrainerConfig.from_json(config.to_json()) == config


def _optimizers(trainer: Trainer) -> list[tuple[str, object]]:
    return list(trainer.learner.optimizers.items())
