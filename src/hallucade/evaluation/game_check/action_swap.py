"""Do the actions matter: the same starts dreamed under another game's actions must turn out worse."""

from dataclasses import dataclass

import numpy as np

from hallucade.evaluation.game_check.dreaming import Counted, dream_batches
from hallucade.evaluation.game_check.fidelity import PongErrors, errors_of_track
from hallucade.evaluation.game_check.pong_tracker import PongTrack, join_tracks, track
from hallucade.evaluation.game_check.pong_truth import PongTruth
from hallucade.evaluation.picture_scores import PictureScores
from hallucade.rollout import World


@dataclass(frozen=True)
class Swapped:
    """Rollouts under the wrong actions, compared with the truth under the right ones."""

    errors: PongErrors
    pictures: PictureScores

    def metrics(self, right: PongErrors, pictures: PictureScores, floor: float) -> dict[str, float]:
        """Compare with rollouts of the same starts under the right actions.

        Args:
            right: their errors.
            pictures: their picture scores.
            floor: the tracker's own paddle error; added to both, so that a perfect dream has a finite ratio.
        """
        frames = self.errors.player.shape[1]
        ratio = (self.errors.player.mean() + floor) / (right.player[:, :frames].mean() + floor)
        swapped, true = self.pictures.metrics(""), pictures.metrics("")  # of fewer horizons and of all
        lost = {f"pong/delta_{name}": true[name] - swapped[name] for name in swapped if name.startswith("psnr@")}
        return {"pong/action_swap_ratio": float(ratio), **lost}


def action_swap(
    world: World,
    truth: PongTruth,
    frames: int,
    horizons: tuple[int, ...],
    batch: int,
    seed: int,
    counted: Counted,
) -> Swapped:
    """Dream `frames` frames of every game under the next game's actions."""
    wrong = np.roll(truth.future_actions[:, :frames], 1, axis=0)
    pictures = PictureScores(horizons)
    tracks = list[PongTrack]()
    for rows, dreamed in dream_batches(world, truth.prompts(), wrong, batch, seed, counted):
        real = truth.games(rows).frames(truth.prompt_frames - 1, truth.prompt_frames + frames)
        pictures.add(dreamed, real)
        tracks.append(track(dreamed))
    return Swapped(errors_of_track(join_tracks(tracks, axis=0), truth), pictures)
