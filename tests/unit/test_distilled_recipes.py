"""Recipes of distillation on U-Nets fit each other; their networks are shrunk here, not their choices."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hallucade.actions import ActionSpace, Button
from hallucade.data.clips import Clip
from hallucade.models.unet import UNetConfig
from hallucade.recipes.distilled_pong import pong_consistency, pong_distilled, pong_streaming, pong_teacher
from hallucade.recipes.maze import maze, maze_distilled, maze_streaming
from hallucade.recipes.run_config import RunConfig

TAUGHT = {pong_teacher: [pong_consistency, pong_distilled, pong_streaming], maze: [maze_distilled, maze_streaming]}
ACTIONS = ActionSpace(buttons=(Button(name="a"), Button(name="b")))
STUDENTS = [student for students in TAUGHT.values() for student in students]


def shrunk(config: RunConfig) -> UNetConfig:
    assert isinstance(config.model, UNetConfig)
    return replace(config.model, widths=(8,), blocks=(1,), condition_width=16)


@pytest.mark.parametrize("recipe", STUDENTS)
def test_every_role_learns_from_a_stage_of_its_recipe(recipe) -> None:
    config = recipe()
    tokenizer = config.tokenizer.build()
    model = shrunk(config)
    assert config.method is not None
    networks = {n: model.build(ACTIONS, (3, 24, 24)) for n in ("model", *config.method.networks)}
    for network in networks.values():  # fresh ones all answer 0, and agree
        torch.nn.init.normal_(network.backbone.head.weight, std=0.1)
    method = config.method.build(tokenizer, networks, config.sampler.build(), 0)
    method.check_clips([(stage.steps, stage.frames) for stage in config.stages])
    frames = config.stages[0].frames
    rows = np.repeat(ACTIONS.idle[None, None], frames - 1, 1).repeat(2, 0)
    pixels = torch.randint(0, 256, (2, frames, 24, 24, 3), dtype=torch.uint8)
    batch = Clip(pixels, torch.as_tensor(ACTIONS.encode(rows), dtype=torch.float32), 3)
    learned: list[str] = []
    for role, loss in method.losses(batch, 0):
        loss.backward()
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in method.roles()[role].parameters())
        learned.append(role)
    assert learned == list(method.roles())
    assert set(config.trainer.role_optimizers) < set(method.roles())


@pytest.mark.parametrize("teacher", TAUGHT)
def test_students_have_the_networks_and_the_pixels_of_their_teacher(teacher) -> None:
    parts = (teacher().model, teacher().tokenizer)
    assert all((student().model, student().tokenizer) == parts for student in TAUGHT[teacher])


@pytest.mark.parametrize("recipe", [*TAUGHT, *STUDENTS])
def test_recipes_travel_as_json(recipe) -> None:
    assert RunConfig.from_json(recipe().to_json()) == recipe()
