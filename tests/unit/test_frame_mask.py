"""FlexAttention and a matrix of the same rule; on a CPU forward only, for it has no backward pass there."""

import pytest
import torch

from hallucade.nn.attention import KeysValues, View, attend, attend_fused, choose_kernel, look
from hallucade.nn.frame_mask import FrameMask, attend_flex
from hallucade.nn.rope import Rotation
from hallucade.nn.window import FrameWindow

CPU = torch.device("cpu")
WINDOWS = [FrameWindow(4), FrameWindow(5, 2)]
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def qkv(frames, tokens, device=CPU, dtype=torch.float32, head=16):
    return [torch.randn(2, 3, frames * tokens, d, device=device, dtype=dtype) for d in (head, head, 24)]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_tokens_see_the_frames_that_their_frame_sees(window):
    seen, matrix = window.visible(9, CPU), FrameMask(window, 9, 7, CPU).matrix()
    for q, k in ((0, 0), (20, 21), (21, 20), (62, 0), (62, 15), (62, 14), (30, 13)):
        assert matrix[q, k] == seen[q // 7, k // 7]


@torch.no_grad()
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_blocks_and_matrix_give_the_same(window):
    mask, (q, k, v) = FrameMask(window, 27, 11, CPU), qkv(27, 11)
    exact = attend_fused(q, k, v, mask.matrix(), 0.3)
    torch.testing.assert_close(attend_flex(q, k, v, mask, 0.3), exact)
    torch.testing.assert_close(attend(q, k, v, mask, 0.3), exact)
    assert (exact - attend_fused(q, k, v, None, 0.3)).abs().max() > 0.1


def test_blocks_are_built_once_for_a_shape_and_leave_out_what_nothing_sees():
    blocks = FrameMask(FrameWindow(4), 64, 32, CPU).blocks()  # 16 blocks of 4 frames
    assert FrameMask(FrameWindow(4), 64, 32, CPU).blocks() is blocks
    assert blocks.to_dense()[0, 0].sum() == 16 + 15  # a block's own frames, and those of the block before
    assert FrameMask(FrameWindow(5), 64, 32, CPU).blocks() is not blocks


@pytest.mark.parametrize(
    ("device", "dtype", "keys", "head", "grad", "framed", "kernel"),
    [
        ("cpu", torch.float32, 128, 32, True, True, "matmul"),
        ("cpu", torch.float32, 1950, 32, True, True, "fused"),
        ("cpu", torch.bfloat16, 1950, 32, True, True, "matmul"),
        ("cpu", torch.bfloat16, 1950, 32, False, True, "fused"),
        ("cpu", torch.bfloat16, 10**5, 32, True, True, "fused"),
        ("xpu", torch.bfloat16, 1950, 16, True, True, "flex"),
        ("xpu", torch.float32, 1950, 16, False, True, "flex"),
        ("xpu", torch.bfloat16, 1950, 8, True, True, "fused"),
        ("xpu", torch.bfloat16, 288, 32, True, True, "fused"),
        ("xpu", torch.bfloat16, 1950, 32, True, False, "fused"),
        ("mps", torch.float32, 1950, 32, True, True, "fused"),
    ],
)
def test_the_kernel_rests_on_device_length_precision_and_gradients(
    device, dtype, keys, head, grad, framed, kernel, monkeypatch
):
    monkeypatch.setattr("hallucade.nn.attention.HAS_TRITON", True)
    assert choose_kernel(torch.device(device), dtype, keys, head, grad=grad, framed=framed) == kernel


def test_without_its_compiler_flex_is_not_chosen(monkeypatch):
    monkeypatch.setattr("hallucade.nn.attention.HAS_TRITON", False)
    assert choose_kernel(torch.device("xpu"), torch.bfloat16, 1950, 32, grad=True, framed=True) == "fused"


@pytest.mark.gpu
@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 2e-3), (torch.bfloat16, 3e-2)])
def test_flex_gives_the_outputs_and_gradients_of_the_fused_kernel(accelerator, dtype, close, sinks):
    window = FrameWindow(8, 2 if sinks else 0)
    mask = FrameMask(window, 20, 65, accelerator)
    assert choose_kernel(accelerator, dtype, 1300, 16, grad=True, framed=True) == "flex"
    q, k, v = (x.requires_grad_() for x in qkv(20, 65, accelerator, dtype))
    turn, near = (Rotation(*torch.randn(2, 1300, 8, device=accelerator)) for _ in range(2))
    is_sink = (torch.arange(1300, device=accelerator) < 130) if sinks else None
    outs = [
        look(q, KeysValues(k, v), View(turn, m, is_sink, near if sinks else None), 0.25) for m in (mask, mask.matrix())
    ]
    grads = [torch.autograd.grad(out.float().square().sum(), (q, k, v)) for out in outs]
    for flex, fused in zip((outs[0], *grads[0]), (outs[1], *grads[1]), strict=True):
        assert (flex - fused).norm() / fused.norm() < close
