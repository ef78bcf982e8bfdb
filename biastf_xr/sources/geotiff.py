"""Any folder of GeoTIFFs with a date in the file name: the escape hatch for everything else."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources.base import (
    Scene,
    in_order,
    julian_day,
    open_layer,
    require_folder,
    scale,
    unreadable_date,
)

if TYPE_CHECKING:
    from pathlib import Path

    from affine import Affine

DATE_CODES = {"%Y": r"(?P<Y>\d{4})", "%m": r"(?P<m>\d{1,2})", "%d": r"(?P<d>\d{1,2})",
              "%j": r"(?P<j>\d{3})"}  # fmt: skip


@dataclass(frozen=True)
class StatedGrid:
    """The grid of files that carry none.

    Attributes
    ----------
    crs : str
        Coordinate reference system, for instance "EPSG:32613".
    resolution : float
        Pixel size in units of the CRS.
    origin : tuple of float
        x and y of the outer corner of the upper left pixel.
    """

    crs: str
    resolution: float
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        from odc.geo import CRS, CRSError

        try:
            CRS(self.crs)
        except CRSError as error:
            raise ConfigError(f"grid: {self.crs!r} is not a CRS, as EPSG:32613 is.") from error
        if not self.resolution > 0 or len(self.origin) != 2:
            raise ConfigError(
                f"grid: resolution is {self.resolution}, origin {self.origin}; expected a positive "
                "pixel size and [x, y] of the upper left corner."
            )

    @property
    def transform(self) -> Affine:
        """Give the pixel-to-CRS transform, north up."""
        from affine import Affine

        x, y = self.origin
        return Affine(self.resolution, 0.0, x, 0.0, -self.resolution, y)


@dataclass(frozen=True, kw_only=True)
class GeotiffFolder:
    """GeoTIFFs, one per date, with the bands inside.

    Attributes
    ----------
    layers : tuple of str
        Band names in the order of the file.
    pattern : str
        File name with ``%Y``, ``%m``, ``%d`` or ``%j`` for the date and ``*`` for anything else.
    factor, offset : float
        ``reflectance = value * factor + offset``.
    nodata : float, optional
        Value of missing pixels.  NaN always is missing; the file's own nodata tag is honoured too.
    valid_min, valid_max : float
        Range of usable values, before scaling.
    grid : StatedGrid, optional
        The grid of files that carry none.
    """

    name: ClassVar[str] = "geotiff"
    expects: ClassVar[str] = "whatever the option `pattern` says"
    layers: tuple[str, ...]
    pattern: str
    factor: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    valid_min: float = -np.inf
    valid_max: float = np.inf
    grid: StatedGrid | None = None

    def __post_init__(self) -> None:
        # Configuration files give lists and tables.
        object.__setattr__(self, "layers", tuple(self.layers))
        if isinstance(self.grid, dict):
            object.__setattr__(self, "grid", StatedGrid(**self.grid))
        _regex(self.pattern)

    @property
    def bands(self) -> tuple[str, ...]:
        """Give the bands, in the order of the file."""
        return tuple(self.layers)

    @property
    def extras(self) -> dict[str, dict[str, Any]]:
        """Give the further layers: none."""
        return {}

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the files that match the pattern, by date; see `Product.find_scenes`.

        Parameters
        ----------
        folder : pathlib.Path or str
            Searched with its subfolders.

        Returns
        -------
        list of Scene
            One per file, in order of date.
        """
        regex = _regex(self.pattern)
        scenes = []
        for path in sorted(require_folder(folder, "GeoTIFF").rglob("*")):
            match = regex.fullmatch(path.name)
            if match:
                date, problem = _date(match)
                name = str(path.relative_to(folder))
                scenes.append(Scene(name, date, {"image": path}, problem=problem))
        return in_order(scenes)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a file lazily, in native units; see `Product.open_scene`.

        Parameters
        ----------
        scene : Scene
            As from `find_scenes`.

        Returns
        -------
        xarray.Dataset
            Dims ``(y, x)``, one variable per band.
        """
        path = scene.files["image"]
        if self.grid is None:
            image = open_layer(path)
        else:
            image = open_layer(path, crs=self.grid.crs, transform=self.grid.transform)
        if image.sizes["band"] != len(self.layers):
            raise SceneError(
                f"{path} has {image.sizes['band']} bands; expected {len(self.layers)} "
                f"({', '.join(self.layers)}). Give `layers` (--bands) in the order of the file."
            )
        tag = image.attrs.get("_FillValue", image.rio.nodata)
        raw = xr.Dataset({b: image.isel(band=i, drop=True) for i, b in enumerate(self.layers)})
        raw.attrs["nodata"] = [v for v in (self.nodata, tag) if v is not None]
        return raw

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask an opened file, lazily; see `Product.to_reflectance`.

        Parameters
        ----------
        raw : xarray.Dataset
            As from `open_scene`.

        Returns
        -------
        xarray.Dataset
            Float32 reflectance, NaN where missing.
        """
        bands = {}
        for band in self.layers:
            dn = raw[band]
            valid = (dn >= self.valid_min) & (dn <= self.valid_max)
            if dn.dtype.kind == "f":
                valid &= np.isfinite(dn)
            for value in raw.attrs["nodata"]:
                valid &= dn != value
            bands[band] = scale(dn, factor=self.factor, offset=self.offset, valid=valid)
        return xr.Dataset(bands)


def _regex(pattern: str) -> re.Pattern[str]:
    """Turn a file-name pattern into a regular expression."""
    parts = re.split(r"(%[a-zA-Z]|\*)", pattern)
    unknown = [p for p in parts if p.startswith("%") and p not in DATE_CODES]
    codes = sorted(p for p in parts if p in DATE_CODES)
    if unknown or codes not in (["%Y", "%d", "%m"], ["%Y", "%j"]):
        raise ConfigError(
            f"pattern {pattern!r} does not say where the date is; expected %Y with %m and %d, or "
            "%Y with %j, for instance L_%Y%m%d.tif."
        )
    return re.compile("".join(DATE_CODES.get(p, ".*" if p == "*" else re.escape(p)) for p in parts))


def _date(match: re.Match[str]) -> tuple[np.datetime64, str]:
    """Give the date in a file name, or why there is none."""
    parts = match.groupdict()
    if "j" in parts:
        return julian_day(parts["Y"] + parts["j"])
    try:
        return np.datetime64(dt.date(int(parts["Y"]), int(parts["m"]), int(parts["d"]))), ""
    except ValueError as error:
        text = "-".join(parts[c] for c in "Ymd")
        return np.datetime64("NaT", "D"), unreadable_date(text, error)
