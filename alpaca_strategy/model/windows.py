"""Batches of windows for the network; a window is copied only when its batch is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from alpaca_strategy.model.dataset import WINDOW, Dataset
from alpaca_strategy.model.losses import MIN_SYMBOLS
from alpaca_strategy.model.network import is_scored

_ROWS_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a dataset, as views on its arrays.

    Attributes:
        features: Shape (windows, 240, symbols, 30); window i ends with row i + 239.
        usable: Shape (windows, 240, symbols).
        returns: Shape (minutes, symbols).
    """

    features: Tensor
    usable: Tensor
    returns: Tensor

    def take(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (B, 240, S, 30), usable (B, 240, S) and returns (B, S) of these rows."""
        starts = torch.from_numpy(rows - (WINDOW - 1))
        return self.features[starts], self.usable[starts], self.returns[torch.from_numpy(rows)]

    def rankable(self, rows: npt.NDArray[np.int64]) -> int:
        """Return how many of these rows have enough symbols, scored and with a return, to rank."""
        count = 0
        for some in torch.split(torch.from_numpy(rows), _ROWS_AT_A_TIME):
            known = is_scored(self.usable[some - (WINDOW - 1)]) & torch.isfinite(self.returns[some])
            count += int((known.sum(dim=1) >= MIN_SYMBOLS).sum())
        return count


def windows_of(dataset: Dataset) -> Windows:
    """Return a dataset's windows."""
    return Windows(
        _sliding(torch.from_numpy(dataset.features)),
        _sliding(torch.from_numpy(dataset.usable)),
        torch.from_numpy(dataset.returns),
    )


def _sliding(rows: Tensor) -> Tensor:
    count = len(rows) - WINDOW + 1
    return rows.as_strided((count, WINDOW, *rows.shape[1:]), (rows.stride(0), *rows.stride()))


class Decisions(TorchDataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches of decisions, each made when its rows are asked for."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        return self._windows.take(rows)


class Batches(Sampler[npt.NDArray[np.int64]]):
    """Which rows make which batch."""

    def __init__(self, rows: Callable[[], npt.NDArray[np.int64]], size: int, count: int) -> None:
        """Prepare.

        Args:
            rows: Asked for at the beginning of every epoch.
            size: Decisions in a batch.
            count: Batches of every epoch; what is left of its rows is left out.
        """
        self._rows, self._size, self._count = rows, size, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        rows, size = self._rows(), self._size
        yield from (rows[i * size : (i + 1) * size] for i in range(self._count))
