"""The interface of every world model: a memory that is started, fed and forked.

State is consumed: ``observe`` may update it in place under inference, so that a frame costs constant memory and time,
and returns a new one under autograd. Who wants two futures calls ``fork`` first.
"""

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.diffusion.schedules import NoiseSchedule
from hallucade.shapes import Action, Actions, Latent, Latents
from hallucade.tokenizers.base import Tokenizer

State = TypeVar("State")
Network = TypeVar("Network", bound="WorldModel[Any]")


@dataclass(frozen=True)
class LatentClip:
    """t latents joined by actions: the encoded twin of `hallucade.data.clips.Clip`."""

    latents: Latents
    actions: Actions  # b (t - 1) * r a: r lead from each latent to the next
    seeds: tuple[int, ...] | None = None  # one a row, of noise that a memory holds; None: each row's number
    pace: float = 1.0  # frames of the game that is learned from one of these to the next

    @classmethod
    def encoded(
        cls, latents: Latents, actions: Actions, stride: int, seeds: tuple[int, ...] | None = None
    ) -> "LatentClip":
        """Join latents of `stride` frames by the actions of their frames, but for those within the first latent."""
        within = actions.shape[1] - (latents.shape[1] - 1) * stride
        if within not in (0, stride - 1):
            raise ValueError(
                f"{actions.shape[1]} actions for {latents.shape[1]} latents of {stride} frame(s); give one between "
                "every two frames"
            )
        return cls(latents, actions[:, within:], seeds)

    @property
    def stride(self) -> int:
        """Actions between two latents, r; 0 for a single latent."""
        return self.actions.shape[1] // max(self.latents.shape[1] - 1, 1)

    def leading_to(self, first: int, last: int) -> Actions:
        """Return the actions that lead to the latents from number `first` on, before number `last`."""
        return self.actions[:, (first - 1) * self.stride : (last - 1) * self.stride]


class WorldModel(nn.Module, ABC, Generic[State]):
    """Predicts the next block of latents from a memory and an action."""

    block: int = 1  # latents in a block, k
    context: int = 1  # latents that a prompt should hold for the model to be at its best
    lead: int = 0  # latents at the start of a training clip that are context only
    latent_shape: tuple[int, ...]

    @property
    def grain(self) -> int:
        """Latents by which a prompt may be longer or shorter: those of a block."""
        return self.block

    @abstractmethod
    def initial(self, latent: Latent) -> State:
        """Start a memory from the first latent block of an episode."""

    @abstractmethod
    def observe(self, state: State, action: Action, latent: Latent) -> State:
        """Consume `state` and return the memory after `action` led to `latent`."""

    def prefill(self, clip: LatentClip) -> State:
        """Start a memory from a whole clip; models with a parallel path override this loop.

        Blocks are counted from the clip's end; latents at its start that fill no block are left out.
        """
        k, latents = self.block, clip.latents.shape[1]
        first = latents % k
        state = self.initial(clip.latents[:, first : first + k])
        for i in range(first + k, latents, k):
            state = self.observe(state, clip.leading_to(i, i + k), clip.latents[:, i : i + k])
        return state

    @abstractmethod
    def fork(self, state: State) -> State:
        """Return an independent copy of `state`, for planning, branching and rewind."""

    def at(self, latent_shape: tuple[int, ...], pace: float = 1.0) -> "WorldModel[State]":
        """Return the same network, weights shared, for latents of another height and width.

        Args:
            latent_shape: of one latent; its channels are those of this one.
            pace: frames of this network's game from one frame to the next, for networks that count frames.

        Raises:
            ValueError: this network knows one size only, or this one is none that it could have.
        """
        if latent_shape == self.latent_shape:
            return self
        raise ValueError(other_size(type(self).__name__, self.latent_shape, latent_shape))

    def start_from(self, other: "WorldModel[Any]") -> dict[str, Tensor]:
        """Return the tensors of another network that this one can begin with, by their names here.

        Those that have no namesake of their shape are left out; tables of positions are interpolated to this network's.
        """
        own, theirs = self.state_dict(), other.state_dict()
        return {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}


class DiffusionModel(WorldModel[State]):
    """A world model that denoises the next block.

    `lead` latents at the start of a training clip are context only: ``forward`` predicts the rest. `given` ones are
    what the model is conditioned on: ``forward`` reads them clean, and objectives do not grade them.
    """

    schedule: NoiseSchedule
    latent_shape: tuple[int, ...]
    given: int = 0
    causal: bool = True  # predicts each block from those before it; False: from all of a clip at once, without a memory
    context_level: float = 0.0  # noise level that the model is told for latents that are given

    def told(self, context_level: float) -> "DiffusionModel[State]":
        """Return the same network, weights shared, that is told another noise level of what it is given."""
        twin = copy.copy(self)
        twin.context_level = context_level
        return twin

    @abstractmethod
    def forward(
        self,
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        """Predict x0 of the last p = t - lead latents of a clip, in parallel.

        Args:
            noisy: the clip, every latent at its own noise level.
            levels: 0 is data, 1 is noise.
            actions: n = (t - 1) * r encoded actions; actions[:, i] leads to frame i + 1.
            dropped: actions to replace by the learned "no action" of classifier-free guidance.
        """

    @abstractmethod
    def denoise(
        self,
        state: State,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        """Predict x0 of the next block; `action` None is the learned "no action". Never changes `state`."""

    def teacher_forced(
        self,
        clip: LatentClip,
        noisy: Float[Tensor, "b p *latent"],
        levels: Float[Tensor, "b p"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        """Predict x0 of a clip's last p latents, each block after the clip's own clean latents before it.

        This is what play asks of the model, for all blocks of a recorded clip; models with a parallel path override
        this loop.

        Args:
            clip: what really came, whole.
            noisy: whole blocks at its end, made noisy.
            levels: of these; the latents of a block have one level.
            dropped: actions to replace by "no action" where they lead to a noisy latent; those of a block together.

        Raises:
            ValueError: `noisy` holds no whole blocks, or leaves too few clean latents before it.
        """
        k, first, total = self.block, first_forced(self, clip, noisy), clip.latents.shape[1]
        state = self.prefill(LatentClip(clip.latents[:, :first], clip.leading_to(1, first)))
        predicted: list[Tensor] = []
        for i in range(first, total, k):
            action, at = clip.leading_to(i, i + k), slice(i - first, i - first + k)
            x0 = self.denoise(state, action, noisy[:, at], levels[:, i - first])
            if dropped is not None:
                unheard = dropped[:, dropped.shape[1] - (total - i) * clip.stride]
                free = self.denoise(state, None, noisy[:, at], levels[:, i - first])
                x0 = torch.where(unheard.reshape(-1, *(1,) * (x0.ndim - 1)), free, x0)
            predicted.append(x0)
            state = self.observe(state, action, clip.latents[:, i : i + k])
        return torch.cat(predicted, 1)

    def restore(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
        seeds: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        """Predict x0 as ``forward`` does, of a clip in which latents at level 0 are given, as a memory's are.

        `seeds` are those of `LatentClip`, for views whose memory is noised.
        """
        return self(latents, torch.where(levels == 0, self.context_level, levels), actions, dropped)

    def velocity(
        self,
        state: State,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        """Return dx/ds of the probability-flow path at noise level `level`. Never changes `state`."""
        x0 = self.denoise(state, action, noisy, level)
        return self.schedule.velocity(x0, noisy, level)


def first_forced(model: WorldModel[Any], clip: LatentClip, noisy: Tensor) -> int:
    """Return the number of the first latent that is predicted after a clip's own ones before it.

    Raises:
        ValueError: as it says.
    """
    graded, first = noisy.shape[1], clip.latents.shape[1] - noisy.shape[1]
    least = max(model.lead, model.grain)
    if graded % model.block or graded < 1 or first < least:
        raise ValueError(
            f"{graded} noisy latents after {first} clean ones; the model draws blocks of {model.block} after {least} "
            "or more: choose longer clips, or fewer noisy latents"
        )
    return first


def forced_latents(model: WorldModel[Any], latents: int) -> int:
    """Return how many latents at the end of a clip of so many can be predicted after its own ones before them.

    Raises:
        ValueError: none, with the length that clips need.
    """
    least = max(model.lead, model.grain)
    if latents < least + model.block:
        raise ValueError(
            f"clips of {latents} latents; after {least} that are given there is no block of {model.block} to predict: "
            f"use clips of {least + model.block} or more"
        )
    return (latents - least) // model.block * model.block


class TokenModel(WorldModel[State]):
    """A world model that says how likely each code is in each cell of the next block, some cells of which are known.

    A cell that is not known holds the number after the last code, ``mask``.
    """

    codes: int
    latent_shape: tuple[int, ...]  # rows, columns

    @property
    def mask(self) -> int:
        """What stands in cells that are not known."""
        return self.codes

    @abstractmethod
    def logits(
        self, state: State, action: Action | None, tokens: Int64[Tensor, "b k h w"]
    ) -> Float[Tensor, "b k h w codes"]:
        """Return the logits of every cell of the next block; `action` None is "no action". Never changes `state`."""

    @abstractmethod
    def forced_logits(
        self,
        clip: LatentClip,
        tokens: Int64[Tensor, "b p h w"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p h w codes"]:
        """Return the logits of a clip's last p latents, each block after the clip's own latents before it.

        Args:
            clip: what really came, whole, or what a memory should hold in its place.
            tokens: whole blocks at its end, with cells that are not known.
            dropped: actions to replace by "no action" where they lead to one of these.

        Raises:
            ValueError: `tokens` holds no whole blocks, or leaves too few latents before it.
        """


class WorldModelConfig(Config):
    """Base of model configs."""

    @property
    def resizes(self) -> bool:
        """Whether one network can see pictures of several sizes, see ``WorldModel.at``."""
        return False

    def tokens(self, latent_shape: tuple[int, ...]) -> int:
        """Return how many tokens the network makes of a latent of this shape, by default one of each cell."""
        return math.prod(latent_shape[-2:])

    def build(self, actions: ActionSpace, latent_shape: tuple[int, ...]) -> WorldModel[Any]:
        """Build the model for encoded actions and float latents of this shape, with fresh weights."""
        raise NotImplementedError

    def build_on(self, tokenizer: Tokenizer, actions: ActionSpace, frame_size: tuple[int, int]) -> WorldModel[Any]:
        """Build the model for what a tokenizer makes of frames of this height and width.

        Raises:
            ValueError: it makes codes, and this model dreams float channels, or the other way round.
        """
        if tokenizer.codes is not None:
            name = type(self).__name__.removesuffix("Config")
            raise ValueError(
                f"a {name} dreams float channels, and the tokenizer makes one of {tokenizer.codes:,} codes a cell; use "
                "a token model, or a tokenizer such as tokenizer_kl"
            )
        return self.build(actions, tokenizer.latent_shape(*frame_size))

    def check_clips(self, frames: int) -> None:
        """Refuse training whose longest clips, of so many frames, leave out what play will need.

        Raises:
            ValueError: names the length and the remedy.
        """


def twin(model: Network, latent_shape: tuple[int, ...]) -> Network:
    """Return a shallow copy of a network for latents of this shape: of one that takes the size from what it reads.

    Raises:
        ValueError: it has other channels.
    """
    if latent_shape[:-2] != model.latent_shape[:-2]:
        raise ValueError(other_size(type(model).__name__, model.latent_shape, latent_shape))
    other = copy.copy(model)
    other.latent_shape = latent_shape
    other._compiled_call_impl = None  # it would call the first one  # pyright: ignore[reportPrivateUsage]
    return other


def other_size(model: str, own: tuple[int, ...], asked: tuple[int, ...]) -> str:
    """Say that a network cannot take latents of another shape."""
    have, want = ("x".join(map(str, shape)) for shape in (own, asked))
    return f"a {model} for latents of {have} cannot see {want}; use stages of one size, or a model that resizes"


def codes_of(tokenizer: Tokenizer, frame_size: tuple[int, int], model: str) -> tuple[int, tuple[int, ...]]:
    """Return how many codes a tokenizer has, and rows and columns of a frame's, for the model of that name.

    Raises:
        ValueError: it makes float channels, or several codes a cell.
    """
    shape = tokenizer.latent_shape(*frame_size)
    if tokenizer.codes is None:
        floats = "x".join(map(str, shape))
        raise ValueError(
            f"a {model} dreams codes, and the tokenizer makes floats of {floats}; train one of codes "
            "(hallucade train tokenizer_fsq) and name it: --tokenizer RUN, or --latents CACHE"
        )
    if len(shape) != 2:
        raise ValueError(f"latents are {'x'.join(map(str, shape))}; a {model} dreams one code a cell")
    return tokenizer.codes, shape
