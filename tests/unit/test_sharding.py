"""Tensors that may be spread over ranks, on the one rank of a test; two ranks train in the integration tests."""

from collections.abc import Iterator

import pytest
import torch
from tiny_training import TinyMethod
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from hallucade.training.learner import Learner
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.sharding import fill, gathered, is_sharded, own_part, whole


@pytest.fixture
def spread() -> Iterator[DTensor]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield distribute_tensor(torch.arange(15.0).reshape(3, 5), init_device_mesh("cpu", (1,)), [Shard(0)])
    torch.distributed.destroy_process_group()


def test_whole_tensors_fill_spread_ones_and_come_back(spread: DTensor) -> None:
    new = torch.randn(3, 5)
    fill(spread, new)
    assert torch.equal(whole(spread), new)
    assert torch.equal(own_part(spread), new)
    own_part(spread).zero_()
    assert not whole(spread).any()  # a part is the same memory


def test_what_is_gathered_is_kept_where_it_is_written(spread: DTensor) -> None:
    plain = torch.ones(2)
    tensors = {"spread": spread, "plain": plain}
    assert is_sharded(tensors.values())
    assert not is_sharded([plain])
    assert gathered(tensors, keep=False) == {}
    found = gathered(tensors, keep=True)
    assert torch.equal(found["spread"], torch.arange(15.0).reshape(3, 5))
    assert not is_sharded(found.values())


def test_muon_is_refused_where_matrices_are_in_parts(spread: DTensor) -> None:
    method = TinyMethod()
    method.model.hidden.weight = nn.Parameter(spread)
    with pytest.raises(ValueError, match=r"Muon needs whole matrices, .* train with AdamW, .*no-muon"):
        Learner(method, OptimizerConfig(), None)
    assert Learner(method, OptimizerConfig(muon=False), None).sharded
