"""The way from a recording to a student that plays on, as the page says it, with small networks and a step or two."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from hallucade.cli import main
from hallucade.data.recorder import RecordingConfig, record
from hallucade.models.diffusion_transformer import DiffusionTransformer
from hallucade.recipes.load import load
from hallucade.recipes.prompts import prompt_of
from hallucade.rollout import dream

PAGE = Path(__file__).parents[2] / "docs" / "distillation.md"
NETWORK = "--model.width 16 --model.depth 2 --model.heads 2 --trainer.compile False --steps 2"
AUTOENCODER = "--tokenizer.convolutions.widths 8 8 8 --trainer.compile False --steps 2"


def commands() -> list[list[str]]:
    """Return the words of every command of the page's block about Doom."""
    (block,) = (part for part in PAGE.read_text().split("```") if "hallucade record doom_third_person" in part)
    return [shlex.split(line) for line in block.splitlines() if line.startswith("hallucade ")]


@pytest.mark.slow
def test_the_commands_of_the_page_make_a_student_that_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = record(RecordingConfig(game="maze", frame_size=24, frames=600, episode_length=80), Path("stores/doom"))
    (_, recorded, *_), *trained = (words[1:] for words in commands())
    assert (recorded, len(trained)) == ("doom_third_person", 6)
    with pytest.raises(SystemExit):
        main([*trained[2][:4], "--out", "runs/blind", *shlex.split(NETWORK)])  # no latents are given
    assert "tokenizer_kl --tokenizer.bottleneck.channels 8" in capsys.readouterr().err
    for words in trained:
        small = "--workers 1" if words[0] == "tokenize" else AUTOENCODER if "tokenizer_kl" in words else NETWORK
        main([*words, *shlex.split(small)])
    world = load(Path("runs/streaming"))
    assert isinstance(world.model, DiffusionTransformer)
    assert world.model.causal
    episode = store.episode(0)
    shown = list(dream(world, [prompt_of(episode, 4)], np.array(episode.actions)[None, 3:40]))
    assert np.concatenate(shown, 1).shape == (1, 37, 24, 24, 3)
