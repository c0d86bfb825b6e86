"""What strangers do to whole commands: each gets one line that says what to do, and nothing of theirs is lost."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_recipe

from hallucade.actions import ActionSpace, Button
from hallucade.cli import main
from hallucade.data.manifest import load_manifest, save_manifest
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter
from hallucade.recipes.load import load
from hallucade.training.checkpoint import read_checkpoint, write_checkpoint
from hallucade.training.run_folder import RunFolder

RECIPE = str(Path(tiny_recipe.__file__))
STEPS = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, stores of other sizes, a run and an exported run; tests copy what they break."""
    folder = tmp_path_factory.mktemp("made")
    for size in (24, 23, 28):
        frames = ("--frames", "4000", "--episode-length", "120", "--frame-size", str(size))
        main(["record", "pong", "--out", str(folder / f"store{size}"), *frames])
    main(["train", RECIPE, "--store", str(folder / "store24"), "--out", str(folder / "run")])
    main(["export", str(folder / "run"), str(folder / "shared")])
    return folder


@pytest.fixture
def desk(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may break, as the working directory."""
    shutil.copytree(made, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):
    """Run a command that must be refused, and return the one line that it says."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hallucade: ")]
        assert end.value.code == 2
        return lines[-1]

    return run


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as a full disk would."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_broken_stores(desk: Path, refused) -> None:
    column = desk / "store24/shards/00000/frames.npy"
    os.truncate(column, 1000)
    assert "has 1000 bytes, its episodes need" in refused("inspect", "store24")
    assert "restore it from a copy" in refused("train", RECIPE, "--store", "store24", "--out", "new")
    manifest = desk / "store23/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    assert "format version 99, this hallucade reads up to" in refused("inspect", "store23")
    manifest.write_text('{"format": "other"}')
    assert "not of an episode store" in refused("inspect", "store23")
    manifest.write_text("{")
    assert "store23" in refused("inspect", "store23")
    assert not (desk / "new").exists()


@pytest.mark.parametrize("command", ["evaluate", "rollout", "play"])
def test_broken_checkpoints(desk: Path, command: str, refused) -> None:
    port = ("--port", "0") if command == "play" else ()
    weights, manifest = desk / "shared/weights.safetensors", desk / "shared/manifest.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert "damaged: it has 100 bytes" in refused(command, "shared", *port)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "does not match the hash in its manifest; restore it from a copy" in refused(command, "shared", *port)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    assert "has format 99" in refused(command, "shared", *port)
    assert "is not a hallucade-checkpoint" in refused(command, "store24", *port)
    manifest.unlink()
    assert "is not a whole checkpoint" in refused(command, "shared", *port)


def test_a_run_that_diverged_is_neither_played_nor_a_teacher(desk: Path, refused) -> None:
    spoilt = read_checkpoint(desk / "shared")
    name = next(name for name, weight in spoilt.weights.items() if weight.is_floating_point())
    spoilt.weights[name].view(-1)[0] = float("nan")
    write_checkpoint(desk / "nan", spoilt)
    said = f"nan holds weights that are no finite numbers ({name}, step {STEPS}): its training diverged"
    assert said in refused("rollout", "nan")
    assert said in refused("distill", "pong_distilled", "--teacher", "nan", "--store", "store24", "--out", "new")
    assert not (desk / "new").exists()


def test_a_run_whose_newest_checkpoint_broke_plays_the_one_before(desk: Path) -> None:
    steps = RunFolder(desk / "run").checkpoints
    os.truncate(steps.path(STEPS) / "weights.safetensors", 10)
    with pytest.warns(UserWarning, match="trying the one before"):
        assert load(desk / "run").prompts


def test_play_of_another_size_or_another_game(desk: Path, refused) -> None:
    assert "the store holds 28x28 pixels, the model dreams 24x24" in refused("evaluate", "run", "--store", "store28")
    assert "frames of 23x23 do not divide" in refused("train", RECIPE, "--store", "store23", "--out", "new")
    manifest = load_manifest(desk / "store24")
    save_manifest(desk / "store24", replace(manifest, actions=ActionSpace(buttons=(Button(name="jump"),))))
    assert "the store's actions are not the model's" in refused("evaluate", "run", "--store", "store24")
    assert not (desk / "new").exists()


def test_folders_in_use_are_left_as_they_are(desk: Path, refused) -> None:
    before = {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}
    assert "choose another one, or resume" in refused("record", "pong", "--out", "store24")
    assert "not empty" in refused("record", "pong", "--out", "run")
    assert "frame_size 24, not 28" in refused("record", "pong", "--out", "store24", "--frame-size", "28", "--resume")
    assert "is not empty; resume it" in refused("train", RECIPE, "--store", "store24", "--out", "run")
    other = ("--store", "store24", "--out", "run", "--resume")
    assert "model.widths was [8, 16], is [8, 8]" in refused("train", RECIPE, *other, "--model.widths", "8", "8")
    assert "is not empty; choose another folder" in refused("export", "run", "shared")
    assert "shared/config.json" in refused("export", "run", "shared/config.json")
    assert {path: path.read_bytes() for path in desk.rglob("*") if path.is_file() and path.name != ".lock"} == {
        path: data for path, data in before.items() if path.name != ".lock"
    }


def test_a_port_in_use(desk: Path, refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is in use by another program" in refused("play", "run", "--port", port)


def test_two_at_once(desk: Path, refused) -> None:
    run = RunFolder(desk / "run")
    run.claim({})
    more = ("--store", "store24", "--out", "run", "--resume")
    (desk / "run/config.json").write_text("{}")
    assert "is in use by another training" in refused("train", RECIPE, *more)
    run.release()
    main(["train", RECIPE, *more])
    with StoreWriter(desk / "store24"):
        assert "another process is writing to it" in refused(
            "record", "pong", "--out", "store24", "--frames", "5000", "--episode-length", "120", "--resume"
        )


def test_a_full_disk_loses_nothing_and_resume_goes_on(desk: Path, refused) -> None:
    store = ("record", "pong", "--out", "full", "--frames", "4000", "--episode-length", "120")
    with file_limit(1_000_000):
        assert "free some space and resume" in refused(*store)
    main([*store, "--resume"])
    assert EpisodeStore("full").fingerprint == EpisodeStore("store24").fingerprint

    train = ("train", RECIPE, "--store", "store24", "--out", "again")
    with file_limit(50_000):
        assert "earlier checkpoints are intact, so free space" in refused(*train)
        assert "cannot write checkpoint" in refused("export", "run", "exported")
        assert "File too large" in refused("rollout", "run", "--frames", "40", "--out", "dream.mp4")
        assert "File too large; free some space" in refused("inspect", "store24")
        assert "File too large); free some space" in refused("export", "store24", "exported")
    assert not (desk / "exported").exists()
    assert not list(desk.glob("*.part"))
    main([*train, "--resume"])
    again, unbroken = (RunFolder(desk / name).checkpoints.load() for name in ("again", "run"))
    assert all(again.weights[name].equal(tensor) for name, tensor in unbroken.weights.items())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_that_may_not_be_written(desk: Path, refused) -> None:
    (desk / "closed").mkdir(mode=0o500)
    assert "choose" in refused("record", "pong", "--out", "closed/store", "--frames", "100")
    assert "choose" in refused("train", RECIPE, "--store", "store24", "--out", "closed/run")
    assert "choose" in refused("evaluate", "run", "--out", "closed/report")


@pytest.mark.parametrize(
    ("module", "command", "install"),
    [
        ("h5py", "import csgo games new", "pip install 'hallucade[formats]'"),
        ("pyarrow", "export store24 new", "pip install 'hallucade[formats]'"),
        ("ray", "import folder games new --ray", "pip install 'hallucade[ray]'"),
        ("vizdoom", "record doom --out new", "pip install vizdoom"),
        ("ale_py", "record atari_pong --out new", "pip install ale-py"),
        ("gym_pusht", "record pusht --out new", "pip install --no-deps gym-pusht"),
        ("Box2D", "record car_racing --out new", "pip install 'gymnasium[box2d]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_command(
    desk: Path, module: str, command: str, install: str, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "games").mkdir()
    (desk / "games/hdf5_dm_july2021_1.hdf5").touch()
    monkeypatch.setitem(sys.modules, module, None)
    assert refused(*command.split()).endswith(install)
    assert not (desk / "new").exists()


def test_killed_half_way_the_same_command_with_resume_ends_as_the_unbroken_one(desk: Path) -> None:
    command = [sys.executable, "-m", "hallucade", "train", RECIPE, "--store", "store24", "--out", "killed"]
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = RunFolder(desk / "killed").checkpoints
    deadline = time.monotonic() + 60
    while not checkpoints.steps() and time.monotonic() < deadline:
        time.sleep(0.01)
    training.send_signal(signal.SIGKILL)
    training.wait()
    assert checkpoints.steps()
    main(["train", RECIPE, "--store", "store24", "--out", "killed", "--resume"])
    killed, unbroken = checkpoints.load(), RunFolder(desk / "run").checkpoints.load()
    assert killed.step == STEPS
    assert all(killed.weights[name].equal(tensor) for name, tensor in unbroken.weights.items())
