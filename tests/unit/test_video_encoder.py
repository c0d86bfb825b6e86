"""The video encoder: what it reads, what it leaves out, and what it refuses."""

import pytest
import torch

from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.nn.token_grid import chosen, grid_vectors

B, T, H, W = 2, 6, 12, 20
SMALL = VideoEncoderConfig(width=24, depth=4, heads=2, patch=4, tubelet=2)


def frames(count: int = T, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (B, count, H, W, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(params=["full", "factorised"])
def encoder(request: pytest.FixtureRequest) -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoderConfig(**(vars(SMALL) | {"layout": request.param})).build((H, W))


def test_a_token_stands_for_a_tubelet(encoder: VideoEncoder) -> None:
    assert encoder(frames()).shape == (B, T // 2, 3 * 5, 24)
    assert encoder.pooled(frames()).shape == (B, T // 2, 24)
    assert encoder.patches(frames()).shape == (B, T // 2, 15, 2 * 3 * 16)


def test_patches_are_laid_out_by_frame_colour_row_and_column(encoder: VideoEncoder) -> None:
    shown = frames()
    cut = encoder.patches(shown)[1, 2, 7].reshape(2, 3, 4, 4)  # row 1, column 2 of frames 4 and 5
    truth = shown[1, 4:6, 4:8, 8:12].permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(cut, truth)


def test_places_in_any_order_have_the_features_of_all(encoder: VideoEncoder) -> None:
    """Positions travel with places: what is left out, and how the rest is ordered, moves nothing."""
    order = torch.stack([torch.randperm(15), torch.randperm(15)])
    torch.testing.assert_close(encoder(frames(), order), chosen(encoder(frames()), order), rtol=1e-4, atol=1e-5)


def test_what_is_left_out_is_not_seen(encoder: VideoEncoder) -> None:
    kept = torch.tensor([[0, 4, 9], [3, 2, 14]])
    changed = frames()
    for clip, places in enumerate(kept.tolist()):
        for place in set(range(15)) - set(places):
            row, column = divmod(place, 5)
            changed[clip, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 7
    assert torch.equal(encoder(frames(), kept), encoder(changed, kept))
    assert not torch.equal(encoder(frames()), encoder(changed))


def test_it_knows_where_and_when(encoder: VideoEncoder) -> None:
    """The same patch elsewhere, or at another time, has other features."""
    even = torch.full((1, T, H, W, 3), 90, dtype=torch.uint8)
    found = encoder(even)[0].flatten(0, 1)
    distances = torch.cdist(found, found) + 9 * torch.eye(len(found))
    assert distances.min() > 1e-2


def test_frames_that_would_be_dropped_are_refused(encoder: VideoEncoder) -> None:
    with pytest.raises(ValueError, match="clips of 5 frames do not divide into tubelets of 2"):
        encoder(frames(5))
    with pytest.raises(ValueError, match="reads frames of 12x20 pixels, not 20x12"):
        encoder(frames().transpose(2, 3))
    with pytest.raises(ValueError, match="frames of 12x18 do not divide by patch 4"):
        SMALL.build((12, 18))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"tubelet": 0}, "tubelet is 0; use 1 or more"),
        ({"heads": 5}, "choose a number of heads that divides the width"),
        ({"heads": 12}, "choose fewer heads"),
        ({"layout": "factorised", "depth": 1}, "needs a block for space and one for time"),
        ({"mlp_ratio": 0.0}, "no hidden units"),
    ],
)
def test_sizes_that_fit_nothing_are_refused(wrong: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        VideoEncoderConfig(**(vars(SMALL) | wrong))


def test_vectors_tell_every_place_apart() -> None:
    found = grid_vectors(4, 3, 5, 24).flatten(0, 1)
    assert found.shape == (60, 24)
    assert (torch.cdist(found, found) + 9 * torch.eye(60)).min() > 0.1
    torch.testing.assert_close(found.square().sum(1), torch.full((60,), 12.0))  # sine and cosine of 12 angles
