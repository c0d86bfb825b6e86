"""Doom's "defend the line": a room seen from one spot, and who comes across it.

The recipes are those of `doom_distillation`, on a game that asks less of their networks: the room is always the same,
and only monsters and their fire are open.
"""

from dataclasses import replace

from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.recipes.doom_distillation import (
    doom_third_person_causal,
    doom_third_person_self_forcing,
    doom_third_person_streaming,
    doom_third_person_teacher,
)
from hallucade.recipes.run_config import RunConfig


def defend_the_line_teacher() -> RunConfig:
    """Doom from one spot over whole clips, sixteen frames at once, to teach the recipes that follow."""
    return _there(doom_third_person_teacher())


def defend_the_line_causal() -> RunConfig:
    """The teacher made causal, frame by frame: `--start` takes the teacher's run."""
    return _there(doom_third_person_causal())


def defend_the_line_self_forcing() -> RunConfig:
    """Doom from one spot in two steps, taught on clips that it plays itself: `--start` takes the causal run."""
    return _there(doom_third_person_self_forcing())


def defend_the_line_streaming() -> RunConfig:
    """The same on games of 64 frames that go on from step to step: `--start` takes the self-forcing run."""
    return _there(doom_third_person_streaming())


def _there(config: RunConfig) -> RunConfig:
    """Return the same recipe for that game."""
    recording = config.recording
    assert isinstance(recording, EnvironmentRecordingConfig)
    source = EnvironmentConfig(environment="doom_defend_the_line")
    name = config.recipe.replace("doom_third_person", "defend_the_line")
    return replace(config, recipe=name, recording=replace(recording, source=source))
