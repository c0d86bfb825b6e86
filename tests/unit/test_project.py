"""What no single module can see: the public list, the words we avoid, the documents, the pins."""

import ast
import re
import subprocess
import sys
import tomllib
import types
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hallucade

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "src/hallucade").rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PATH_IN_TEXT = re.compile(r"\b(?:src|docs|tests|benchmarks)/[\w./-]*\w")

UNKNOWN_CONFIGS = """
import importlib, pkgutil
import hallucade.recipes.registry
from hallucade.methods.base import MethodConfig
from hallucade.models.base import WorldModelConfig
from hallucade.objectives.base import ObjectiveConfig
from hallucade.samplers.base import SamplerConfig

PARTS = {"methods": MethodConfig, "models": WorldModelConfig, "objectives": ObjectiveConfig, "samplers": SamplerConfig}
for room, part in PARTS.items():
    known = set(part.kinds())
    package = importlib.import_module(f"hallucade.{room}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    print(*sorted(set(part.kinds()) - known))
"""


def relative(path):
    return path.relative_to(ROOT).as_posix()


def test_the_public_list_is_complete():
    public = {
        name
        for name in dir(hallucade)
        if not name.startswith("_") and not isinstance(getattr(hallucade, name), types.ModuleType)
    } - {"TYPE_CHECKING", "Any", "import_module"}
    assert public == set(hallucade.__all__)


def test_the_public_names_are_documented():
    undocumented = [name for name in hallucade.__all__ if callable(v := getattr(hallucade, name)) and not v.__doc__]
    assert not undocumented


def test_no_device_is_hard_coded():
    """``torch.accelerator`` and Fabric know what is there; a comparison can be with "cpu"."""

    def names_a_device(node):
        text = {ast.Constant: "value", ast.Attribute: "attr"}.get(type(node))
        return text is not None and str(getattr(node, text)).split(":")[0] == "cuda"

    trees = {relative(path): ast.parse(path.read_text()) for path in MODULES}
    assert [path for path, tree in trees.items() if any(map(names_a_device, ast.walk(tree)))] == []


def test_every_file_is_named_after_a_thing():
    vague = re.compile(r"(^|_)(utils?|common|misc|helpers?)(_|$)")
    code = [p for folder in ("src", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py")]
    assert [relative(p) for p in code if any(vague.search(part) for part in p.with_suffix("").parts)] == []


def test_every_package_says_what_it_is():
    packages = [p for p in MODULES if p.name == "__init__.py"]
    assert [relative(p) for p in packages if not ast.get_docstring(ast.parse(p.read_text()))] == []


def test_every_file_that_is_mentioned_exists():
    missing = {}
    for path in [*DOCUMENTS, *MODULES]:
        text = path.read_text()
        mentioned = {ROOT / found for found in PATH_IN_TEXT.findall(text)}
        if path.suffix == ".md":
            links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
            mentioned |= {path.parent / link for link in links if "://" not in link}
        missing |= {str(gone): relative(path) for gone in mentioned if not gone.exists()}
    assert missing == {}


def test_whatever_a_run_folder_names_is_known_once_the_recipes_are():
    """In a process of its own: here other tests have imported more."""
    told = subprocess.run([sys.executable, "-c", UNKNOWN_CONFIGS], capture_output=True, text=True, check=True).stdout
    assert told.split() == []


def test_every_test_that_is_mentioned_exists():
    """As `test_flow.py::test_a`, `::test_b`; in tests/unit where no folder is named."""
    missing = []
    for path in DOCUMENTS:
        file = ""
        for named, test in re.findall(r"`([\w/]*test_\w+\.py)?::(test_\w+)`", path.read_text()):
            file = named or file
            where = ROOT / "tests" / (file if "/" in file else f"unit/{file}")
            if not re.search(rf"^def {test}\(", where.read_text(), re.MULTILINE):
                missing.append((relative(path), file, test))
    assert missing == []


def test_every_requirement_of_tokens_names_tests_that_bear_its_number():
    rows = re.findall(r"^\| R(\d+) \|(.*)$", (ROOT / "docs/tokens.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 26))
    named = {number: re.findall(r"::(test_\w+)`", row) for number, row in rows}
    assert all(named.values())
    assert [test for number, tests in named.items() for test in tests if not test.startswith(f"test_r{number}_")] == []


def test_the_version_is_the_same_everywhere():
    assert version("hallucade") == hallucade.__version__ == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_direct_dependency_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins
    for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:  # one of our own extras
            continue
        pinned = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), f"{requirement} is pinned to {pinned}"


def test_the_license_is_the_one_that_the_package_names():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
