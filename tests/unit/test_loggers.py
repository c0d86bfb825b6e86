import io
import json
from pathlib import Path

from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hallucade.training.loggers import MetricsFile, ProgressLog, TensorBoardLog


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_survive_every_bit_of_a_float(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "m.jsonl")
    log.log(3, {"loss": 0.1 + 0.2})
    log.close()
    assert float(str(rows(tmp_path / "m.jsonl")[0]["loss"])).hex() == (0.1 + 0.2).hex()


def test_a_row_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "m.jsonl")
    log.log(1, {"loss": 2.0})
    assert rows(tmp_path / "m.jsonl") == [{"step": 1, "loss": 2.0}]
    log.close()


def test_what_is_not_finite_is_null_and_the_file_stays_json(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "m.jsonl")
    log.log(1, {"a": float("nan"), "b": float("-inf"), "c": 1.0})
    log.close()
    assert "NaN" not in (tmp_path / "m.jsonl").read_text()
    assert rows(tmp_path / "m.jsonl") == [{"step": 1, "a": None, "b": None, "c": 1.0}]


def test_rewind_drops_later_rows_and_a_line_cut_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 2, "loss": 1.5}\n{"step": 4, "loss": 1.0}\n{"step": 6, "loss": 0.5}\n{"step": 8, "lo')
    log = MetricsFile(path)
    log.rewind(4)
    log.log(6, {"loss": 0.25})
    log.close()
    assert rows(path) == [{"step": 2, "loss": 1.5}, {"step": 4, "loss": 1.0}, {"step": 6, "loss": 0.25}]
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def scalars(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


def test_tensorboard_shows_a_step_once_after_a_rewind(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    for step in (2, 4, 6):
        log.log(step, {"loss": float(step)})
    log.close()
    log = TensorBoardLog(tmp_path)
    log.rewind(4)
    log.log(6, {"loss": 60.0})
    log.close()
    assert scalars(tmp_path) == [(2, 2.0), (4, 4.0), (6, 60.0)]


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    out, now = io.StringIO(), 0.0
    log = ProgressLog(100, Console(file=out, force_terminal=False), clock=lambda: now)
    for step in range(10, 101, 10):
        log.log(step, {"loss/model": 0.5, "loss/critic": 0.25, "frames_per_s": 1234.0, "skipped_steps": 0.0})
        now += 8.0  # seconds a row
    log.close()
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["10/100", "50/100", "90/100", "100/100"]
    assert lines[0] == "step 10/100  loss 0.7500  1,234 frames/s"


def test_at_a_terminal_there_is_a_bar_with_step_loss_speed_and_skips() -> None:
    out = io.StringIO()
    log = ProgressLog(50, Console(file=out, force_terminal=True, width=140))
    log.rewind(20)
    log.log(25, {"loss/model": 0.125, "frames_per_s": 99.0, "skipped_steps": 2.0})
    log.close()
    for part in ("25/50", "loss 0.1250", "99 frames/s", "2 skipped"):
        assert part in out.getvalue()
