"""Settings of every test: one thread, fixed seeds, and skips that give their reason.

Shape and type checks of the whole package are switched on in pyproject.toml (``--jaxtyping-packages``).
"""

import os

# Before torch is imported: spinning OpenMP threads make small kernels several times slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import random
import shutil
import signal

import numpy as np
import pytest
import torch

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_configure() -> None:
    torch.set_num_threads(1)
    # A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.accelerator.is_available():
        pytest.skip("no accelerator: torch.accelerator.is_available() is False")
    if item.get_closest_marker("browser") and _chromium() is None:
        pytest.skip("no Chromium on the PATH; install the Debian package chromium")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Give code that draws from a global generator the same numbers in every run and order."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - third-party code draws from the global generator
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def accelerator() -> torch.device:
    """The device of tests marked `gpu`."""
    device = torch.accelerator.current_accelerator()
    assert device is not None, "mark the test with pytest.mark.gpu"
    return device


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser of tests marked `browser`."""
    path = _chromium()
    assert path is not None, "mark the test with pytest.mark.browser"
    return path


def _chromium() -> str | None:
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
