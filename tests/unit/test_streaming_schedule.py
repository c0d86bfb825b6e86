from dataclasses import replace

import pytest

from hallucade.methods.streaming_schedule import (
    Chunk,
    ChunkWalk,
    StreamingPhase,
    check_phase_lock,
    check_phases,
    parse_schedule,
    phase_at,
    rescaled,
)

WALK = ChunkWalk(horizon=39, chunk=9, overlap=3, block=3)


def scored(walk: ChunkWalk) -> list[tuple[int, int, int, int]]:
    """Return (first scored, first drawn, end, overlap) of each chunk."""
    return [(chunk.start - chunk.overlap, chunk.start, chunk.end, chunk.overlap) for chunk in walk.chunks()]


def test_the_walk_of_39_by_9_with_3_is_the_published_one() -> None:
    assert scored(WALK) == [
        (0, 0, 9, 0),
        (6, 9, 15, 3),
        (12, 15, 21, 3),
        (18, 21, 27, 3),
        (24, 27, 33, 3),
        (30, 33, 39, 3),
    ]


def test_a_short_end_overlaps_more_so_that_windows_stay_alike() -> None:
    assert scored(replace(WALK, horizon=36, block=1))[-2:] == [(24, 27, 33, 3), (27, 33, 36, 6)]
    assert scored(ChunkWalk(horizon=10, chunk=9, overlap=3)) == [(0, 0, 9, 0), (1, 9, 10, 8)]


def test_a_long_prompt_stands_in_for_the_first_overlap() -> None:
    assert scored(ChunkWalk(horizon=16, chunk=12, overlap=5, prompt=6)) == [
        (-5, 0, 7, 5),
        (2, 7, 14, 5),
        (4, 14, 16, 10),
    ]


def test_a_short_prompt_is_put_before_a_whole_chunk() -> None:
    assert scored(replace(WALK, prompt=1))[:2] == [(-1, 0, 9, 1), (6, 9, 15, 3)]


def test_a_horizon_within_one_window_shows_as_much_of_the_prompt_as_fits() -> None:
    assert scored(ChunkWalk(horizon=4, chunk=12, overlap=5, prompt=9)) == [(-8, 0, 4, 8)]


def test_windows_are_alike_and_chunks_join() -> None:
    for walk in (ChunkWalk(horizon=n, chunk=11, overlap=4, prompt=4) for n in range(7, 40)):
        chunks = list(walk.chunks())
        assert {chunk.end - chunk.start + chunk.overlap for chunk in chunks} == {11}
        assert [chunk.start for chunk in chunks] == [0, *(chunk.end for chunk in chunks[:-1])]
        assert chunks[-1].end == walk.horizon


def test_random_lengths_are_whole_blocks_that_fit() -> None:
    walk = ChunkWalk(horizon=60, chunk=21, overlap=3, min_new=6, block=3)
    assert list(walk.lengths(0)) == [21]
    assert list(walk.lengths(21)) == [6, 9, 12, 15, 18]
    assert list(walk.lengths(51)) == [6, 9]
    assert list(walk.lengths(57)) == [3]
    assert walk.at(21, 6) == Chunk(21, 27, 15)
    assert walk.is_random
    assert not replace(walk, min_new=18).is_random


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"overlap": 9}, "overlap is 9 of a chunk of 9 latents; use 0 to 8"),
        ({"overlap": -1}, "overlap is -1"),
        ({"chunk": 0}, "chunk is 0"),
        ({"horizon": 40}, "horizon is 40 latents and the student draws 3 at once; use 39 or 42"),
        ({"overlap": 4, "prompt": 4}, "chunk - overlap is 5 latents .* use 3 or 6"),
        ({"chunk": 10, "overlap": 4}, "the first chunk is 10 latents"),
        ({"min_new": 7}, "min_new is 7; a chunk of 9 draws 1 to 6 new latents"),
        ({"min_new": 4}, "min_new is 4 latents"),
    ],
)
def test_walks_that_cannot_be_walked_are_refused(changes: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(WALK, **changes)


def test_a_schedule_is_read_from_text() -> None:
    short, long = parse_schedule("700:21,3000:240")
    assert short == StreamingPhase(start=0, end=700, horizon=21, streaming=False)
    assert long == StreamingPhase(start=700, end=3000, horizon=240)
    assert parse_schedule("0:700:21, 700::240") == (short, replace(long, end=None))
    assert parse_schedule("") == (StreamingPhase(),)


def test_a_phase_holds_its_first_step_and_not_its_end() -> None:
    phases = parse_schedule("700:21,3000:240")
    assert [phase_at(phases, step) for step in (0, 699, 700, 2999, 3000, 9999)] == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("steps", "spans"), [(6000, [(0, 1400), (1400, 6000)]), (30, [(0, 7), (7, 30)]), (2, [(0, 2)])]
)
def test_phases_of_a_longer_or_shorter_training_keep_their_shares(steps: int, spans: list[tuple[int, int]]) -> None:
    phases = rescaled(parse_schedule("700:21,3000:240"), steps, 3000)
    assert [(phase.start, phase.end) for phase in phases] == spans
    check_phases(phases)
    assert rescaled((StreamingPhase(),), steps, 3000) == (StreamingPhase(),)
    assert rescaled(phases[:1], 1, 10**6)[0].end == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("700", "phase '700' of schedule '700' cannot be read; write end:horizon"),
        ("700:x", "phase '700:x'"),
        ("700:21,600:240", "from step 700 to 600; end it later"),
        ("700:21,800:900:240", "starts at step 800 where 700 is due: a gap"),
        ("700:21,600:900:240", "starts at step 600 where 700 is due: an overlap"),
        ("5:700:21", "starts at step 5 where 0 is due"),
        ("0::21,700:900:240", "starts at step 700 after an open one"),
        ("700:0", "horizon is 0"),
    ],
)
def test_schedules_that_cannot_be_followed_are_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_schedule(text)


def test_a_phase_that_does_not_stream_has_no_chunks() -> None:
    with pytest.raises(ValueError, match="which nothing would read"):
        StreamingPhase(streaming=False, chunk=9)
    check_phases(())


@pytest.mark.parametrize(("horizon", "places"), [(33, 5), (63, 10)])
def test_an_interval_that_meets_few_places_is_refused(horizon: int, places: int) -> None:
    """The student, at every fifth step, would meet one place of 5 chunks, and two of 10."""
    walk = replace(WALK, horizon=horizon)
    met = {step % places for step in range(0, 500, 5)}
    with pytest.raises(ValueError, match=f"learn from {len(met)} of {places} places .* horizon of {horizon + 6}"):
        check_phase_lock(5, walk)
    check_phase_lock(5, replace(WALK, horizon=horizon + 6))


def test_random_chunks_and_other_intervals_meet_all_places() -> None:
    check_phase_lock(5, WALK)
    check_phase_lock(1, replace(WALK, horizon=33))
    check_phase_lock(5, replace(WALK, horizon=33), untrained=1)
    check_phase_lock(5, replace(WALK, horizon=63, min_new=3))
    with pytest.raises(ValueError, match="takes 5 steps"):
        check_phase_lock(5, WALK, untrained=1)
