import json
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_training import A, LongCosine, TinyClips, TinyMethod, fingerprint, losses, tiny_trainer
from torch import Tensor

from hallucade.data.clips import Clip
from hallucade.methods.pretrain import Pretrain
from hallucade.models.unet import UNet, UNetConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.tokenizers.pixel import PixelTokenizer
from hallucade.training import trainer as trainer_module
from hallucade.training.checkpoint import CheckpointError, read_checkpoint
from hallucade.training.curriculum import Stage, StagedClips
from hallucade.training.run_folder import RunFolder
from hallucade.training.trainer import Trainer, TrainingDivergedError
from hallucade.training.trainer_config import TrainerConfig


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is slow, and no test here pulls the plug."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Callback:
    """Does something after some steps."""

    def __init__(self, every: int, act: object) -> None:
        self.every, self.act = every, act

    def __call__(self, step: int, trainer: Trainer) -> None:
        self.act(step, trainer)


def at(step: int, act: object) -> Callback:
    return Callback(1, lambda now, trainer: act(trainer) if now == step else None)


class Poisoned(TinyMethod):
    """Loses its mind on some batches, named by their seed."""

    def __init__(self, bad: set[int], kind: str = "loss") -> None:
        super().__init__()
        self.bad, self.kind = {31 * index for index in bad}, kind

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
        for role, loss in super().losses(batch, step):
            if batch.seed not in self.bad:
                yield role, loss
            elif self.kind == "loss":
                yield role, loss + float("nan")
            else:  # a finite loss whose gradient is not
                yield role, loss.detach() + (self.model.head.bias * 0).abs().sqrt().sum()


def test_loss_falls_and_the_result_says_how_it_went(tmp_path: Path) -> None:
    result = tiny_trainer(tmp_path, steps=60, checkpoint_every=60).train()
    first, *_, last = rows(tmp_path)
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 61))
    assert last["loss/model"] < 0.8 * first["loss/model"]
    assert (result.reason, result.step, result.skipped) == ("finished", 60, 0)
    assert result.checkpoint == tmp_path / "checkpoints" / "step_00000060"
    assert result.frames_per_s > 0
    assert result.peak_memory > 10_000_000  # bytes: a process with torch in it


def test_r7_twenty_steps_are_ten_and_ten_more_after_resume(tmp_path: Path) -> None:
    tiny_trainer(tmp_path / "whole", steps=20).train()
    stop = at(10, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    assert tiny_trainer(tmp_path / "halves", steps=20, callbacks=[stop]).train().reason == "interrupted"
    torch.manual_seed(77)  # a new process draws other weights, and must not keep them
    result = tiny_trainer(tmp_path / "halves", TinyMethod(), steps=20).train(resume=True)
    assert (result.reason, result.step) == ("finished", 20)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert fingerprint(tmp_path / "halves") == fingerprint(tmp_path / "whole")


def test_means_over_a_log_interval_survive_a_resume_in_its_middle(tmp_path: Path) -> None:
    tiny_trainer(tmp_path / "whole", steps=12, log_every=4).train()
    stop = at(6, lambda trainer: os.kill(os.getpid(), signal.SIGINT))
    tiny_trainer(tmp_path / "halves", steps=12, log_every=4, callbacks=[stop]).train()
    tiny_trainer(tmp_path / "halves", steps=12, log_every=4).train(resume=True)
    assert [step for step, _ in losses(tmp_path / "whole")] == [4, 8, 12]
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")


def test_r8_a_logged_loss_is_the_mean_over_its_steps(tmp_path: Path) -> None:
    tiny_trainer(tmp_path / "each", steps=6).train()
    tiny_trainer(tmp_path / "mean", steps=6, log_every=3).train()
    each = [float.fromhex(value) for _, value in losses(tmp_path / "each")]
    mean = [float.fromhex(value) for _, value in losses(tmp_path / "mean")]
    assert mean == [pytest.approx(sum(each[:3]) / 3), pytest.approx(sum(each[3:]) / 3)]


def test_resume_after_the_end_changes_nothing_and_more_steps_go_on(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=5).train()
    before = fingerprint(tmp_path)
    assert tiny_trainer(tmp_path, steps=5).train(resume=True).step == 5
    assert fingerprint(tmp_path) == before
    assert tiny_trainer(tmp_path, steps=8).train(resume=True).step == 8
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 9))


def test_a_used_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"is not empty; resume it, or choose another"):
        tiny_trainer(tmp_path).train()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", "{}"),
        ("config.json", '{"type": "AutoencoderKL"}'),
        ("config.json", "[1]"),
        ("config.json", ""),
    ],
)
def test_resuming_in_the_folder_of_something_else_writes_nothing(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match="holds something else than a training; choose another run folder"):
        tiny_trainer(tmp_path).train(resume=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, content)]


def test_a_training_that_ended_before_its_first_step_leaves_a_free_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.claim({"name": "tiny"})
    run.release()
    assert tiny_trainer(tmp_path, steps=2).train().step == 2
    with pytest.raises(ValueError, match="is not empty"):
        tiny_trainer(tmp_path, steps=2).train()


def test_a_run_folder_holds_config_metrics_logs_and_where_it_comes_from(tmp_path: Path) -> None:
    result = tiny_trainer(tmp_path, steps=2, fingerprint="abc").train()
    run = RunFolder(tmp_path)
    assert json.loads(run.config.read_text()) == {"name": "tiny"}
    assert run.metrics.is_file()
    assert any(run.tensorboard.iterdir())
    checkpoint = read_checkpoint(result.checkpoint)
    assert checkpoint.config == {"name": "tiny"}
    assert checkpoint.metadata["data"] == "abc"
    assert checkpoint.metadata["packages"]["torch"] == torch.__version__.split("+")[0] or "+" in torch.__version__
    assert {"commit", "python", "packages"} <= set(checkpoint.metadata)


def test_other_data_on_resume_is_said(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=2, fingerprint="abc").train()
    with pytest.warns(UserWarning, match="trained on other data"):
        tiny_trainer(tmp_path, steps=4, fingerprint="xyz").train(resume=True)


def test_played_weights_are_the_averages_and_raw_weights_are_kept_for_resume(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, steps=9)
    checkpoint = read_checkpoint(trainer.train().checkpoint)
    name = "model.hidden.weight"
    assert torch.equal(checkpoint.weights[name], trainer.learner.emas["model"].averages[name])
    assert torch.equal(checkpoint.training[f"raw/{name}"], trainer.method.state_dict()[name])
    assert not torch.equal(checkpoint.weights[name], checkpoint.training[f"raw/{name}"])
    with trainer.ema_weights():
        assert torch.equal(trainer.method.state_dict()[name], checkpoint.weights[name])
        assert not trainer.method.training
    assert torch.equal(trainer.method.state_dict()[name], checkpoint.training[f"raw/{name}"])
    assert trainer.method.model.training


def test_without_averages_weights_are_saved_once_and_resume_exactly(tmp_path: Path) -> None:
    tiny_trainer(tmp_path / "whole", steps=10, ema=None).train()
    tiny_trainer(tmp_path / "halves", steps=5, ema=None, schedule=LongCosine(steps=10)).train()
    assert not any(name.startswith("raw/") for name in newest(tmp_path / "halves").training)
    tiny_trainer(tmp_path / "halves", steps=10, ema=None).train(resume=True)
    assert torch.equal(
        newest(tmp_path / "whole").weights["model.head.bias"], newest(tmp_path / "halves").weights["model.head.bias"]
    )


def newest(folder: Path) -> object:
    return RunFolder(folder).checkpoints.load()


def test_preflight_leaves_weights_momenta_averages_and_generators_alone(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    torch.manual_seed(5)
    weights = {name: value.clone() for name, value in trainer.method.state_dict().items()}
    generator = torch.get_rng_state()
    updated: list[bool] = []
    step = trainer.learner.optimizers["model"].step
    trainer.learner.optimizers["model"].step = lambda share: (updated.append(True), step(share))[1]
    seen: dict[str, object] = {}

    def look() -> str:
        seen["weights"] = {name: value.clone() for name, value in trainer.method.state_dict().items()}
        seen["generator"], seen["momenta"] = torch.get_rng_state(), trainer.learner.optimizers["model"].state()
        seen["updates"], seen["gradients"] = (
            trainer.learner.ema_updates(),
            [p.grad for p in trainer.method.parameters()],
        )
        return "finished"

    trainer._loop = lambda interrupts: look()
    trainer.train()
    assert updated == [True]  # a whole step, the update included
    assert all(torch.equal(seen["weights"][name], value) for name, value in weights.items())
    assert torch.equal(seen["generator"], generator)
    assert (seen["momenta"], seen["updates"]) == ({}, {"model": 0})
    assert all(gradient is None for gradient in seen["gradients"])


def test_r5_preflight_takes_the_largest_stage(tmp_path: Path) -> None:
    small, large = TinyClips(batch=2), TinyClips(batch=9)
    stages = [Stage(steps=3, frames=5, batch=2), Stage(steps=3, frames=5, batch=9)]
    trainer = tiny_trainer(tmp_path, clips=StagedClips(stages, [small, large]), steps=1)
    trainer.train()
    assert large.asked[:1] == [3]


def test_r5_too_little_memory_shows_before_the_first_step(tmp_path: Path) -> None:
    class Hungry(TinyMethod):
        def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
            yield "model", torch.ones(1 << 50).sum()  # 4 PiB

    with pytest.raises(ValueError, match="raise accumulate or lower the batch size"):
        tiny_trainer(tmp_path, Hungry()).train()
    assert not (tmp_path / "checkpoints").exists()


def test_a_compiler_that_fails_is_done_without_unless_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*args: object, **kwargs: object) -> object:
        raise RuntimeError("g++ is broken")

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module, **_: setattr(module, "_compiled_call_impl", no_compiler)
    )
    monkeypatch.setattr(trainer_module, "AUTO_COMPILE_STEPS", 1)
    monkeypatch.setattr(trainer_module.shutil, "which", lambda name: name if name == "g++" else None)
    with pytest.warns(UserWarning, match=r"compilation failed \(RuntimeError\); training without it"):
        assert tiny_trainer(tmp_path / "auto", steps=2, compile="auto").train().step == 2
    with pytest.raises(RuntimeError, match="g\\+\\+ is broken"):
        tiny_trainer(tmp_path / "asked", steps=2, compile=True).train()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
def test_compiled_training_resumes_under_the_same_names(tmp_path: Path) -> None:
    compiled = tiny_trainer(tmp_path, steps=4, compile=True).train()
    eager = tiny_trainer(tmp_path / "eager", steps=4).train()
    names = [set(read_checkpoint(result.checkpoint).weights) for result in (compiled, eager)]
    assert names[0] == names[1]
    assert tiny_trainer(tmp_path, steps=6, compile=False).train(resume=True).step == 6


def test_a_unet_trains_on_an_objective_and_resumes_exactly_in_mixed_precision(tmp_path: Path) -> None:
    def method() -> Pretrain:
        config = UNetConfig(context=2, widths=(8, 16), blocks=(1, 1), condition_width=16)
        return Pretrain(PixelTokenizer(), UNet(config, A, (3, 8, 12)), NextFrameConfig().build())

    def run(folder: Path, **options: object) -> None:
        torch.manual_seed(4)
        clips = TinyClips(batch=4, size=(8, 12))
        options |= {"accumulate": 2, "precision": "bf16-mixed"}
        tiny_trainer(folder, method(), clips=clips, steps=6, **options).train(resume=True)

    run(tmp_path / "whole")
    run(tmp_path / "halves", callbacks=[at(3, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))])
    run(tmp_path / "halves")
    assert len(losses(tmp_path / "whole")) == 6
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert fingerprint(tmp_path / "halves") == fingerprint(tmp_path / "whole")


def test_r8_accumulation_equals_the_big_batch_at_the_same_steps(tmp_path: Path) -> None:
    for name, accumulate in (("one", 1), ("three", 3)):
        torch.manual_seed(1)
        trainer = tiny_trainer(tmp_path / name, TinyMethod(random=False), steps=8, log_every=2, accumulate=accumulate)
        trainer.train()
    assert [row["step"] for row in rows(tmp_path / "three")] == [2, 4, 6, 8]
    for one, three in zip(rows(tmp_path / "one"), rows(tmp_path / "three"), strict=True):
        for name in ("step", "loss/model", "grad_norm/model"):
            assert one[name] == pytest.approx(three[name], rel=1e-3)


def test_a_role_is_updated_before_the_next_loss_is_asked_for(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Watching(TinyMethod):
        def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
            for role, loss in super().losses(batch, step):
                seen.append(self.model.head.bias.detach().clone())
                yield role, loss

    tiny_trainer(tmp_path, Watching(critic=True), steps=1, accumulate=2).train()
    asked = seen[4:]  # the preflight step asked for as many
    assert len(asked) == 4  # two roles of two microbatches, role by role
    assert torch.equal(asked[0], asked[1])
    assert not torch.equal(asked[1], asked[2])
    assert torch.equal(asked[2], asked[3])


def test_every_role_resumes_exactly(tmp_path: Path) -> None:
    def method() -> TinyMethod:
        torch.manual_seed(2)
        return TinyMethod(critic=True)

    tiny_trainer(tmp_path / "whole", method(), steps=8).train()
    stop = at(3, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    tiny_trainer(tmp_path / "halves", method(), steps=8, callbacks=[stop]).train()
    tiny_trainer(tmp_path / "halves", TinyMethod(critic=True), steps=8).train(resume=True)
    assert fingerprint(tmp_path / "halves") == fingerprint(tmp_path / "whole")


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    norms: list[float] = []
    trainer = tiny_trainer(tmp_path, steps=3, clip_norm=1e-3)
    step = trainer.learner.optimizers["model"].step

    def watch(share: float) -> None:
        gradients = [p.grad.flatten() for p in trainer.method.model.parameters()]
        norms.append(torch.cat(gradients).norm().item())
        step(share)

    trainer.learner.optimizers["model"].step = watch
    trainer.train()
    assert norms == [pytest.approx(1e-3, rel=1e-3)] * 4
    assert rows(tmp_path)[0]["grad_norm/model"] > 1e-2  # logged as it was before


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_bad_step_is_skipped_and_counted(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(1)
    method = Poisoned({4, 9}, kind)
    result = tiny_trainer(tmp_path, method, steps=12).train()
    assert result.skipped == 2
    assert [step for step, _ in losses(tmp_path)] == [1, 2, 3, 4, 6, 7, 8, 9, 11, 12]
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())
    assert rows(tmp_path)[-1]["skipped_steps"] == 2


def test_bad_steps_in_a_row_roll_back_and_the_run_reads_on(tmp_path: Path) -> None:
    clips = TinyClips()
    torch.manual_seed(1)
    trainer = tiny_trainer(tmp_path, Poisoned({7, 8, 9}), clips=clips, steps=12, max_bad_steps=3)
    with pytest.warns(UserWarning, match="3 steps in a row were not finite: back from step 10 to 5"):
        result = trainer.train()
    assert (result.reason, result.step, result.skipped) == ("finished", 12, 3)
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 13))
    assert trainer.state.batch_index == 12 + 5  # the five batches since the checkpoint are not read again


def test_a_rolled_back_run_resumes_exactly(tmp_path: Path) -> None:
    def run(folder: Path, **options: object) -> None:
        torch.manual_seed(1)
        method = Poisoned({7, 8, 9})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tiny_trainer(folder, method, steps=18, max_bad_steps=3, **options).train(resume=True)

    run(tmp_path / "whole")
    run(tmp_path / "halves", callbacks=[at(11, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))])
    run(tmp_path / "halves")
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert fingerprint(tmp_path / "halves") == fingerprint(tmp_path / "whole")


def test_a_run_that_stays_bad_stops_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(1)
    trainer = tiny_trainer(tmp_path, Poisoned(set(range(7, 100))), steps=50, max_bad_steps=3, max_rollbacks=2)
    with pytest.warns(UserWarning, match="not finite"), pytest.raises(TrainingDivergedError, match="after 2 rollbacks"):
        trainer.train()
    assert newest(tmp_path).step == 5


def test_a_bad_step_never_becomes_the_newest_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tiny_trainer(tmp_path, Poisoned({4}), steps=6, keep=9).train()
    assert RunFolder(tmp_path).checkpoints.steps() == [0, 6]  # 5 was due after the bad step


def test_a_signal_in_a_bad_step_saves_nothing_and_resume_meets_it_again(tmp_path: Path) -> None:
    class Interrupted(Poisoned):
        def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
            if batch.seed in self.bad:
                os.kill(os.getpid(), signal.SIGTERM)
            yield from super().losses(batch, step)

    for folder, kind in (("whole", Poisoned), ("halves", Interrupted), ("halves", Poisoned)):
        torch.manual_seed(1)
        result = tiny_trainer(tmp_path / folder, kind({6}), steps=12).train(resume=True)
        if kind is Interrupted:
            assert (result.reason, result.step, result.checkpoint.name) == ("interrupted", 7, "step_00000005")
    assert fingerprint(tmp_path / "halves") == fingerprint(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_r6_a_signal_finishes_the_step_saves_and_gives_the_handlers_back(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    stop = at(4, lambda trainer: os.kill(os.getpid(), number))
    result = tiny_trainer(tmp_path, callbacks=[stop]).train()
    assert (result.reason, result.step) == ("interrupted", 4)
    assert newest(tmp_path).step == 4
    assert signal.getsignal(number) is before


def test_r6_a_time_limit_stops_and_saves(tmp_path: Path) -> None:
    now = [0.0]

    def pass_time(step: int, trainer: Trainer) -> None:
        now[0] += 20.0  # seconds

    trainer = tiny_trainer(tmp_path, callbacks=[Callback(1, pass_time)], clock=lambda: now[0], minutes=1.0)
    result = trainer.train()
    assert (result.reason, result.step) == ("out of time", 3)
    assert newest(tmp_path).step == 3
    assert tiny_trainer(tmp_path).train(resume=True).step == 20


def test_r6_an_error_saves_first_and_the_run_resumes_exactly(tmp_path: Path) -> None:
    def fail(trainer: Trainer) -> None:
        raise KeyError("a bug in a callback")

    tiny_trainer(tmp_path / "whole").train()
    with pytest.raises(KeyError, match="a bug"):
        tiny_trainer(tmp_path / "broken", callbacks=[at(7, fail)]).train()
    assert newest(tmp_path / "broken").step == 7
    tiny_trainer(tmp_path / "broken").train(resume=True)
    assert fingerprint(tmp_path / "broken") == fingerprint(tmp_path / "whole")


class Failing(TinyMethod):
    """Raises on one batch, before or after it changed itself."""

    def __init__(self, bad: int, late: bool, error: type[Exception] = ArithmeticError) -> None:
        super().__init__()
        self.bad, self.late, self.error = 31 * bad, late, error

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
        if batch.seed == self.bad and not self.late:
            raise self.error("early")
        yield from super().losses(batch, step)
        if batch.seed == self.bad:
            raise self.error("late")


@pytest.mark.parametrize(
    ("late", "saved", "error"),
    [
        (False, 7, ArithmeticError),
        (True, 5, ArithmeticError),
        (False, 7, MemoryError),
        (False, 7, torch.OutOfMemoryError),
    ],
)
def test_r6_an_error_inside_a_step_saves_only_what_is_whole(
    tmp_path: Path, late: bool, saved: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        tiny_trainer(tmp_path, Failing(7, late, error)).train()
    assert newest(tmp_path).step == saved


def test_r6_a_full_disk_stops_with_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    fill = at(9, lambda trainer: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(CheckpointError, match="No space left on device; earlier checkpoints are intact"):
        tiny_trainer(tmp_path, callbacks=[fill]).train()
    monkeypatch.undo()
    assert newest(tmp_path).step == 5
    assert tiny_trainer(tmp_path).train(resume=True).step == 20


def test_callbacks_come_by_their_interval_and_their_numbers_join_the_row(tmp_path: Path) -> None:
    came: list[int] = []

    def measure(step: int, trainer: Trainer) -> None:
        came.append(step)
        trainer.log({"psnr": 30.0 + step})

    tiny_trainer(tmp_path, steps=9, log_every=4, callbacks=[Callback(3, measure)]).train()
    assert came == [3, 6, 9]
    assert [(row["step"], row.get("psnr")) for row in rows(tmp_path)] == [
        (3, 33.0),
        (4, None),
        (6, 36.0),
        (8, None),
        (9, 39.0),
    ]
    assert "loss/model" in rows(tmp_path)[-1]  # the last step is logged although 4 does not divide it


def test_a_checkpoint_of_another_model_names_what_differs(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=2).train()
    with pytest.raises(CheckpointError, match=r"missing critic\.weight"):
        tiny_trainer(tmp_path, TinyMethod(critic=True)).train(resume=True)


def test_mixed_precision_keeps_float32_weights_and_gradients_after_a_pass_without_them(tmp_path: Path) -> None:
    class Peeking(TinyMethod):
        """Runs its model without gradients first, as a rollout does: the casts must not be reused."""

        def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
            pixels = batch.frames.flatten(2).float() / 127.5 - 1
            with torch.no_grad():
                own = self.model(pixels[:, :-1], batch.actions)
            predicted = self.model(own, batch.actions)
            assert predicted.dtype == torch.bfloat16
            yield "model", (predicted.float() - pixels[:, 1:]).square().mean()

    method = Peeking()
    before = {name: p.detach().clone() for name, p in method.model.named_parameters()}
    tiny_trainer(tmp_path, method, steps=2, precision="bf16-mixed").train()
    for name, parameter in method.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert not torch.equal(parameter, before[name]), f"{name} got no gradient"


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("accumulate", 0), ("clip_norm", 0.0), ("minutes", -1.0), ("max_rollbacks", -1)],
)
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        TrainerConfig(**{"steps": 5} | {name: value})


def test_config_travels_as_json() -> None:
    config = TrainerConfig(steps=5, compile=True, ema=None, minutes=2)
    assert TrainerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
