"""hallucade ablate from the command line to its table: resumed, shared among jobs, killed, and refused."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from dot_game import write_store
from fork_server import ForkServer
from tiny_ablation import JUDGE, RECIPE

from hallucade.cli import main
from hallucade.data.lock import lock_folder
from hallucade.recipes.ablation import runs
from hallucade.recipes.ablation.runs import RECORD, JudgeConfig

VARY = ("--vary", "model.context=2,3")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("play") / "store"
    write_store(path, [20] * 8)
    return path


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is slow, and no test here pulls the plug; long sample videos are slower still."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr("hallucade.recipes.held_out.SAMPLE_FRAMES", 3)


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ablation that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    ablate(store, out, *VARY)
    return out


def ablate(store: Path, out: Path, *options: str, seeds: int = 2) -> None:
    main(["ablate", RECIPE, "--store", str(store), "--out", str(out), "--seeds", str(seeds), *JUDGE, *options])


def measured(out: Path) -> dict[str, dict[str, float]]:
    """Metrics by run."""
    return {str(path.parent.relative_to(out)): json.loads(path.read_text())["metrics"] for path in records(out)}


def records(out: Path) -> list[Path]:
    return sorted(out.glob(f"runs/*/*/{RECORD}"))


def told(error: pytest.CaptureFixture[str]) -> str:
    return error.readouterr().err.strip().splitlines()[-1]


def test_a_grid_becomes_a_table(whole: Path) -> None:
    text = (whole / "ablation.md").read_text()
    assert "| model.context |" in text
    assert "| 2/2 |" in text
    assert "**clips/" in text
    data = json.loads((whole / "ablation.json").read_text())
    assert [arm["settings"] for arm in data["arms"]] == [{"model.context": "2"}, {"model.context": "3"}]
    assert all(run["state"] == "finished" for arm in data["arms"] for run in arm["runs"].values())
    assert data["findings"]["clips/psnr@1"][0]["settings"] == {"model.context": "3"}
    assert "<svg" in (whole / "ablation.html").read_text()
    assert len({json.dumps(metrics) for metrics in measured(whole).values()}) == 4  # every arm and seed is a run


def test_what_is_finished_is_not_trained_again(
    whole: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = measured(whole)
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    ablate(store, whole, *VARY)
    assert measured(whole) == before
    assert "0 of 4 runs to do" in capsys.readouterr().out
    ablate(store, whole, *VARY, "--metrics", "psnr@2", "--table")
    assert "clips/psnr@2 (higher is better)" in (whole / "ablation.md").read_text()
    ablate(store, whole, *VARY, "--judge.clips.seed", "5")  # judged in another way, from the same weights
    assert measured(whole).keys() == before.keys()
    assert measured(whole) != before
    ablate(store, whole, *VARY)
    assert measured(whole) == before


def test_jobs_share_a_folder(whole: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ablate(store, tmp_path, *VARY, "--only", "2/3")
    assert len(records(tmp_path)) == 1
    assert "- not finished: 2, seed 0" in (tmp_path / "ablation.md").read_text()
    claim = lock_folder(next(tmp_path.glob("claims/model.context=3/seed_0")))  # as another machine's job holds it
    assert claim is not None
    for share in ("1/3", "3/3"):
        ablate(store, tmp_path, *VARY, "--only", share)
    os.close(claim)
    assert measured(tmp_path) == measured(whole)


def test_processes_do_what_one_does(whole: Path, store: Path, tmp_path: Path) -> None:
    ablate(store, tmp_path, *VARY, "--jobs", "2")
    assert measured(tmp_path) == measured(whole)


def test_killed_it_goes_on_from_its_checkpoint(whole: Path, store: Path, tmp_path: Path) -> None:
    with ForkServer("tiny_ablation") as server:
        child = server.start("ablate_in_child", str(store), str(tmp_path), "--seeds", "2")
        deadline = time.monotonic() + 90
        while not list(tmp_path.glob("runs/model.context=3/seed_0/checkpoints/step_00000002")):
            assert time.monotonic() < deadline, "the second run wrote no checkpoint"
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        assert server.wait(child) == -signal.SIGKILL
    assert len(measured(tmp_path)) < 4 or not all(measured(tmp_path).values())
    ablate(store, tmp_path, *VARY)
    assert measured(tmp_path) == measured(whole)


def test_another_config_or_other_code_is_refused(
    whole: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(store, whole, *VARY, "--steps", "4")
    assert "holds another run: stages was" in told(capsys)
    monkeypatch.setattr(runs, "code_of_runs", lambda: "other")
    refuse(store, whole, *VARY)
    assert "was run by other code" in told(capsys)
    ablate(store, whole, *VARY, "--other-code")


def test_mistakes_are_told_before_anything_is_written(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, message in (
        (("--vary", "model.contex=2"), "UNetConfig has no 'contex'"),
        (("--vary", "model.patch=4"), "no arm can be trained on this store"),
        ((*VARY, "--only", "3/2"), "write i/n"),
        ((*VARY, "--jobs", "0"), "jobs is 0"),
    ):
        refuse(store, tmp_path / "out", *options)
        assert message in told(capsys)
    assert not (tmp_path / "out" / "runs").exists()


def test_an_arm_that_does_not_fit_the_store_is_a_row(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ablate(store, tmp_path, "--vary", "model.patch=1,4", "--table", seeds=1)
    assert "refused: 4: " in capsys.readouterr().out
    assert "- refused: 4: " in (tmp_path / "ablation.md").read_text()


def test_runs_that_diverge_or_fail_are_rows_and_not_the_end(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ("--vary", "trainer.optimizer.learning_rate=1e38,1e-3")
    judge = JudgeConfig.judge
    monkeypatch.setattr(JudgeConfig, "judge", broken)
    ablate(store, tmp_path, *rates, seeds=1)
    text = (tmp_path / "ablation.md").read_text()
    assert "- diverged: 1e38, seed 0: losses are not finite" in text
    assert "- failed: 1e-3, seed 0: the tracker broke" in text
    assert "RuntimeError" in next(tmp_path.glob("runs/*1e-3/seed_0/error.txt")).read_text()

    monkeypatch.setattr(JudgeConfig, "judge", judge)
    ablate(store, tmp_path, *rates, seeds=1)  # what failed is tried again, what diverged is not
    states = [json.loads(path.read_text())["state"] for path in records(tmp_path)]
    assert sorted(states) == ["diverged", "finished"]


def broken(*_: Any) -> None:
    raise RuntimeError("the tracker broke")


def refuse(store: Path, out: Path, *options: str) -> None:
    with pytest.raises(SystemExit) as end:
        ablate(store, out, *options)
    assert end.value.code == 2
