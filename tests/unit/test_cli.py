"""What the command line says, to whom, and with which exit code; whole commands run in tests/integration."""

import errno
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import tiny_recipe
import torch
from echo_world import echo_world

from hallucade import __version__
from hallucade.cli import COMMANDS, judging, main, worlds
from hallucade.evaluation.game_check.pong import PongCheckConfig
from hallucade.evaluation.long_run.check import LongRunConfig
from hallucade.recipes import demo as demo_module
from hallucade.recipes.console import explain
from hallucade.recipes.registry import RECIPES

RECIPE = str(Path(tiny_recipe.__file__))


def exit_code(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def test_without_a_command_it_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code() == 2
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert exit_code("--help") == 0
    assert capsys.readouterr().out == listed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"hallucade {__version__}\n"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command, "--help") == 0
    text = capsys.readouterr().out
    assert f"usage: hallucade {command}" in text
    assert str(COMMANDS[command].run.__doc__).splitlines()[0] == COMMANDS[command].summary
    assert "{None}" not in text


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--limit", "nan", "nan is not a number"),
        ("--seed", str(10**20), "is too large; whole numbers go up to"),
        ("--frames", "1.5", "invalid literal for int()"),
    ],
)
def test_numbers_that_cannot_be_computed_with_are_refused(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("rollout", option, value) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_train_and_distill_name_their_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    taught = {name for name, recipe in RECIPES.items() if recipe().method is not None}
    assert exit_code("distill") == 2
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")} == taught
    assert exit_code("train") == 2
    listed = capsys.readouterr().out
    assert all((f"\n  {name} " in listed) == (name not in taught) for name in RECIPES)
    assert f"unet_small{' ' * 15}A U-Net over eight past frames" in listed
    assert exit_code("train", "--help") == 0


@pytest.mark.parametrize(
    ("command", "recipe", "told"),
    [("train", "pong_distilled", "use hallucade distill"), ("distill", "pong", "use hallucade train")],
)
def test_a_recipe_of_the_other_command_is_refused(
    command: str, recipe: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(command, recipe) == 2
    assert told in capsys.readouterr().err


def test_a_recipe_shows_its_fields_and_not_what_training_fills_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("train", RECIPE, "--help") == 0
    text = capsys.readouterr().out
    for field in ("--model.widths", "--trainer.optimizer.learning-rate", "--stages.0.steps", "--focus.share"):
        assert field in text
    assert "--source" not in text


def test_quick_lowers_the_defaults_and_leaves_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PongCheckConfig] = []
    runs: list[LongRunConfig] = []

    def judge(world: object, store: object, *, pong: PongCheckConfig, long: LongRunConfig, **others: object) -> None:
        asked.append(pong)
        runs.append(long)
        sys.exit(7)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judging, "load", lambda run, sampling: echo_world())
    monkeypatch.setattr(judging, "evaluate_world", judge)
    assert exit_code("evaluate", "--quick", "--pong.rollouts", "256") == 7
    assert exit_code("evaluate", "--pong.seed", "5", "--long.frames", "70") == 7
    assert (asked[0].rollouts, asked[0].survival_rollouts) == (256, 16)
    assert (asked[1].rollouts, asked[1].survival_rollouts, asked[1].seed) == (256, 64, 5)
    assert [(run.games, run.frames) for run in runs] == [(8, 1000), (32, 70)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dream"], "unknown command 'dream'; choose one of record, import, inspect, validate"),
        (["record", "Doom-v99"], "Doom-v99"),
        (["import", "gone", "there"], "gone: there is no such file or folder; check the path"),
        (["import", "zip", "gone", "there"], "unknown format 'zip'; known formats: folder"),
        (["import", "folder", "gone", "there"], "gone: there is no such folder; give the folder that holds the videos"),
        (["record", "pong", "--bot", "nobody"], "unknown bot 'nobody'; known bots: good"),
        (["record", "pong", "--frames", "0"], "frames is 0; it must be at least 1"),
        (["record", "pong", "--frame-size", "-3"], "frame_size is -3; Pong needs at least"),
        (["record", "pong", "--episode-length", str(4 * 10**12)], "choose smaller sizes"),
        (["train", "pong_mikro"], "unknown recipe 'pong_mikro'; known recipes: pong_micro, pong"),
        (["train", "gone.py"], "recipe file gone.py does not exist"),
        (["train", RECIPE, "--trainer.steps", "7"], "have 24 steps and its trainer 7; make them equal"),
        (["train", RECIPE, "--store", "gone"], "gone: there is no such folder; record one with"),
        (
            ["train", "rope_small"],
            "make it with `hallucade import dino-wm deformable/rope stores/rope_small --size 64 64`",
        ),
        (["train", "crafter_nanowm", "--tokenizer.path", "./gone"], "there is no folder ./gone; give one with"),
        (["evaluate", "gone"], "gone does not exist; give a run folder"),
        (["rollout", "gone"], "gone does not exist; give a run folder"),
        (["rollout", "--eta", "0.5"], "FlowSamplerConfig has no eta; --sampler ddim has it"),
        (["rollout", "--schedule", "pyramid", "--sampling-steps", "4"], "train it with DiffusionForcingConfig"),
        (["export", "gone", "there"], "gone does not exist; give a run folder"),
        (["play", "gone", "--port", "0"], "gone does not exist; give a run folder"),
        (["play", "gone", "--port", "70000"], "port is 70000; choose one from 1 to 65535"),
        (["inspect", "gone"], "gone: there is no such folder; record one with"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("hallucade: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", RECIPE, "--model.widht", "3"], "--model.widths"),
        (["train", RECIPE, "--model.patch", "two"], "--model.patch"),
        (["record", "pong", "--frmaes", "3"], "--frames"),
        (["evaluate", "--pong.hold", "1"], "hold is 1; use 2 or more"),
        (["evaluate", "--long.games", "0"], "games is 0; use 1 or more"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    assert hint in capsys.readouterr().err


def test_the_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLUCADE_DEBUG", "1")
    with pytest.raises(ValueError, match="there is no such folder"):
        main(["inspect", "gone"])


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "demo", lambda: {}["gone"])
    with pytest.raises(KeyError, match="gone"):
        main(["demo"])


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worlds, "demo", interrupted)
    assert exit_code("demo") == 130
    assert capsys.readouterr().err == "hallucade: interrupted\n"


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(worlds, "demo", lambda: warnings.warn("two steps were skipped", stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        main(["demo"])
    assert capsys.readouterr().err == "hallucade: two steps were skipped\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), "a.png: No space left on device; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", Path("a")), "a: Permission denied; choose a place where"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x/a"), "x/a: No such file; check the path"),
        (OSError("no answer"), "no answer"),
        (MemoryError("12 TiB"), "not enough memory (12 TiB); choose smaller sizes"),
        (ValueError("a\nb"), "a b"),
    ],
)
def test_what_the_machine_refuses_comes_with_a_remedy(error: Exception, said: str) -> None:
    assert explain(error).startswith(said)
    assert "\n" not in explain(error)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = "import hallucade.cli as c; from hallucade.cli import worlds"
    program += "; worlds.demo = lambda: [c.say('x' * 99) for _ in range(9999)]"
    writer = subprocess.Popen(
        [sys.executable, "-c", f"{program}; c.main(['demo'])"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(60) == 141


def test_memory_that_torch_does_not_get_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worlds, "demo", lambda: torch.empty(2**60))
    assert exit_code("demo") == 2
    assert capsys.readouterr().err == "hallucade: not enough memory (none is left); choose smaller sizes\n"
    monkeypatch.setattr(worlds, "demo", lambda: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):  # a mistake of ours is shown as one
        main(["demo"])


def test_the_demo_takes_another_port_after_minutes_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[int] = []

    def serve(world: object, *, host: str, port: int, ready: object) -> None:
        ports.append(port)
        if port == 8000:
            raise demo_module.PortInUse("in use")

    monkeypatch.setattr(demo_module, "serve", serve)
    demo_module.open_page(echo_world(), "127.0.0.1", 8000)
    assert ports == [8000, 0]
