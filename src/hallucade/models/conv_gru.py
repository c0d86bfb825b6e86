"""A recurrent model of codes: a few layers of convolutional memory, steered by the action before each of them.

A game costs the same memory and time however long it lasts, because nothing of it is kept but that memory. The frame
that is on screen and the action that is held enter together, and what the memory then holds is what it expects of the
next frame. One step serves training and play.

Source: project-ochre's ConvGRU with FiLM, version 4.5.2; see also Chiappa et al. 2017, arXiv:1704.02254. That cells of
the next frame that are known reach the head is ours: with them it can be drawn in several steps, as by MaskGIT.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.models.base import LatentClip, TokenModel, WorldModel, WorldModelConfig, codes_of, first_forced, twin
from hallucade.nn.action_window import grouped
from hallucade.nn.cell_head import CellHead
from hallucade.nn.conv_gru import ConvGRUCell
from hallucade.nn.film import FiLM, film
from hallucade.shapes import Action, Actions, Latent
from hallucade.tokenizers.base import Tokenizer

Layers = tuple[Float[Tensor, "b c h w"], ...]  # the memory of each layer, the lowest first
Steering = tuple[Float[Tensor, "b double"], ...]  # scales and shifts of what enters each layer


@dataclass(frozen=True, kw_only=True)
class TokenConvGRUConfig(WorldModelConfig):
    """Sizes of the network; how many codes there are is the tokenizer's.

    Raises:
        ValueError: a size that makes no network, or an even kernel.
    """

    width: int = 128  # channels that each layer remembers
    layers: int = 3
    kernel: int = 3  # cells a side; what a layer remembers moves by no more than half of that in a frame
    code_width: int = 64  # numbers that a code is embedded in
    fill: int = 2  # convolutions over cells that are known already; 0 answers every cell by itself, as project-ochre
    context: int = 8  # latents that a prompt should hold: the memory begins empty
    stride: int = 1  # frames, and so actions, a latent: the tokenizer's

    def __post_init__(self) -> None:
        for name in ("width", "layers", "code_width", "context", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")
        if self.fill < 0:
            raise ValueError(f"fill is {self.fill}; use 0 to answer every cell by itself, or more")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel} cells; use an odd number, whose middle is the cell itself")

    @property
    def resizes(self) -> bool:
        return True

    def build_on(self, tokenizer: Tokenizer, actions: ActionSpace, frame_size: tuple[int, int]) -> WorldModel[Any]:
        """Build the model for the codes of a tokenizer.

        Raises:
            ValueError: it makes float channels, or several codes a cell.
        """
        codes, shape = codes_of(tokenizer, frame_size, "TokenConvGRU")
        return TokenConvGRU(self, codes, actions.features, shape)


@dataclass
class RecurrentMemory:
    """What a game has shown before the frame that is on screen, and that frame."""

    layers: Layers
    shown: Int64[Tensor, "b 1 h w"]  # enters with the next action
    ahead: tuple[Action | None, bool, Layers] | None = None  # after that action, once it was asked for; with gradients?


class TokenConvGRU(TokenModel[RecurrentMemory]):
    """Says how likely each code is in the cells of the next frame, after all frames and actions before."""

    adamw = ("stem", "films", "null_action")  # read by the optimizer: not for Muon

    def __init__(
        self, config: TokenConvGRUConfig, codes: int, action_features: int, latent_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.config, self.codes, self.latent_shape = config, codes, latent_shape
        self.context = config.context
        self.embed_code = nn.Embedding(codes + 1, config.code_width)  # the last one is of cells that are not known
        self.stem = nn.Conv2d(config.code_width, config.width, 1)
        features = config.stride * action_features
        self.films = nn.ModuleList([FiLM(features, config.width) for _ in range(config.layers)])
        self.null_action = nn.Parameter(torch.zeros(features))
        self.cells = nn.ModuleList(
            [ConvGRUCell(config.width, config.width, config.kernel) for _ in range(config.layers)]
        )
        self.head = CellHead(config.width, config.code_width, codes, config.fill)

    def step(self, memory: Layers, entering: Float[Tensor, "b c h w"], steering: Steering) -> Layers:
        """Return the memory after a frame as the stem shows it, and what the action held meanwhile makes of it."""
        after: list[Tensor] = []
        for cell, before, parts in zip(self.cells, memory, steering, strict=True):
            entering = cell(film(entering, parts), before)
            after.append(entering)
        return tuple(after)

    def logits(
        self, state: RecurrentMemory, action: Action | None, tokens: Int64[Tensor, "b k h w"]
    ) -> Float[Tensor, "b k h w codes"]:
        return self._answer(self._after(state, action)[-1].unsqueeze(1), tokens)

    def forced_logits(
        self,
        clip: LatentClip,
        tokens: Int64[Tensor, "b p h w"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p h w codes"]:
        first, entering, steering = first_forced(self, clip, tokens), self._entering(clip), self._steering(clip.actions)
        memory, expected = self._empty(clip.latents), list[Tensor]()
        for i in range(clip.latents.shape[1] - 1):
            after = self.step(memory, entering[:, i], _at(steering, i))
            if i + 1 >= first:
                expected.append(after[-1])
                if dropped is not None:  # it changes what is asked here, and not what will be remembered
                    unheard = dropped[:, i * self.config.stride, None, None, None]
                    free = self.step(memory, entering[:, i], self._unsteered(len(tokens)))
                    expected[-1] = torch.where(unheard, free[-1], after[-1])
            memory = after
        return self._answer(torch.stack(expected, 1), tokens)

    def initial(self, latent: Latent) -> RecurrentMemory:
        return RecurrentMemory(self._empty(latent), latent)

    def prefill(self, clip: LatentClip) -> RecurrentMemory:
        """Start a memory from a whole clip, whose codes and actions are embedded at once."""
        memory, entering, steering = self._empty(clip.latents), self._entering(clip), self._steering(clip.actions)
        for i in range(clip.latents.shape[1] - 1):
            memory = self.step(memory, entering[:, i], _at(steering, i))
        return RecurrentMemory(memory, clip.latents[:, -1:].clone())

    def observe(self, state: RecurrentMemory, action: Action | None, latent: Latent) -> RecurrentMemory:
        return RecurrentMemory(self._after(state, action), latent)

    def at(self, latent_shape: tuple[int, ...], pace: float = 1.0) -> "TokenConvGRU":
        """Return the same network for frames of another size; it counts no frames."""
        return self if latent_shape == self.latent_shape else twin(self, latent_shape)

    def fork(self, state: RecurrentMemory) -> RecurrentMemory:
        return RecurrentMemory(tuple(layer.clone() for layer in state.layers), state.shown.clone())

    def _after(self, state: RecurrentMemory, action: Action | None) -> Layers:
        """Return the memory after the frame on screen under `action`; who asks again for the same pays once.

        A sampler asks once a step of a draw, and then the frame that it drew is observed.
        """
        if state.ahead is not None:
            asked, with_gradients, layers = state.ahead
            if asked is action and with_gradients >= torch.is_grad_enabled():
                return layers if torch.is_grad_enabled() else tuple(layer.detach() for layer in layers)
        steering = self._unsteered(len(state.shown)) if action is None else _at(self._steering(action), 0)
        layers = self.step(state.layers, self._shown(state.shown)[:, 0], steering)
        state.ahead = (action, torch.is_grad_enabled(), layers)
        return layers

    def _empty(self, latents: Int64[Tensor, "b t h w"]) -> Layers:
        shape = (len(latents), self.config.width, *self.latent_shape)
        return tuple(self.null_action.new_zeros(shape) for _ in range(self.config.layers))

    def _entering(self, clip: LatentClip) -> Float[Tensor, "b n c h w"]:
        """Return the clip's latents but the last, as the lowest layer sees them."""
        return self._shown(clip.latents[:, :-1])

    def _shown(self, tokens: Int64[Tensor, "b t h w"]) -> Float[Tensor, "b t c h w"]:
        seen = self.stem(self._embedded(tokens.flatten(0, 1)))
        return seen.unflatten(0, tokens.shape[:2])

    def _embedded(self, tokens: Int64[Tensor, "n h w"]) -> Float[Tensor, "n e h w"]:
        return self.embed_code(tokens).movedim(-1, 1)

    def _steering(self, actions: Actions) -> tuple[Float[Tensor, "b n double"], ...]:
        """Return the scales and shifts of every layer under the actions of each latent."""
        held = grouped(actions, self.config.stride)
        return tuple(each(held) for each in self.films)

    def _unsteered(self, batch: int) -> Steering:
        """Return the scales and shifts of every layer under no action."""
        return tuple(each(self.null_action.expand(batch, -1)) for each in self.films)

    def _answer(
        self, expected: Float[Tensor, "b p c h w"], tokens: Int64[Tensor, "b p h w"]
    ) -> Float[Tensor, "b p h w codes"]:
        answers = self.head(expected.flatten(0, 1), self._embedded(tokens.flatten(0, 1)))
        return answers.unflatten(0, tokens.shape[:2])


def _at(steering: tuple[Float[Tensor, "b n double"], ...], number: int) -> Steering:
    return tuple(parts[:, number] for parts in steering)
