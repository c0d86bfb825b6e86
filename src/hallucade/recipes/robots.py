"""A real robot arm: RT-1, also known as fractal (Brohan et al. 2022, arXiv:2212.06817), as LeRobot keeps it."""

from hallucade.models.nanowm import nanowm_b2
from hallucade.recipes.nanowm import nanowm_run
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.small_worlds import small_world

RT1 = (
    "hallucade import lerobot hf://IPEC-COMMUNITY/fractal20220817_data_lerobot {{store}} "
    "--deltas x y z roll pitch yaw --size {} {}"
)


def rt1_small() -> RunConfig:
    """RT-1 at a quarter of its size; three frames a second leave much open, so four past frames and four steps."""
    return small_world("rt1_small", importing=RT1.format(64, 80), size=(64, 80), context=4, still=True)


def rt1_nanowm() -> RunConfig:
    """NanoWM-B/2 on RT-1, 300,000 steps; published: PSNR 24.36, SSIM 0.787, LPIPS 0.180, FID 35.08."""
    importing = f"{RT1.format(256, 256)} --fit stretch"
    return nanowm_run("rt1_nanowm", nanowm_b2(), steps=300_000, importing=importing)
