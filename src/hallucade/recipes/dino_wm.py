"""The five worlds of DINO-WM that NanoWM was measured on: a maze, a wall with a door, PushT, a rope, and grain.

The data are at https://osf.io/bmw48 (see `hallucade.data.importers.dino_wm`). PushT and the maze can be played by a
package too, so that their small recipes record what they need.

The references are NanoWM-B/2 on four frames of 256 x 256. In the maze, at the wall and in PushT a frame stands for
five, and the actions between two of them are joined: 5 x 2 numbers.
"""

from hallucade.data.environment import EnvironmentConfig
from hallucade.models.nanowm import nanowm_b2
from hallucade.recipes.nanowm import INTERVAL, nanowm_run
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.small_worlds import small_world


def point_maze_small() -> RunConfig:
    """A ball in a maze, played by a bot: forces change its velocity, which four past frames show."""
    return small_world(
        "point_maze_small",
        environment=EnvironmentConfig(environment="point_maze"),
        context=4,
        patch=2,
        sampling_steps=1,
        still=True,
    )


def wall_small() -> RunConfig:
    """A dot that goes through a door in a wall."""
    return small_world(
        "wall_small",
        importing="hallucade import dino-wm wall_single {store} --size 64 64",
        context=2,
        patch=2,
        sampling_steps=1,
        still=True,
    )


def pusht_small() -> RunConfig:
    """A finger that pushes a block, played by a bot."""
    return small_world(
        "pusht_small",
        environment=EnvironmentConfig(environment="pusht_relative", frame_skip=1),
        context=4,
        sampling_steps=2,
        still=True,
    )


def rope_small() -> RunConfig:
    """A robot that pushes a rope: each action is a whole push, so one frame is all that matters of the past."""
    return small_world(
        "rope_small", importing="hallucade import dino-wm deformable/rope {store} --size 64 64", context=2, still=True
    )


def granular_small() -> RunConfig:
    """A robot that pushes grain; see `rope_small`."""
    return small_world(
        "granular_small",
        importing="hallucade import dino-wm deformable/granular {store} --size 64 64",
        context=2,
        still=True,
    )


def point_maze_nanowm() -> RunConfig:
    """NanoWM-B/2 on the maze, 30,000 steps; published: PSNR 36.74, SSIM 0.984, LPIPS 0.019, FID 9.66."""
    return _nanowm("point_maze_nanowm", "point_maze", steps=30_000, join=INTERVAL)


def wall_nanowm() -> RunConfig:
    """NanoWM-B/2 on the wall, 15,000 steps; published: PSNR 34.05, SSIM 0.994, LPIPS 0.010, FID 2.64."""
    return _nanowm("wall_nanowm", "wall_single", steps=15_000, join=INTERVAL)


def pusht_nanowm() -> RunConfig:
    """NanoWM-B/2 on PushT, 100,000 steps; published: PSNR 33.19, SSIM 0.982, LPIPS 0.016, FID 13.63."""
    return _nanowm("pusht_nanowm", "pusht_noise", steps=100_000, join=INTERVAL)


def rope_nanowm() -> RunConfig:
    """NanoWM-B/2 on the rope, 15,000 steps; published: PSNR 31.63, SSIM 0.953, LPIPS 0.056, FID 35.20."""
    return _nanowm("rope_nanowm", "deformable/rope", steps=15_000)


def granular_nanowm() -> RunConfig:
    """NanoWM-B/2 on grain, 15,000 steps; published: PSNR 26.08, SSIM 0.917, LPIPS 0.073, FID 40.05."""
    return _nanowm("granular_nanowm", "deformable/granular", steps=15_000)


def _nanowm(name: str, folder: str, *, steps: int, join: int = 1) -> RunConfig:
    joined = f" --join {join}" if join > 1 else ""
    importing = f"hallucade import dino-wm {folder} {{store}} --size 256 256{joined}"
    return nanowm_run(name, nanowm_b2(), steps=steps, importing=importing)
