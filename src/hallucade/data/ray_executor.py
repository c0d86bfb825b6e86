"""Reads a source on a Ray cluster; the store that comes out is the one that a single process makes.

One block of the dataset is one episode: Ray moves whole episodes between machines and keeps their order, and the
machine that asked writes. The source's path must lead to the same files on every machine.
"""

import logging
import pickle
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from hallucade.data.conversion import ConversionConfig
from hallucade.data.executors import Read, Reader, Refused
from hallucade.data.source import SourceConfig


class RayExecutor:
    """Reads on the cluster that ``RAY_ADDRESS`` names, or on this machine's own Ray.

    Raises:
        ValueError: Ray is not installed.
    """

    def __init__(self) -> None:
        try:
            self._ray: Any = import_module("ray")
            self._data: Any = import_module("ray.data")
        except ImportError:
            raise ValueError("Ray is not installed; pip install 'hallucade[ray]'") from None

    def __call__(self, reader: Reader, names: Iterable[str]) -> Iterator[Read | Refused]:
        wanted = list(names)
        if not wanted:
            return
        if not self._ray.is_initialized():
            self._ray.init(log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = self._data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        rows = self._data.from_items([{"name": name} for name in wanted], override_num_blocks=len(wanted))
        pool = self._data.ActorPoolStrategy(min_size=1, max_size=len(wanted))
        configs = {"source": reader.source.to_json(), "conversion": reader.conversion.to_json()}
        read = rows.map(RemoteReader, fn_constructor_kwargs=configs, compute=pool)
        for row in read.iter_rows():
            yield pickle.loads(row["read"])


class RemoteReader:
    """A `Reader` on another machine; what it read travels as bytes, because a table has no place for it."""

    def __init__(self, source: dict[str, Any], conversion: dict[str, Any]) -> None:
        for module in ("environment", "importers.registry"):  # the classes that the configs name
            import_module(f"hallucade.data.{module}")
        self._reader = Reader(SourceConfig.from_json(source), ConversionConfig.from_json(conversion))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"read": pickle.dumps(self._reader(row["name"]))}
