"""Leave out what screening suspects, without reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from biastf_xr.cube._spec import SUSPECT

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Screened(BackendArray):
    """A band that is missing where it is suspected, read on access."""

    def __init__(self, band: xr.Variable, flags: xr.Variable) -> None:
        self.band, self.flags = band, flags
        self.shape, self.dtype = band.shape, np.dtype(band.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        return without_suspects(self.band[key].values, self.flags[key].values)


def without_suspects(values: Any, flags: Any) -> Any:
    """Return values, NaN where the flags of the same pixels call them suspect.

    `values`: Shape ``(..., y, x)``.
    `flags`: Values of `SCREEN`, of a shape that fits.
    """
    return np.where(flags >= SUSPECT, values.dtype.type(np.nan), values)


def leave_out_suspects(ds: xr.Dataset, bands: Iterable[str]) -> xr.Dataset:
    """Return a cube whose bands are missing where its variable ``screen`` suspects them.

    As lazy as it was; a cube without the variable stays as it is.
    """
    if "screen" not in ds:
        return ds
    flags = ds["screen"].transpose("time", "y", "x").variable
    masked = {}
    for name in bands:
        band: Any = ds[name].transpose("time", "y", "x").variable
        if band.chunks is None and flags.chunks is not None:
            band = band.chunk(flags.chunksizes)
        if band.chunks is not None or band._in_memory:  # noqa: SLF001
            kept = band.where(flags < SUSPECT).astype(band.dtype)
        else:
            kept = xr.Variable(band.dims, indexing.LazilyIndexedArray(_Screened(band, flags)))
        kept.attrs, kept.encoding = band.attrs, band.encoding
        masked[name] = kept
    return ds.assign(masked)
