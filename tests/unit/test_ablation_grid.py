"""What an ablation varies: the language of --vary, the grid, and what is told before anything trains."""

from dataclasses import replace
from pathlib import Path

import pytest

from hallucade.diffusion.schedules import CosineNoiseConfig, LinearNoiseConfig, RectifiedFlowConfig
from hallucade.diffusion.weighting import LevelWeightConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.action_injection import FiLMInjectionConfig, InjectionConfig
from hallucade.recipes.ablation.ablation import AblationConfig, share_of
from hallucade.recipes.ablation.grid import folder_name, make_grid
from hallucade.recipes.ablation.runs import Job
from hallucade.recipes.ablation.vary import parse_axis, short_names
from hallucade.recipes.distilled_pong import pong_distilled
from hallucade.recipes.pong_ablation import pong_ablation
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig

RECIPE = pong_ablation()
INJECTIONS = "model.injection=joined,fused,additive,adaln,film,cross_attention"


def values(vary: str) -> list[object]:
    """What the last part of one path becomes in every arm."""
    path = vary.partition("=")[0].split(".")
    found: list[object] = []
    for arm in make_grid(RECIPE, [vary]).arms:
        value: object = arm.config
        for name in path:
            value = value[int(name)] if isinstance(value, tuple) else getattr(value, name)
        found.append(value)
    return found


def test_a_short_name_leaves_out_what_its_base_says() -> None:
    assert short_names(SamplerConfig)["DDIMSamplerConfig"] == "ddim"
    assert short_names(LevelWeightConfig)["MinSNRWeight"] == "minsnr"
    assert short_names(InjectionConfig)["CrossAttentionInjectionConfig"] == "crossattention"
    assert "InjectionConfig" not in short_names(InjectionConfig)


def test_classes_are_named_shortly_or_wholly_and_scalars_as_json() -> None:
    assert values("model.injection=film") == values("model.injection=FiLMInjectionConfig") == [FiLMInjectionConfig()]
    assert values("model.schedule=rectified_flow,linear") == [RectifiedFlowConfig(), LinearNoiseConfig()]
    assert values("model.depth=2,4") == [2, 4]
    assert values("trainer.ema=none") == [None]
    assert values("model.mlp_bias=true,False") == [True, False]
    assert values("trainer.optimizer.betas=[0.9,0.95],[0.8,0.99]") == [(0.9, 0.95), (0.8, 0.99)]
    assert values("stages.0.batch=8,4") == [8, 4]
    assert values('model.schedule={"type":"CosineNoiseConfig","offset":0.1}') == [CosineNoiseConfig(offset=0.1)]


def test_a_class_keeps_the_fields_that_it_shares_with_the_one_before() -> None:
    assert RECIPE.sampler.steps == 4
    assert values("sampler=flow") == [FlowSamplerConfig(steps=4)]


def test_a_grid_is_a_product_and_paths_can_move_together() -> None:
    grid = make_grid(RECIPE, ["model.target+objective.loss_space=x+x,v+v", "model.depth=2,4"])
    found = [(a.config.model.target, a.config.objective.loss_space, a.config.model.depth) for a in grid.arms]
    assert found == [("x", "x", 2), ("x", "x", 4), ("v", "v", 2), ("v", "v", 4)]
    assert grid.refused == ()
    assert grid.arms[2].label == "v v 2"


def test_the_baseline_is_what_changes_nothing_or_comes_first() -> None:
    assert make_grid(RECIPE, ["model.injection=film,joined"]).baseline(RECIPE).label == "joined"
    assert make_grid(RECIPE, ["model.injection=film,adaln"]).baseline(RECIPE).label == "film"


def test_a_combination_that_a_config_refuses_is_noted_with_its_reason() -> None:
    grid = make_grid(RECIPE, ["model.target=x,eps", "model.schedule=rectified_flow,linear"])
    assert [arm.label for arm in grid.arms] == ["x rectified_flow", "x linear", "eps linear"]
    assert [" ".join(value for _, value in each.settings) for each in grid.refused] == ["eps rectified_flow"]
    assert "predict 'v', 'x' or 'flow'" in grid.refused[0].reason


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ([], r"nothing is varied; give --vary"),
        (["model.depth"], r"--vary is 'model.depth'; write PATH=VALUE"),
        (["model.depth=2,,4"], r"--vary is 'model.depth=2,,4'; write"),
        (["model.depth=2,2"], r"gives a value twice"),
        (["model.depth=2,4", "model.depth=6"], r"names a path twice"),
        (["trainer.seed=1,2"], r"every arm is trained with each seed; say how many with --seeds"),
        (["recipe=a,b"], r"--vary recipe: it changes no run"),
        (["source.fps=1,2"], r"--vary source.fps: it changes no run"),
        (["trainer.optimizer.learning_rate=1e-3,NaN"], r"is nan, which is not a number"),
        (["model.depth=2,99999999999999999999"], r"whole numbers have 64 bits here"),
        (["model.target+model.depth=x+2,v"], r"moves 2 paths together, and 'v' holds 1 value"),
        (["model.injecton=film"], r"DiffusionTransformerConfig has no 'injecton'; it has .*\binjection\b"),
        (["model.injection=joined,flim"], r"there is no 'flim'; choose of adaln, additive, crossattention, film"),
        (["model.depth.x=2"], r"nothing lies below a value, 4"),
        (["stages.1.batch=2"], r"a number from 0 to 0 there, not '1'"),
        (["model.width=wide"], r"model.width=wide cannot be trained: .*width is 'wide'"),
        (["model.target=x,eps"], r"model.target=eps cannot be trained: .*LinearNoiseConfig"),
        (["model.injection=joined,JoinedInjectionConfig"], r"are the same run; leave one out"),
    ],
)
def test_what_can_never_be_trained_is_a_mistake(vary: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_grid(RECIPE, vary)


def test_arms_lie_in_folders_of_their_own() -> None:
    assert folder_name((("model.depth", "4"), ("model.target", "x"))) == "model.depth=4,model.target=x"
    names = {folder_name((("sampler", value),)) for value in ('{"a":1}', '{"a":2}', "a/b", "a_b", "x" * 300, "x" * 301)}
    assert len(names) == 6
    assert all("/" not in name and len(name) < 120 for name in names)


def test_seeds_change_the_seed_alone() -> None:
    arm = make_grid(RECIPE, [INJECTIONS]).arms[4]
    assert arm.seeded(7) == replace(arm.config, trainer=replace(arm.config.trainer, seed=7))
    assert isinstance(arm.config.model, DiffusionTransformerConfig)


def test_shares_are_disjoint_and_whole() -> None:
    arm = make_grid(RECIPE, ["model.depth=2"]).arms[0]
    jobs = [Job(arm, seed, Path(f"seed_{seed}")) for seed in range(11)]
    shares = [share_of(jobs, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(job.seed for share in shares for job in share) == list(range(11))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(ValueError, match="write i/n"):
            share_of(jobs, wrong)


def test_values_with_commas_stand_in_brackets() -> None:
    assert parse_axis("a=[1,2],{x:[3,4]}").settings == (("[1,2]",), ("{x:[3,4]}",))
    assert parse_axis("lr=1e+3").settings == (("1e+3",),)  # a plus moves paths together only where there are several


def test_a_recipe_that_other_networks_teach_is_refused() -> None:
    with pytest.raises(ValueError, match="pong_distilled learns from another network; vary a recipe that learns from"):
        AblationConfig(recipe=pong_distilled(), vary=("model.context=2,3",))
