"""Validation within a training, on one rank and on two: its rows and files, and that it changes and stops nothing."""

import json
import socket
from pathlib import Path

import pytest
import torch
from fork_server import ForkServer
from safetensors.torch import load_file
from tiny_validation import recipe

from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.evaluation import validation
from hallucade.recipes.train import train


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    config = RecordingConfig(frames=2_000, episode_length=60)
    return record(config, tmp_path_factory.mktemp("play") / "store")


def validated(run: Path) -> dict[int, dict[str, float]]:
    """Return what was logged of dreams, by step."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    named = {row["step"]: {k: v for k, v in row.items() if k.startswith("validation/")} for row in rows}
    return {step: values for step, values in named.items() if values}


def test_validation_leaves_scores_and_videos_and_the_training_as_it_is(tmp_path: Path, store: EpisodeStore) -> None:
    train(recipe(), store, tmp_path / "run", progress=False)
    train(recipe(every=None), store, tmp_path / "plain", progress=False)
    assert list(validated(tmp_path / "run")) == [2, 4]
    assert {"validation/psnr@4", "validation/motion_smoothness_real"} <= validated(tmp_path / "run")[4].keys()
    assert validated(tmp_path / "plain") == {}
    folder = tmp_path / "run/validation/step_00000004"
    found = json.loads((folder / "metrics.json").read_text())
    assert list(found["dreams"]) == ["play_00", "play_01", "play_02"]
    assert found["failed"] == {}
    assert len(list((folder / "videos").glob("*-0.mp4"))) == len(list((folder / "overlay").glob("*_overlay.mp4"))) == 3
    weights, plain = (
        load_file(tmp_path / run / "checkpoints/step_00000004/weights.safetensors") for run in ("run", "plain")
    )
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


def test_a_failure_is_said_and_training_goes_on(
    tmp_path: Path, store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise MemoryError("none is left")

    monkeypatch.setattr(validation, "write_videos", refuse)
    with pytest.warns(UserWarning, match="could not be judged: MemoryError: none is left") as said:
        result = train(recipe(), store, tmp_path / "run", progress=False)
    assert [str(warning.message)[:29] for warning in said][:2] == [f"validation at step 2: play_0{i}" for i in (0, 1)]
    assert result.reason == "finished"
    assert [row["validation/failed"] for row in validated(tmp_path / "run").values()] == [3, 3]


def test_two_ranks_share_the_dreams(tmp_path: Path, store: EpisodeStore) -> None:
    train(recipe(), store, tmp_path / "one", progress=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ForkServer("tiny_validation") as server:
        ranks = [
            server.start("validate_as_rank", rank, port, str(store.path), str(tmp_path / "two")) for rank in (0, 1)
        ]
        assert [server.wait(rank) for rank in ranks] == [0, 0]
    one, two = validated(tmp_path / "one"), validated(tmp_path / "two")
    assert one.keys() == two.keys() == {2, 4}
    for step in one:
        assert one[step].keys() == two[step].keys()
        real = [name for name in one[step] if name.endswith("_real")]
        assert real
        assert [one[step][name] for name in real] == [two[step][name] for name in real]  # the same for any weights
    assert len(list((tmp_path / "two/validation/step_00000004/videos").glob("*-0.mp4"))) == 3
