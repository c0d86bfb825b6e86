"""A trained tokenizer's folder: what it is, and what is refused because it does not belong together (R1, R2, R24)."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file

from hallucade.tokenizers.base import TokenizerError
from hallucade.tokenizers.bottlenecks.fsq import FSQConfig
from hallucade.tokenizers.bottlenecks.gaussian import GaussianConfig
from hallucade.tokenizers.bottlenecks.lfq import LFQConfig
from hallucade.tokenizers.bottlenecks.residual_vq import ResidualVQConfig
from hallucade.tokenizers.bottlenecks.vector_quantizer import VQConfig
from hallucade.tokenizers.convolutions import ConvolutionsConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig
from hallucade.tokenizers.learned_folder import ABOUT, PROBE, WEIGHTS, LearnedFolder, write_tokenizer
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig

SMALL = ConvolutionsConfig(widths=(8, 12))
KINDS = [
    FSQConfig(levels=(3, 5)),
    LFQConfig(bits=4),
    VQConfig(codes=7, width=5),
    GaussianConfig(channels=3),
    *([ResidualVQConfig(codes=7, width=6)] if find_spec("vector_quantize_pytorch") else []),
]
H, W = 12, 20


def tokenizer(bottleneck=KINDS[2], seed=0, convolutions=SMALL):
    torch.manual_seed(seed)
    return LearnedTokenizerConfig(convolutions=convolutions, bottleneck=bottleneck).build().eval()


def pictures(count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, count, H, W, 3), generator=generator, dtype=torch.uint8)


def written(path, **choices):
    write_tokenizer(path, tokenizer(**choices), pictures()[0, 0], step=3)
    return path


def edit(folder, **changes):
    file = folder / ABOUT
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)


@pytest.mark.parametrize("bottleneck", KINDS, ids=lambda c: type(c).__name__)
def test_what_was_written_tokenizes_as_what_was_trained(tmp_path, bottleneck):
    made = tokenizer(bottleneck)
    folder = write_tokenizer(tmp_path / "run" / "tokenizer", made, pictures()[0, 0])
    found = PretrainedTokenizerConfig(path=str(tmp_path / "run")).build()  # a run's folder will do
    latents = made.encode(pictures())
    assert torch.equal(found.encode(pictures()), latents)
    assert torch.equal(found.decode(latents), made.decode(latents))
    assert latents.shape[2:] == folder.latent_shape(H, W) == found.latent_shape(H, W)
    assert found.codes == folder.codes == bottleneck.build().codes
    assert not any(p.requires_grad for p in found.parameters())
    assert not found.state_dict()
    assert torch.nn.ModuleDict({"a": found, "b": torch.nn.Linear(1, 1)}).load_state_dict({}, strict=False)[0] == [
        "b.weight",
        "b.bias",
    ]


def test_the_fingerprint_tells_weights_and_config_and_not_the_place(tmp_path):
    first = LearnedFolder(written(tmp_path / "a")).fingerprint
    assert LearnedFolder(written(tmp_path / "b")).fingerprint == first
    assert LearnedFolder(written(tmp_path / "c", seed=1)).fingerprint != first
    assert LearnedFolder(written(tmp_path / "d", bottleneck=VQConfig(codes=7, width=5, decay=0.9))).fingerprint != first


def test_a_tokenizer_takes_the_place_of_the_one_before_it(tmp_path):
    folder = written(tmp_path / "t")
    before = LearnedFolder(folder).fingerprint
    written(folder, seed=1)
    assert LearnedFolder(folder).fingerprint != before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t"]


@pytest.mark.parametrize("bottleneck", KINDS, ids=lambda c: type(c).__name__)
def test_a_process_that_knows_nothing_else_can_read_it(tmp_path, bottleneck):
    written(tmp_path / "t", bottleneck=bottleneck)
    code = "from hallucade.tokenizers.pretrained import find_tokenizer as f; import sys; print(f(sys.argv[1]).codes)"
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t")], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(bottleneck.build().codes)


def broken(folder):
    with pytest.raises(TokenizerError) as error:
        LearnedFolder(folder).load()
    return str(error.value)


def test_r1_sizes_that_differ_are_refused_with_both_numbers(tmp_path):
    folder = written(tmp_path / "t")
    edit(folder, codes=9)
    assert "says that codes is 9, and its config makes it 7" in broken(folder)


def test_r1_a_transposed_codebook_is_refused(tmp_path):
    folder = written(tmp_path / "t")
    edit_weights(folder, lambda w: w.update({"bottleneck.book": w["bottleneck.book"].T}))
    assert "bottleneck.book as 5x7, and its config makes it 7x5" in broken(folder)


def test_r2_a_missing_decoder_is_an_error_and_no_noise(tmp_path):
    folder = written(tmp_path / "t")
    edit_weights(folder, lambda w: w.pop("decoder.0.weight"))
    assert "lacks decoder.0.weight" in broken(folder)


def test_r2_weights_of_another_training_fail_the_probe(tmp_path):
    folder, other = written(tmp_path / "t"), written(tmp_path / "o", seed=5)
    (folder / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    assert "of its probe" in broken(folder) or "grey levels away" in broken(folder)


@pytest.mark.parametrize("name", [WEIGHTS, PROBE, ABOUT])
def test_files_that_are_cut_or_gone_are_named(tmp_path, name):
    folder = written(tmp_path / "t")
    file = folder / name
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(TokenizerError, match=name):
        LearnedFolder(folder).load()
    file.unlink()
    with pytest.raises(TokenizerError, match=name):
        LearnedFolder(folder).load()


def test_a_newer_format_asks_for_an_update(tmp_path):
    folder = written(tmp_path / "t")
    edit(folder, version=2)
    with pytest.raises(TokenizerError, match="version is 2, and this hallucade reads up to 1; update it"):
        LearnedFolder(folder)


def test_another_tokenizer_than_the_recorded_one_is_refused(tmp_path):
    path = str(written(tmp_path / "t"))
    pinned = PretrainedTokenizerConfig(path=path).pinned()
    written(tmp_path / "t", seed=1)
    with pytest.raises(TokenizerError, match=str(pinned.fingerprint)):
        pinned.build()


def test_codes_that_do_not_exist_are_refused():
    made = tokenizer()
    with pytest.raises(ValueError, match="codes from 0 to 7, and this tokenizer has 7, counted from 0"):
        made.decode(torch.arange(8).repeat(2)[:15].reshape(1, 1, 3, 5))


def test_frames_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="frames are 10x20 pixels and this tokenizer needs multiples of 4"):
        tokenizer().encode(torch.zeros(1, 1, 10, 20, 3, dtype=torch.uint8))


def test_vectors_of_codes_are_those_of_one_code_a_cell():
    made = tokenizer()
    assert torch.equal(made.codebook(), made.bottleneck.book)
    for kind in KINDS[3:]:
        with pytest.raises(ValueError, match=r"makes (channels|2 codes) a cell.*use one of one code a cell"):
            tokenizer(kind).codebook()
