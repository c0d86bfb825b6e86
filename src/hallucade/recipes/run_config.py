"""What a run is: every choice of one experiment, as one typed value that travels as JSON."""

from dataclasses import dataclass, field, replace

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.balance import Balance
from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.data.focus import Focus
from hallucade.data.framing import Framing
from hallucade.data.mixture import Mixture
from hallucade.data.recorder import RecordingConfig
from hallucade.data.store import EpisodeStore
from hallucade.data.windows import DamagePolicy
from hallucade.evaluation.validation import ValidationConfig
from hallucade.methods.base import MethodConfig
from hallucade.models.base import WorldModelConfig
from hallucade.nn.lora import LoRAConfig
from hallucade.objectives.base import ObjectiveConfig
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.tokenizers.base import TokenizerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.trainer_config import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class Source(Config):
    """The recorded play that a run was trained on, as far as playing needs to know it."""

    actions: ActionSpace
    frame_size: tuple[int, int]  # height, width in pixels
    fps: float
    game: str | None
    fingerprint: str

    @classmethod
    def of(cls, store: EpisodeStore | Mixture) -> "Source":
        """Describe a store or a mixture."""
        return cls(
            actions=store.actions,
            frame_size=store.frame_size,
            fps=store.fps,
            game=store.game,
            fingerprint=store.fingerprint,
        )

    def framed(self, framing: Framing) -> "Source":
        """Describe the same play as it is shown; a simulator has no other rate than that of its recordings."""
        n = framing.stride
        return replace(
            self,
            actions=self.actions if n == 1 else self.actions.over(n),
            frame_size=framing.size or self.frame_size,
            fps=self.fps / n,
            game=self.game if n == 1 else None,
        )


@dataclass(frozen=True, kw_only=True)
class Origin(Config):
    """The run that a network of a method comes from."""

    run: str  # its folder, when training started
    model: WorldModelConfig
    weights: str  # sixteen hex digits of their sha256


@dataclass(frozen=True, kw_only=True)
class Experiment(Config):
    """One training on recorded play: which play, in what clips, for how long.

    Raises:
        ValueError: the stages' steps do not add up to the trainer's.
    """

    recipe: str  # the name that the run goes by
    recording: RecordingConfig | EnvironmentRecordingConfig | None = None  # the play to record when no store is given
    importing: str | None = None  # or the command that makes its store from recordings of others
    stages: tuple[Stage, ...]
    focus: Focus | None = None  # what training sees more of than its share of the play
    balance: Balance = field(default_factory=lambda: Balance(share=0.0))  # how much it sees of each kind of action
    damage: DamagePolicy = "raise"  # what to do about windows that touch damaged bytes
    trainer: TrainerConfig
    sample_every: int = 500  # steps between samples
    source: Source | None = None  # filled in when training starts

    def __post_init__(self) -> None:
        steps = sum(stage.steps for stage in self.stages)
        if steps != self.trainer.steps:
            raise ValueError(
                f"the stages of recipe {self.recipe!r} have {steps} steps and its trainer {self.trainer.steps}; "
                f"make them equal, or scale both (--steps {self.trainer.steps})"
            )
        self.check_stages()

    def check_stages(self) -> None:
        """Refuse stages that this kind of training cannot follow, by default those that show play otherwise.

        Raises:
            ValueError: names the option and the stage.
        """
        for number, stage in enumerate(self.stages):
            for name in ("size", "fps", "tokens", "init_from"):
                if getattr(stage, name) not in (None, 0):
                    raise ValueError(
                        f"stages.{number}.{name} is {getattr(stage, name)}, which recipes of world models read and "
                        f"{self.recipe!r} does not; leave it out"
                    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Experiment):
    """The training of a world model, and how to sample from the result.

    Raises:
        ValueError: the stages' clips are too short for model, objective or method, or it is not one of objective and
            method that says how to train.
    """

    tokenizer: TokenizerConfig = field(default_factory=PixelTokenizerConfig)
    model: WorldModelConfig
    objective: ObjectiveConfig | None = None  # what the model learns from recorded clips alone
    method: MethodConfig | None = None  # or how other networks teach it
    sampler: SamplerConfig = field(default_factory=FlowSamplerConfig)
    prompt_frames: int = 8  # real frames that a dream starts from
    validation: ValidationConfig = field(default_factory=ValidationConfig)  # judges dreams while it trains
    networks: dict[str, Origin] = field(default_factory=dict[str, Origin])  # those of the method, filled in likewise
    encoder: str | None = None  # fingerprint of the pre-trained encoder that the model started from, filled in too
    lora: LoRAConfig = field(default_factory=LoRAConfig)  # train low-rank additions to given weights, and not these

    def __post_init__(self) -> None:
        if (self.objective is None) == (self.method is None):
            given = "neither" if self.objective is None else "both"
            raise ValueError(f"recipe {self.recipe!r} has {given} of objective and method; a run is trained by one")
        super().__post_init__()
        if self.stages:
            self.model.check_clips(max(stage.frames for stage in self.stages))
            if self.objective is not None:
                self.objective.check_clips(max(stage.frames for stage in self.stages))
            if self.method is not None:
                self.method.check_clips(min(stage.frames for stage in self.stages))

    def check_stages(self) -> None:
        """Refuse stages of several sizes or rates where a network keeps one, and starts that have no meaning."""
        several = len({(stage.size, stage.fps) for stage in self.stages}) > 1
        kind = type(self.model).__name__.removesuffix("Config")
        if several and not self.model.resizes:
            raise ValueError(
                f"the stages of recipe {self.recipe!r} show pictures of several sizes or rates, and a {kind} such as "
                "this keeps one; use one, or a U-Net, or a transformer with positions 'axial' or 'video'"
            )
        if several and (self.method is not None or self.trainer.sharded):
            who = "networks that teach" if self.method is not None else "sharded networks"
            raise ValueError(
                f"the stages of recipe {self.recipe!r} show pictures of several sizes or rates, and {who} keep one; "
                "train each size in a run of its own"
            )
        for number, stage in enumerate(self.stages):
            if stage.init_from is not None and (self.method is not None or self.lora.rank):
                raise ValueError(
                    f"stages.{number}.init_from is {stage.init_from}, and the method or the low-rank additions of "
                    f"{self.recipe!r} keep the network that they began with; name it with --start"
                )
