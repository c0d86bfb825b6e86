"""Latent caches: what the tokenizer makes of each frame, however the work was shared, interrupted or damaged."""

import errno
import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'hallucade[pretrained]'")
from samples.autoencoders import save_autoencoder

from hallucade.data import column_writer
from hallucade.data.clips import ClipWindows
from hallucade.data.column_writer import ColumnWriter
from hallucade.data.executors import Processes, serial
from hallucade.data.latent_cache import LatentCache, LatentManifest
from hallucade.data.manifest import StoreError
from hallucade.data.mixture import Mixture
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.data.verified import DamageError
from hallucade.recipes.latents import open_caches
from hallucade.tokenizers.autoencoder_folder import WEIGHTS
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.tokenizers.tokenize import tokenize

PLAY = RecordingConfig(frame_size=24, frames=90, episode_length=11)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A store of some short episodes of Pong, two autoencoders, and the store's latents in float32."""
    root = tmp_path_factory.mktemp("desk")
    store = record(PLAY, root / "store")
    for kind in ("AutoencoderKL", "AutoencoderTiny"):
        save_autoencoder(root / kind, kind)
    tokenize(store, root / "whole", kl(root), dtype="float32")
    return root


@pytest.fixture
def store(desk):
    return EpisodeStore(desk / "store")


def kl(desk, **changes):
    return PretrainedTokenizerConfig(path=str(desk / "AutoencoderKL"), chunk=5, **changes)


def content(cache):
    files = [path for path in sorted(cache.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


def test_a_cache_holds_what_the_tokenizer_makes_of_each_frame(desk, store):
    cache, tokenizer = LatentCache(desk / "whole"), kl(desk).build()
    assert len(cache) == len(store) == 8
    assert cache.total_frames == store.total_frames
    for index in range(len(store)):
        latents = tokenizer.encode(torch.from_numpy(np.array(store.episode(index).frames))[None])[0]
        assert np.array_equal(cache.episode(index), latents.numpy())


def test_clips_of_latents_are_the_clips_of_frames_encoded(desk, store):
    halves = tokenize(store, desk / "halves", kl(desk), dtype="float16")
    assert 0 < halves.manifest.relative_error < 1e-3
    options = {"frames": 4, "batch": 6, "seed": 5}
    pixels = ClipWindows(store, store.actions, **options)
    latents = ClipWindows(store, store.actions, **options, latents=[halves])
    assert latents.fingerprint != pixels.fingerprint
    tokenizer = kl(desk).build()
    for step, rank in ((0, 0), (7, 1)):
        seen, coded = pixels.batch_at(step, rank, 2), latents.batch_at(step, rank, 2)
        assert coded.frames.shape == (3, 4, 0, 0, 3)
        assert torch.equal(coded.actions, seen.actions)
        assert coded.seed == seen.seed
        torch.testing.assert_close(coded.latents, tokenizer.encode(seen.frames), rtol=1e-3, atol=1e-3)
        pieces = coded.split(3)
        assert torch.equal(torch.cat([piece.latents for piece in pieces]), coded.latents)
        assert [piece.seed for piece in pieces] == [piece.seed for piece in seen.split(3)]


def test_interrupted_and_resumed_it_has_the_bytes_of_an_unbroken_one(desk, store, tmp_path):
    def interrupted(encode, indices):
        yield from serial(encode, itertools.islice(indices, 3))
        raise KeyboardInterrupt

    path = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        tokenize(store, path, kl(desk), dtype="float32", executor=interrupted)
    assert len(LatentCache(path)) == 3
    with (path / "shards" / "00000" / "latents.npy").open("ab") as file:
        file.write(b"half an episode")  # of a commit that a kill cut off
    tokenize(store, path, kl(desk), dtype="float32", resume=True)
    assert content(path) == content(desk / "whole")


def test_a_full_disk_loses_nothing(desk, store, tmp_path, monkeypatch):
    real, writes = column_writer.write_all, itertools.count()

    def write_all(file, data):
        if next(writes) == 9:
            real(file, memoryview(data).cast("B")[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(column_writer, "write_all", write_all)
    with pytest.raises(StoreError, match=r"cannot write \(No space left on device\); free some space and resume: all"):
        tokenize(store, tmp_path / "cache", kl(desk), dtype="float32")
    tokenize(store, tmp_path / "cache", kl(desk), dtype="float32", resume=True)
    assert content(tmp_path / "cache") == content(desk / "whole")


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(desk, store, tmp_path):
    tokenize(store, tmp_path / "cache", kl(desk), dtype="float32", executor=Processes(2))
    assert content(tmp_path / "cache") == content(desk / "whole")


def test_two_writers_exclude_each_other(desk, store):
    with (
        ColumnWriter(desk / "whole", LatentManifest),
        pytest.raises(StoreError, match="another process is writing to it; wait for it or stop it"),
    ):
        tokenize(store, desk / "whole", kl(desk), dtype="float32", resume=True)


@pytest.mark.parametrize(
    ("tokenizer", "options", "message"),
    [
        ({}, {}, "the folder is not empty; choose another one, or go on with it: --resume"),
        ({"precision": "bf16"}, {"resume": True}, "made with precision 'fp32', not 'bf16'; resume with the same"),
        ({"path": "AutoencoderTiny"}, {"resume": True}, "made with tokenizer_fingerprint '.*', not '.*'; resume"),
    ],
)
def test_a_cache_is_not_continued_as_another(desk, store, tokenizer, options, message):
    if "path" in tokenizer:
        tokenizer = {"path": str(desk / tokenizer["path"])}
    before = content(desk / "whole")
    with pytest.raises(StoreError, match=message):
        tokenize(store, desk / "whole", replace(kl(desk), **tokenizer), dtype="float32", **options)
    assert content(desk / "whole") == before


def test_a_precision_that_does_not_suffice_writes_nothing(desk, store, tmp_path):
    message = r"computed in bf16 and kept as float16 are up to 0\.0\d+ of their size away from float32, more than the "
    with pytest.raises(ValueError, match=message):
        tokenize(store, tmp_path / "cache", kl(desk, precision="bf16"), tolerance=1e-4)
    assert not (tmp_path / "cache").exists()
    cache = tokenize(store, tmp_path / "cache", kl(desk, precision="bf16"), tolerance=0.05)
    assert 1e-4 < cache.manifest.relative_error < 0.05


def test_latents_beyond_float16_are_refused(store, tmp_path):
    loud = PretrainedTokenizerConfig(path=str(save_autoencoder(tmp_path / "loud", "AutoencoderKL", scaling_factor=3e5)))
    with pytest.raises(ValueError, match="up to inf of their size away from float32"):
        tokenize(store, tmp_path / "cache", loud)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_weights_that_are_no_numbers_are_called_damaged(desk, store, tmp_path, dtype):
    broken = shutil.copytree(desk / "AutoencoderKL", tmp_path / "broken") / WEIGHTS
    save_file({name: value * float("nan") for name, value in load_file(broken).items()}, broken)
    with pytest.raises(ValueError, match="weights are damaged: copy or download them again"):
        tokenize(store, tmp_path / "out", PretrainedTokenizerConfig(path=str(broken.parent)), dtype=dtype)


@pytest.mark.parametrize("device", ["nonsense", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(desk, store, tmp_path, device):
    with pytest.raises(ValueError, match=f"device is '{device}', which cannot be used here"):
        tokenize(store, tmp_path / "out", kl(desk), device=device)
    assert not (tmp_path / "out").exists()


def test_caches_are_named_or_left_out(desk, tmp_path):
    both = shutil.copytree(desk / "whole", tmp_path / "a,b")  # a folder may have a comma in its name
    assert [cache.path for cache in open_caches(str(both))] == [both]
    assert open_caches(None) == ()
    for text in ("", ",", f"{both},"):
        with pytest.raises(ValueError, match="name a cache for each store"):
            open_caches(text)


def test_a_cache_of_another_store_or_not_finished_is_refused(desk, store, tmp_path):
    other = record(replace(PLAY, seed=1), tmp_path / "other")
    whole = LatentCache(desk / "whole")
    message = f"a store with the fingerprint {store.fingerprint}, and .* is {other.fingerprint}; make its own: "
    with pytest.raises(StoreError, match=message):
        ClipWindows(other, other.actions, frames=4, batch=2, latents=[whole])
    with pytest.raises(StoreError, match="no cache of its latents is given; hallucade tokenize"):
        ClipWindows(Mixture([store, other], [1, 1]), store.actions, frames=4, batch=2, latents=[whole])
    with pytest.raises(KeyboardInterrupt):
        tokenize(store, tmp_path / "part", kl(desk), executor=stopped)
    with pytest.raises(StoreError, match=r"it holds 2 of the 8 episodes of .*; finish it: .* --resume"):
        ClipWindows(store, store.actions, frames=4, batch=2, latents=[LatentCache(tmp_path / "part")])
    with pytest.raises(StoreError, match=r"manifest\.json is not of a latent cache; give the folder of one, or make"):
        LatentCache(desk / "store")


def stopped(encode, indices):
    yield from serial(encode, itertools.islice(indices, 2))
    raise KeyboardInterrupt


def test_caches_of_a_mixture_are_found_by_their_stores(desk, store, tmp_path):
    other = record(replace(PLAY, seed=1, frames=40), tmp_path / "other")
    coded = tokenize(other, tmp_path / "coded", kl(desk), dtype="float32")
    mixture, options = Mixture([store, other], [1, 2]), {"frames": 4, "batch": 9}
    latents = ClipWindows(mixture, store.actions, **options, latents=[coded, LatentCache(desk / "whole")]).batch_at(2)
    seen = ClipWindows(mixture, store.actions, **options).batch_at(2)
    torch.testing.assert_close(latents.latents, kl(desk).build().encode(seen.frames), rtol=1e-4, atol=1e-5)


def test_damaged_latents_are_an_error_or_another_window(desk, store, tmp_path):
    cache = tokenize(store, tmp_path / "cache", kl(desk), dtype="float32")
    path = cache.path / "shards" / "00000" / "latents.npy"
    with path.open("r+b") as file:
        file.seek(-7, 2)
        file.write(b"\xff")
    options = {"frames": 4, "batch": 70, "latents": [LatentCache(cache.path)]}
    with pytest.raises(DamageError, match=rf"latents\.npy: from byte \d+ \(episode {len(store) - 1}\) it is not what"):
        ClipWindows(store, store.actions, **options).batch_at(0)
    assert ClipWindows(store, store.actions, **options, damage="skip").batch_at(0).skipped > 0


def test_a_damaged_frame_of_the_store_stops_it(desk, tmp_path):
    store = record(PLAY, tmp_path / "store")
    with (store.path / "shards" / "00000" / "frames.npy").open("r+b") as file:
        file.seek(-7, 2)
        file.write(b"\x01\x02\x03")
    with pytest.raises(StoreError, match=r"frames\.npy: from byte \d+ \(episode 7\) it is not what was recorded"):
        tokenize(EpisodeStore(store.path), tmp_path / "cache", kl(desk), dtype="float32")
    assert len(LatentCache(tmp_path / "cache")) == 7
