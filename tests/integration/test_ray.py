"""The same import on a cluster: Ray on this machine, with processes of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from samples.folder import write_folder

from hallucade.data.collect import collect
from hallucade.data.importers.folder import FolderConfig
from hallucade.data.ray_executor import RayExecutor
from hallucade.data.source import SourceError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'hallucade[ray]'")
pytestmark = [
    pytest.mark.timeout(170),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


def files(store: Path) -> dict[str, bytes]:
    return {str(f.relative_to(store)): f.read_bytes() for f in sorted(store.rglob("*")) if f.is_file()}


def test_a_cluster_writes_the_store_that_one_process_writes(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    source = FolderConfig(path=str(tmp_path / "mine"))
    collect(source, tmp_path / "one")
    collect(source, tmp_path / "many", executor=RayExecutor())
    assert files(tmp_path / "one") == files(tmp_path / "many")


def test_a_damaged_episode_is_named_from_another_process(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    (tmp_path / "mine" / "b_walk.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match=r"b_walk.mp4: the file is empty"):
        collect(FolderConfig(path=str(tmp_path / "mine")), tmp_path / "s", executor=RayExecutor())
