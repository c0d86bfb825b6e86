import pytest
import torch
from torch import nn

from hallucade.training.ema import EMAConfig


def test_first_update_forgets_the_initial_weights() -> None:
    weight = nn.Parameter(torch.full((3, 5), 9.0))
    ema = EMAConfig().build({"w": weight})
    weight.data.fill_(2.0)
    ema.update()
    assert torch.equal(ema.averages["w"], torch.full((3, 5), 2.0))


def test_gamma_zero_is_the_plain_mean_of_all_steps() -> None:
    weight = nn.Parameter(torch.zeros(4))
    ema = EMAConfig(gamma=0).build({"w": weight})
    for step in range(1, 8):
        weight.data.fill_(float(step))
        ema.update()
    assert torch.allclose(ema.averages["w"], torch.full((4,), 4.0))


def test_memory_grows_with_the_run_up_to_its_limit() -> None:
    config = EMAConfig(max_decay=0.99)
    decays = [config.decay(step) for step in (1, 2, 10, 100, 10_000)]
    assert decays == sorted(decays)
    assert decays[0] == 0
    assert decays[-1] == 0.99
    assert config.decay(100) == pytest.approx((1 - 1 / 100) ** 7.94)


def test_averages_weigh_the_last_tenth_of_the_run_most() -> None:
    weight = nn.Parameter(torch.zeros(()))
    ema = EMAConfig().build({"w": weight})
    for step in range(1000):
        weight.data.fill_(float(step >= 800))  # a change that lies 200 of 1,000 steps back
        ema.update()
    assert ema.averages["w"].item() == pytest.approx(1 - (800 / 1000) ** 7.94, abs=0.01)


def test_swapped_gives_the_very_bits_back_even_after_an_error() -> None:
    weight = nn.Parameter(torch.randn(7, 3))
    ema = EMAConfig().build({"w": weight})
    ema.update()
    weight.data.add_(1.0)
    before, identity = weight.detach().clone(), weight.data_ptr()
    seen: list[bool] = []

    def look_and_fail() -> None:
        with ema.swapped():
            seen.append(torch.equal(weight, ema.averages["w"]))
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        look_and_fail()
    assert seen == [True]
    assert torch.equal(weight, before)
    assert weight.data_ptr() == identity


def test_averages_of_half_precision_weights_are_float32() -> None:
    weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    ema = EMAConfig(gamma=0).build({"w": weight})
    for value in (1.0, 1.0078125):  # neighbours in bfloat16: their mean needs float32
        weight.data.fill_(value)
        ema.update()
    assert torch.equal(ema.averages["w"], torch.full((3,), 1.00390625))


@pytest.mark.parametrize(("name", "value"), [("gamma", -1.0), ("max_decay", 1.0)])
def test_refuses_impossible_settings(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        EMAConfig(**{name: value})
