"""What an evaluation of recorded clips says of perceptual metrics, with networks of a few features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hallucade.evaluation.metrics.features import FeatureNetwork, PictureNetwork
from hallucade.evaluation.metrics.frechet import frechet_distance
from hallucade.evaluation.metrics.kernel_distance import paired_distance
from hallucade.evaluation.metrics.lite0 import lite0_installed
from hallucade.evaluation.metrics.moments import Moments
from hallucade.evaluation.perceptual import ComparedSets, PerceptualConfig, PerceptualScores
from hallucade.evaluation.report import write_report
from hallucade.evaluation.result import Evaluation

CPU = torch.device("cpu")


class Colours(PictureNetwork):
    """Means of the channels of the left half and of the right one, over 10."""

    frechet, kernel, label, dims = "fid", "kid", "Colours", 6

    def __init__(self) -> None:
        super().__init__("weights of nobody")
        self.scale = torch.nn.Parameter(torch.tensor(0.1))

    def picture_features(self, pictures: Tensor) -> Tensor:
        halves = pictures.chunk(2, dim=3)
        return torch.cat([half.mean((2, 3)) for half in halves], 1) * self.scale


def clips(n: int, seed: int, t: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, t, 6, 8, 3), np.uint8)


def scores(network: FeatureNetwork, until: int = 4) -> PerceptualScores:
    return PerceptualScores(None, (1, 4), [ComparedSets(network, until)], [])


def test_distances_are_those_of_the_first_frames_however_they_are_batched():
    dreams, truths, others = clips(7, 0), clips(7, 1), clips(7, 2)
    network, found = Colours(), []
    for cut in (0, 3, 6):
        looks = scores(network)
        for part in filter(lambda part: part.stop > part.start, (slice(0, cut), slice(cut, 7))):
            looks.add(dreams[part], truths[part])
            looks.add_other(others[part])
        found.append(looks.metrics("clips/"))
    assert found[0] == found[1] == found[2]
    a, b, c = (network.features(torch.from_numpy(part[:, :4])) for part in (dreams, truths, others))
    sets = [Moments.of(part.flatten(0, 1)) for part in (a, b, c)]
    kernel = paired_distance(a, b)
    assert found[0] == {
        "clips/fid@4": frechet_distance(sets[0], sets[1]),
        "clips/fid_samples@4": 28.0,
        "clips/fid_floor@4": frechet_distance(sets[1], sets[2]),
        "clips/kid@4": kernel.value,
        "clips/kid_error@4": kernel.error,
    }


def test_notes_say_what_a_value_is_not():
    looks = scores(Colours(), until=1)
    looks.add(clips(6, 0), clips(6, 1))
    relative, floor = looks.notes()
    assert relative.startswith("fid@1 is only relative: 6 samples of 6 features")
    assert "dream 7 clips or more; kid" in relative
    assert floor.startswith("fid@1 has no floor")
    looks.add(clips(1, 2), clips(1, 3))
    looks.add_other(clips(7, 4))
    assert looks.notes() == []
    few = scores(Colours())
    few.add(clips(2, 0), clips(2, 1))
    assert few.metrics("") == {}
    assert few.notes()[0] == "no fid@4: 2 clips; it takes 3 or more"


def test_the_report_shows_values_beside_what_they_are_measured_by(tmp_path: Path):
    looks = scores(Colours())
    looks.add(clips(7, 0), clips(7, 1))
    found = looks.metrics("clips/")
    page = write_report(tmp_path, Evaluation(found, (), (), looks.protocol(), ("not <b>",)), {}).read_text()
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    assert "FID<small>frames 1 to 4, 28 samples</small>" in page
    assert f"± {found['clips/kid_error@4']:.2g}" in page
    assert "Colours, to frame 4" in page
    assert "weights of nobody" in page
    assert "not &lt;b&gt;" in page


def test_weights_that_are_not_there_stop_an_evaluation_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for asked in ({"lpips": "alex"}, {"fid": "cache"}, {"fid": "nowhere.pth"}, {"fvd": "cache"}):
        with pytest.raises(ValueError, match=r"(they|the weights of FID's Inception) are "):
            PerceptualConfig(lite0="off", **asked).build((64, 64), (16,), CPU)


def test_without_its_package_the_offline_distance_is_absent_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hallucade.evaluation.metrics.lite0.PACKAGES", ("no_such_package",))
    looks = PerceptualConfig().build((64, 64), (16,), CPU)
    looks.add(clips(4, 0), clips(4, 1))
    assert looks.metrics("") == {}
    assert "pip install 'hallucade[perceptual]'" in looks.notes()[0]
    assert PerceptualConfig(lite0="off").build((64, 64), (16,), CPU).notes() == []
    with pytest.raises(ValueError, match="not installed"):
        PerceptualConfig(lite0="on").build((64, 64), (16,), CPU)


@pytest.mark.skipif(not lite0_installed(), reason="needs pip install 'hallucade[perceptual]'")
def test_the_offline_distance_has_its_own_name():
    looks = PerceptualConfig(until=(16, 3, 2)).build((6, 8), (1, 3), CPU)
    looks.add(clips(4, 0), clips(4, 1))
    assert {name for name in looks.metrics("") if "_" in name} == {
        f"{name}@{until}"
        for name in ("frechet_lite0", "frechet_lite0_samples", "mmd_lite0", "mmd_lite0_error")
        for until in (2, 3)
    }


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="weights of LPIPS, but lpips is 'off'"):
        PerceptualConfig(lpips_weights="a.pth")
    with pytest.raises(ValueError, match=r"until is \(0,\)"):
        PerceptualConfig(until=(0,))
