import pytest
import torch

from hallucade.nn.patch import ConvStem, PatchEmbedding, PatchOutput


def test_tokens_are_patches_row_by_row():
    embedding = PatchEmbedding(channels=3, width=12, patch=2, stem="linear", kernel=3)
    torch.nn.init.eye_(embedding.project.weight)
    torch.nn.init.zeros_(embedding.project.bias)
    frames = torch.randn(2, 5, 3, 6, 10)
    tokens = embedding(frames)
    assert tokens.shape == (2, 5, 3 * 5, 12)
    row, column = 1, 3  # laid out (channel, row, column)
    torch.testing.assert_close(tokens[1, 4, row * 5 + column], frames[1, 4, :, 2:4, 6:8].flatten())


def test_output_patches_are_laid_out_by_row_column_channel():
    output = PatchOutput(channels=3, width=12, patch=2)
    torch.nn.init.eye_(output.project.weight)
    torch.nn.init.zeros_(output.project.bias)
    tokens = torch.randn(2, 5, 3 * 5, 12)
    frames = output(tokens, rows=3)
    assert frames.shape == (2, 5, 3, 6, 10)
    torch.testing.assert_close(frames[1, 4, :, 2:4, 6:8].permute(1, 2, 0).flatten(), tokens[1, 4, 1 * 5 + 3])


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_conv_stem_sees_beyond_its_patch(kernel):
    embedding = PatchEmbedding(channels=3, width=12, patch=2, stem="conv", kernel=kernel)
    frames = torch.zeros(1, 1, 3, 6, 10)
    stem = embedding.stem
    assert isinstance(stem, ConvStem)
    stem.layers[2] = stem.layers[5] = torch.nn.Identity()  # group norms look at the whole frame
    other = frames.clone()
    other[..., 0, 0] = 1
    changed = (embedding(other) - embedding(frames)).abs().amax((0, 1, 3)).reshape(3, 5) > 0
    reach = -(-(kernel // 2 * 2 + 1) // 2)  # two convolutions of kernel // 2 pixels, in patches of 2
    assert changed[:reach, :reach].all()
    assert not changed[reach:].any()
    assert not changed[:, reach:].any()
