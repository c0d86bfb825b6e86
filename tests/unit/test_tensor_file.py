"""Tensors as files: what the safetensors library reads is what was written, and one tensor at a time is held."""

from collections.abc import Iterator

import pytest
import safetensors.torch
import torch
from torch import Tensor

from hallucade.training.tensor_file import DTYPES, file_parts

KINDS = [torch.tensor([[-2.5, 0.0, 7.25]]).to(dtype) for dtype in DTYPES]


def read(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return safetensors.torch.load(b"".join(file_parts(tensors)))


@pytest.mark.parametrize("tensor", KINDS, ids=lambda tensor: str(tensor.dtype))
def test_every_kind_of_number_comes_back(tensor: Tensor) -> None:
    found = read({"a": tensor, "empty": tensor[:, :0], "scalar": tensor[0, 0]})
    assert torch.equal(found["a"], tensor)
    assert found["empty"].shape == (1, 0)
    assert found["scalar"].shape == ()
    assert found["scalar"] == tensor[0, 0]


def test_tensors_that_share_memory_or_lie_across_it_come_back() -> None:
    weight = torch.randn(3, 4, 5, 7)
    tensors = {"tied": weight, "also": weight, "part": weight[1:], "last": weight.to(memory_format=torch.channels_last)}
    found = read(tensors)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_names_of_any_script_come_back() -> None:
    assert read({"größe.权重": torch.arange(5)})["größe.权重"].tolist() == list(range(5))


def test_tensors_are_fetched_one_after_the_other() -> None:
    """On an accelerator each fetch is a copy on the host: no second one while the first is written."""
    fetched: list[str] = []

    class Remote(Tensor):
        def cpu(self) -> Tensor:
            fetched.append("copy")
            return self.as_subclass(Tensor)

    remote = {name: torch.randn(3).as_subclass(Remote) for name in "abc"}
    parts: Iterator[bytes | memoryview] = iter(file_parts(remote))
    counts = [len(fetched) for _ in parts]
    assert counts == [0, 0, 1, 2, 3]
