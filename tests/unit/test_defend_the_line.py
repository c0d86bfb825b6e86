"""Recipes of Doom from one spot: those of the third person, on another recording."""

from dataclasses import replace

import pytest

from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.recipes.registry import RECIPES
from hallucade.recipes.run_config import RunConfig

PARTS = ("teacher", "causal", "self_forcing", "streaming")


@pytest.mark.parametrize("part", PARTS)
def test_a_recipe_of_the_line_is_that_of_the_third_person_elsewhere(part: str) -> None:
    recipe, other = RECIPES[f"defend_the_line_{part}"](), RECIPES[f"doom_third_person_{part}"]()
    assert isinstance(recipe.recording, EnvironmentRecordingConfig)
    assert recipe.recipe == f"defend_the_line_{part}"
    assert recipe.recording.source.environment == "doom_defend_the_line"
    assert replace(recipe, recipe=other.recipe, recording=other.recording) == other
    assert RunConfig.from_json(recipe.to_json()) == recipe
