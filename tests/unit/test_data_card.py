"""The data card: everything that a person asks of a store, on one page that needs nothing else."""

from pathlib import Path

import pytest
from page_text import without_data
from samples.folder import write_folder

from hallucade.data.checks.problem import Problem
from hallucade.data.checks.summary import summarise
from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.folder import FolderConfig
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.data_card import card_html, write_card


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    folder = tmp_path_factory.mktemp("mine") / "<mine>"
    write_folder(folder)
    (folder / "b_walk.mp4").write_bytes(b"")
    size = ConversionConfig(size=(24, 40))
    return collect(FolderConfig(path=str(folder)), folder.parent / "store", size, damage="skip", command="me").store


def test_it_tells_what_where_from_and_what_is_wrong(store: EpisodeStore) -> None:
    problem = Problem("error", 1, 7, "the <b>view</b> moves 1 frame later", "give --delay 1")
    html = card_html(store, summarise(store), [problem])
    assert "videos with actions in &lt;mine&gt;" in html
    for said in (
        "made by",
        "mine",
        "40 x 24 pixels",
        "4 (2 train, 2 validation)",
        "episode 1, frame 7",
        "give --delay 1",
    ):
        assert said in html
    assert "<b>view</b>" not in html
    assert "b_walk was left out" in html
    for control in ("forward", "strafe", "yaw", "pitch"):
        assert f"<b>{control}</b>" in html
    assert html.count('src="data:image/png') == 4
    assert html.count('src="data:video/mp4') == 1


def test_it_needs_nothing_from_elsewhere(store: EpisodeStore, tmp_path: Path) -> None:
    write_card(tmp_path / "new" / "card.html", store, summarise(store), [])
    html = (tmp_path / "new" / "card.html").read_text()
    assert "none found" in html
    assert "http" not in without_data(html).replace("http-equiv", "")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["card.html"]
