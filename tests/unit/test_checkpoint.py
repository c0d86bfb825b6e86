import builtins
import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hallucade.training import checkpoint as module_under_test
from hallucade.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointFolder,
    load_tensors,
    read_checkpoint,
    write_checkpoint,
)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is slow and a test cannot pull the plug: what counts is that and when it is asked for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def sample(step: int, seed: int = 0) -> Checkpoint:
    generator = torch.Generator().manual_seed(step * 7 + seed)
    weights = {"model.w": torch.randn(5, 3, generator=generator), "model.n": torch.tensor(step)}
    training = {"raw/model.w": torch.randn(5, 3, generator=generator), "optimizer/model/w/step": torch.tensor(2.0)}
    return Checkpoint(step, weights, {"steps": 9}, {"commit": None}, training, {"sum": 0.1 + 0.2})


def same(a: Checkpoint, b: Checkpoint) -> bool:
    tensors = [(a.weights, b.weights), (a.training, b.training)]
    equal = all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in tensors)
    return equal and (a.step, a.config, a.metadata, a.state) == (b.step, b.config, b.metadata, b.state)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "tmp" in path.name]


def test_everything_comes_back_bit_by_bit(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    where = folder.save(sample(3))
    assert same(folder.load(), sample(3))
    assert (tmp_path / "latest").read_text() == "step_00000003\n"
    assert read_checkpoint(where, weights_only=True).state == {}
    assert leftovers(tmp_path) == []


def test_only_json_and_safetensors_are_on_disk(tmp_path: Path) -> None:
    where = CheckpointFolder(tmp_path).save(sample(1))
    assert {path.suffix for path in where.iterdir()} == {".json", ".safetensors"}


def test_tied_and_strided_tensors_are_saved(tmp_path: Path) -> None:
    tied = torch.arange(12.0).reshape(3, 4)
    write_checkpoint(tmp_path / "x", Checkpoint(0, {"a": tied, "b": tied, "c": tied.mT}))
    weights = read_checkpoint(tmp_path / "x").weights
    assert torch.equal(weights["a"], weights["b"])
    assert torch.equal(weights["c"], tied.mT)


def test_r6_the_newest_stay_and_milestones_stay_for_good(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, milestone_every=4)
    for step in range(11):
        folder.save(sample(step))
    assert folder.steps() == [4, 8, 9, 10]
    assert leftovers(tmp_path) == []


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(sample(5))
    folder.save(sample(5, seed=1))
    assert same(folder.load(), sample(5, seed=1))
    assert folder.steps() == [5]


def files_of(where: Path) -> list[str]:
    return sorted(path.name for path in where.iterdir())


@pytest.mark.parametrize("position", [0.0, 0.37, 0.99])
def test_a_flipped_bit_in_any_file_is_found_and_the_one_before_loads(tmp_path: Path, position: float) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(sample(1))
    where = folder.save(sample(2))
    for name in set(files_of(where)) - {"manifest.json"}:
        whole = (where / name).read_bytes()
        place = int(position * len(whole))
        (where / name).write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=re.escape(str(where))):
            read_checkpoint(where)
        with pytest.warns(UserWarning, match="trying the one before"):
            assert same(folder.load(), sample(1))
        (where / name).write_bytes(whole)
    assert same(folder.load(), sample(2))


def test_no_flipped_bit_of_a_manifest_changes_what_is_read(tmp_path: Path) -> None:
    where = CheckpointFolder(tmp_path).save(sample(2))
    whole = (where / "manifest.json").read_bytes()
    found = 0
    for place in range(0, len(whole), 5):
        (where / "manifest.json").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert same(read_checkpoint(where), sample(2))
        except CheckpointError:
            found += 1
    assert found > 0.8 * len(whole) / 5  # the rest are blanks


def test_a_truncated_or_missing_file_is_found(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(sample(1))
    where = folder.save(sample(2))
    for name in files_of(where):
        whole = (where / name).read_bytes()
        for damage in (whole[: len(whole) // 2], b"", None):
            if damage is None:
                (where / name).unlink()
            else:
                (where / name).write_bytes(damage)
            with pytest.raises(CheckpointError, match=re.escape(name)):
                read_checkpoint(where)
            with pytest.warns(UserWarning, match="trying the one before"):
                assert folder.load().step == 1
        (where / name).write_bytes(whole)


def test_no_whole_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(CheckpointError, match="no whole checkpoint in"):
        folder.load()
    (folder.save(sample(4)) / "manifest.json").unlink()
    with (
        pytest.raises(CheckpointError, match="no whole checkpoint in"),
        pytest.warns(UserWarning, match=r"manifest\.json"),
    ):
        folder.load()


def edit_manifest(where: Path, **changes: Any) -> None:
    manifest = json.loads((where / "manifest.json").read_text())
    del manifest["sha256"]
    manifest |= changes
    manifest["sha256"] = module_under_test._seal(manifest)
    (where / "manifest.json").write_text(json.dumps(manifest))


def test_a_newer_format_says_so_and_is_not_walked_over(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(sample(1))
    edit_manifest(folder.save(sample(2)), version=99)
    with pytest.raises(CheckpointError, match="has format 99, this version reads up to 1; update"):
        folder.load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something"}, "not a hallucade-checkpoint"),
        ({"version": "1"}, "damaged"),
        ({"files": [1, 2]}, "damaged"),
        ({"files": {"weights.safetensors": 3}}, "incomplete"),
        ({"files": {}}, "incomplete"),
        ({"step": None}, "damaged"),
    ],
)
def test_a_foreign_manifest_is_one_clear_error(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    where = CheckpointFolder(tmp_path).save(sample(2))
    edit_manifest(where, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(where)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1, 2]", b"[" * 100_000, b"null"])
def test_a_manifest_that_is_no_json_object_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    where = CheckpointFolder(tmp_path).save(sample(2))
    (where / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(where)


def test_a_true_hash_over_a_false_safetensors_header_is_one_clear_error(tmp_path: Path) -> None:
    where = CheckpointFolder(tmp_path).save(sample(2))
    hostile = (1 << 40).to_bytes(8, "little") + b"{}"
    entry = module_under_test._write(where / "weights.safetensors", hostile)
    files = json.loads((where / "manifest.json").read_text())["files"]
    edit_manifest(where, files=files | {"weights.safetensors": entry})
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_checkpoint(where)


def test_pipes_and_links_are_refused_without_waiting(tmp_path: Path) -> None:
    where = CheckpointFolder(tmp_path).save(sample(2))
    (where / "weights.safetensors").rename(tmp_path / "elsewhere")
    (where / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="incomplete"):
        read_checkpoint(where)
    (where / "manifest.json").unlink()
    os.mkfifo(where / "manifest.json")
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_checkpoint(where)


class FullDisk:
    """Fails the k-th call that reaches the disk: opening, writing, syncing, renaming."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, code: int) -> None:
        self.calls, self.fail_at, self.code = 0, fail_at, code
        for owner, name in ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir")):
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name)))
        self._open = builtins.open
        monkeypatch.setattr(module_under_test, "open", self._open_failing, raising=False)

    def _failing(self, call: Any) -> Any:
        def failing(*args: Any, **kwargs: Any) -> Any:
            self._count()
            return call(*args, **kwargs)

        return failing

    def _open_failing(self, *args: Any, **kwargs: Any) -> Any:
        self._count()
        file = self._open(*args, **kwargs)
        write = file.write

        class Failing:
            def __enter__(self) -> "Failing":
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(_, content: bytes) -> int:
                write(content[: len(content) // 2])
                self._count()
                return write(content[len(content) // 2 :])

            def __getattr__(_, name: str) -> Any:
                return getattr(file, name)

        return Failing()

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(self.code, os.strerror(self.code))


def error_of(folder: CheckpointFolder, checkpoint: Checkpoint) -> str | None:
    try:
        folder.save(checkpoint)
    except CheckpointError as error:
        return str(error)
    return None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_r6_whatever_call_the_disk_refuses_the_checkpoint_before_loads(tmp_path: Path, code: int) -> None:
    loud = 0
    for k in range(1, 60):
        folder = CheckpointFolder(tmp_path / str(k), keep=1)
        folder.save(sample(1))
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = FullDisk(monkeypatch, k, code)
            message = error_of(folder, sample(2))
        loud += message is not None
        if message is not None:
            assert os.strerror(code) in message
            assert "earlier checkpoints are intact" in message
        newest = folder.load()
        assert same(newest, sample(newest.step))
        assert newest.step in (1, 2)
        left = leftovers(folder.folder)
        assert [name for name in left if name.startswith("step")] == []
        if disk.calls < k:
            break
    assert disk.calls < k, "the loop ended before every call had failed once"
    assert loud >= k - 3, "a failure was silent"  # but for the removal of the oldest, which may fail unnoticed


def test_a_killed_writers_remains_are_swept_and_nothing_else(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(sample(1))
    (tmp_path / "step_00000002.tmp-123").mkdir()
    (tmp_path / "step_00000002.tmp-123" / "weights.safetensors").write_bytes(b"half")
    assert folder.steps() == [1]
    folder.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_00000001"]


def test_nothing_is_moved_before_every_byte_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    rename = os.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("sync"))
    monkeypatch.setattr(os, "rename", lambda a, b: (calls.append("rename"), rename(a, b))[1])
    write_checkpoint(tmp_path / "step_00000001", sample(1))
    assert calls == ["sync"] * 7 + ["rename", "sync"]  # six files and their folder; then the parent


def linear_tensors(**changes: Tensor) -> dict[str, Tensor]:
    return {"weight": torch.ones(3, 5), "bias": torch.ones(3)} | changes


def test_load_tensors_names_every_difference_and_changes_nothing() -> None:
    layer = nn.Linear(5, 3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    wrong = linear_tensors(bias=torch.ones(7), extra=torch.ones(1))
    del wrong["weight"]
    with pytest.raises(CheckpointError) as caught:
        load_tensors(layer, wrong, "here.safetensors")
    message = str(caught.value)
    for part in (
        "here.safetensors",
        "Linear",
        "missing weight",
        "unexpected extra",
        "bias is (7,) there and (3,) here",
    ):
        assert part in message
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_network_of_another_kind_is_refused_in_a_sentence() -> None:
    deep = nn.Sequential(*(nn.Linear(2, 2) for _ in range(40)))
    with pytest.raises(CheckpointError, match=r"here does not fit Sequential: missing 0.weight; .* and 76 more$"):
        load_tensors(deep, linear_tensors(), "here")


def test_load_tensors_copies_into_the_same_memory() -> None:
    layer = nn.Linear(5, 3)
    place = layer.weight.data_ptr()
    load_tensors(layer, linear_tensors(), "here")
    assert layer.weight.data_ptr() == place
    assert torch.equal(layer.weight, torch.ones(3, 5))
