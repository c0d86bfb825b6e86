"""What a training changes, and how that becomes the tensors of a checkpoint and back."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hallucade.methods.base import Method
from hallucade.training.checkpoint import Checkpoint, load_tensors
from hallucade.training.ema import EMA, EMAConfig
from hallucade.training.optimizers import OptimizerConfig


class Learner:
    """A method, the optimizer of each role, and the averages of the trained weights."""

    def __init__(self, method: Method, optimizer: OptimizerConfig, ema: EMAConfig | None) -> None:
        self.method = method
        self.optimizers = {name: optimizer.build(role) for name, role in method.roles().items()}
        trained = {id(p) for each in self.optimizers.values() for p in each.parameters.values()}
        named = {name: p for name, p in method.named_parameters() if id(p) in trained}
        assert len(named) == len(trained), "a role holds parameters that the method does not register"
        self.ema: EMA | None = ema.build(named) if ema else None

    def weights(self) -> dict[str, Tensor]:
        """Return the method's tensors, averages in place of trained weights where there are averages."""
        return {**self.method.state_dict(), **self._averages()}

    def training(self) -> dict[str, Tensor]:
        """Return what only a resumed training needs: ``raw/name`` and ``optimizer/role/name/slot``."""
        state = self.method.state_dict()
        raw = {f"raw/{name}": state[name] for name in self._averages()}
        return raw | {
            f"optimizer/{role}/{key}": value
            for role, optimizer in self.optimizers.items()
            for key, value in optimizer.state().items()
        }

    def ema_updates(self) -> int:
        """Return how often the averages moved."""
        return self.ema.updates if self.ema else 0

    def load(self, checkpoint: Checkpoint, where: Path) -> None:
        """Take over what a checkpoint holds; averages start from the weights if it has none.

        Raises:
            CheckpointError: its tensors do not fit.
        """
        load_tensors(self.method, checkpoint.weights | _below("raw/", checkpoint.training), where)
        for role, optimizer in self.optimizers.items():
            optimizer.load_state(_below(f"optimizer/{role}/", checkpoint.training))
        if self.ema is not None:
            self.ema.load(checkpoint.weights, checkpoint.state["ema_updates"])

    def _averages(self) -> dict[str, Tensor]:
        """Return the averages under every name that the state_dict has for them; tied weights have two."""
        if self.ema is None:
            return {}
        averages = {id(p): self.ema.averages[name] for name, p in self.ema.parameters.items()}
        state = self.method.state_dict(keep_vars=True)
        return {name: averages[id(value)] for name, value in state.items() if id(value) in averages}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
