"""What a training changes, and how that becomes the tensors of a checkpoint and back."""

import contextlib
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from torch import Tensor

from hallucade.methods.base import Method, rank_states
from hallucade.training.checkpoint import Checkpoint, load_tensors, tensors_below
from hallucade.training.ema import EMA, EMAConfig
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.sharding import is_sharded, let_go, made_whole


class Learner:
    """A method, the optimizer of each role, and averages of trained weights.

    Args:
        method: what is trained.
        optimizer: of roles that `others` does not name.
        ema: of the roles that the method averages; None for no averages.
        others: optimizers of roles, by name.

    Raises:
        ValueError: `others` names a role that the method does not have, or Muon is to train parts of matrices.
    """

    def __init__(
        self,
        method: Method,
        optimizer: OptimizerConfig,
        ema: EMAConfig | None,
        others: Mapping[str, OptimizerConfig] | None = None,
    ) -> None:
        self.method = method
        roles, others = method.roles(), others or {}
        if unknown := set(others) - set(roles):
            raise ValueError(f"an optimizer is given for role {min(unknown)!r}; this method trains {', '.join(roles)}")
        self.optimizers = {name: others.get(name, optimizer).build(role) for name, role in roles.items()}
        names = {id(p): name for name, p in method.named_parameters()}
        trained = {name: list(each.parameters.values()) for name, each in self.optimizers.items()}
        assert names.keys() >= set(map(id, chain(*trained.values()))), "a role's parameters are not the method's"
        averaged = roles if method.averaged is None else method.averaged
        self.emas: dict[str, EMA] = {}
        if ema is not None:
            self.emas = {role: ema.build({names[id(p)]: p for p in trained[role]}) for role in averaged}
        self.sharded = is_sharded(method.parameters())
        self._in_force = False  # whether averages stand in place of trained weights
        if self.sharded and any(optimizer.uses_muon for optimizer in self.optimizers.values()):
            raise ValueError(
                "Muon needs whole matrices, and sharded ranks have parts; train with AdamW, by "
                "--trainer.optimizer.no-muon"
            )

    def begin_anew(self, role: str) -> None:
        """Forget a role's momenta, and average its weights from their present values on."""
        self.optimizers[role].reset()
        if role in self.emas:
            self.emas[role].restart()

    def average(self, roles: Iterable[str]) -> None:
        """Move the averages of roles that were just updated."""
        for role in roles:
            if role in self.emas:
                self.emas[role].update()

    @contextlib.contextmanager
    def averages_in_force(self) -> Generator[None]:
        """Put averages in place of trained weights for the duration of the block."""
        if self._in_force:
            yield
            return
        with contextlib.ExitStack() as stack:
            for ema in self.emas.values():
                stack.enter_context(ema.swapped())
            self._in_force = True
            stack.callback(setattr, self, "_in_force", False)
            yield

    @contextlib.contextmanager
    def whole_networks(self) -> Generator[None]:
        """Let one rank use averaged networks alone for the duration of the block, where they are spread over ranks."""
        if not self.sharded:
            yield
            return
        roles = self.method.roles()
        let_go(self.method)
        with self.averages_in_force(), made_whole([roles[role] for role in self.emas or roles]):
            yield

    def weights(self) -> dict[str, Tensor]:
        """Return the method's tensors, averages in place of trained weights where there are averages."""
        own = tuple(rank_states(self.method))
        shared = {name: value for name, value in self.method.state_dict().items() if not name.startswith(own)}
        return {**shared, **self._averages()}

    def rank_state(self) -> dict[str, Tensor]:
        """Return the state of the method that only this rank has."""
        states = rank_states(self.method).items()
        return {prefix + name: value for prefix, state in states for name, value in state.tensors().items()}

    def training(self, ranks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return what only a resumed training needs: ``raw/name``, ``optimizer/role/name/slot``, ``rank/number/name``.

        `ranks` holds the ``rank_state`` of each.
        """
        state = self.method.state_dict()
        raw = {f"raw/{name}": state[name] for name in self._averages()}
        momenta = {
            f"optimizer/{role}/{key}": value
            for role, optimizer in self.optimizers.items()
            for key, value in optimizer.state().items()
        }
        own = {f"rank/{number}/{name}": value for number, rank in enumerate(ranks) for name, value in rank.items()}
        return {**raw, **momenta, **own}

    def ema_updates(self) -> dict[str, int]:
        """Return how often the averages of each role moved."""
        return {role: ema.updates for role, ema in self.emas.items()}

    def load(self, checkpoint: Checkpoint, where: Path, rank: int = 0, world: int = 1) -> None:
        """Take over what a checkpoint holds for this rank; averages start from the weights if it has none.

        Raises:
            CheckpointError: its tensors do not fit.
        """
        raw = tensors_below("raw/", checkpoint.training)
        own = _rank_state(checkpoint, where, rank, world)
        load_tensors(self.method, checkpoint.weights | raw | own, where)
        for role, optimizer in self.optimizers.items():
            optimizer.load_state(tensors_below(f"optimizer/{role}/", checkpoint.training))
        for role, ema in self.emas.items():
            ema.load(checkpoint.weights, checkpoint.state["ema_updates"][role])

    def _averages(self) -> dict[str, Tensor]:
        """Return the averages under every name that the state_dict has for them; tied weights have two."""
        averages = {id(p): ema.averages[name] for ema in self.emas.values() for name, p in ema.parameters.items()}
        state = self.method.state_dict(keep_vars=True)
        return {name: averages[id(value)] for name, value in state.items() if id(value) in averages}


def _rank_state(checkpoint: Checkpoint, where: Path, rank: int, world: int) -> dict[str, Tensor]:
    """Return what a rank had begun, or nothing where there were not as many ranks as now."""
    saved = tensors_below("rank/", checkpoint.training)
    ranks = len({name.split("/")[0] for name in saved})
    if ranks not in (0, world):
        warnings.warn(
            f"{where} holds sequences in progress of {ranks} rank(s) and there are {world}: all begin new ones",
            stacklevel=2,
        )
        return {}
    return tensors_below(f"{rank}/", saved)
