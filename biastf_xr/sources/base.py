"""The contract of a satellite product: what it declares, and what every product shares."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from biastf_xr._days import middle_of
from biastf_xr._outside import without_secrets
from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources._archives import with_members
from biastf_xr.sources._files import bit, join_layers, lacking, open_layer, read_day
from biastf_xr.sources._folders import LayerFile, parts_of, walk
from biastf_xr.sources._rasters import Readable
from biastf_xr.sources._stated import OWN_MASK, open_mask, own_masks, stated_of

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    import xarray as xr

    from biastf_xr.sources._folders import Part
    from biastf_xr.sources._stated import StatedBand


NO_DAY = np.datetime64("NaT", "D")


@dataclass(frozen=True)
class Scene:
    """One acquisition as it lies in an archive.

    Attributes
    ----------
    id : str
        Name of the scene in the archive, with its processing stamp where the archive has one.
    date : numpy.datetime64
        UTC day of acquisition, of a composite the middle of its days; NaT where it cannot be read.
    files : mapping of str to pathlib.Path or str
        Path or URL of every layer (bands and quality layers).
    key : str
        Name of the acquisition, the same however often it is processed; `id` if empty.
    version : str
        Processing stamp; of two scenes with one key the greater string is the newer.
    problem : str
        Why the scene cannot be used: what, expected, what to do.  Empty if nothing is wrong.
    """

    id: str
    date: np.datetime64
    files: Mapping[str, Path | str]
    key: str = ""
    version: str = ""
    problem: str = ""

    def __repr__(self) -> str:
        """Show it without what signs its URLs."""
        return without_secrets(
            f"Scene({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
        )

    @property
    def acquisition(self) -> str:
        """Return the name that all processings of this acquisition share."""
        return self.key or self.id


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the numbers in the files mean reflectance: ``number * factor + offset``.

    Attributes
    ----------
    factor, offset : float
        Scale and offset.
    fill : tuple of float
        Numbers that stand for a missing pixel; NaN and infinity always do.
    low, high : float
        Range of usable numbers, ends included.
    """

    factor: float = 1.0
    offset: float = 0.0
    fill: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf

    def agreed(self, said: StatedBand, path: Path | str) -> Encoding:
        """Return the encoding with the fill that a file states besides.

        Parameters
        ----------
        said : StatedBand
            What the file says of the band; its scale counts where the encoding has none.
        path : pathlib.Path or str
            The file.

        Returns
        -------
        Encoding
            What the numbers of this file mean.

        Raises
        ------
        SceneError
            If the file states another scale.
        """
        known, stated = (self.factor, self.offset), (said.scale, said.offset)
        encoding = dataclasses.replace(self, fill=(*self.fill, *said.fill))
        # Some files state the inverse of the scale.
        inverse = (1 / self.factor, self.offset)
        if not said.scaled or any(np.allclose(stated, k, 1e-4, 1e-9) for k in (known, inverse)):
            return encoding
        if known == (1.0, 0.0):
            return dataclasses.replace(encoding, factor=said.scale, offset=said.offset)
        raise SceneError(
            f"{path} says scale {said.scale:g} and offset {said.offset:g} of band {said.number}, "
            f"which contradicts factor = {self.factor:g}, offset = {self.offset:g}. Correct these, "
            "or leave them out, if they are options; else download the file again."
        )

    def decode(self, numbers: xr.DataArray, usable: Any = True) -> xr.DataArray:  # noqa: FBT002
        """Turn numbers into reflectance.

        Parameters
        ----------
        numbers : xarray.DataArray
            As they stand in the file.
        usable : xarray.DataArray of bool, optional
            Where they may be used; by default everywhere.

        Returns
        -------
        xarray.DataArray
            Float32, NaN where missing.
        """
        if numbers.dtype.kind == "f":
            usable = usable & np.isfinite(numbers)
        for value in self.fill:
            usable = usable & (numbers != value)
        if np.isfinite(self.low):
            usable = usable & (numbers >= self.low)
        if np.isfinite(self.high):
            usable = usable & (numbers <= self.high)
        reflectance = numbers.astype("float32") * np.float32(self.factor) + np.float32(self.offset)
        return reflectance.where(usable)


@dataclass(frozen=True, kw_only=True)
class SharedProductOptions:
    """Options that several products share; each has those that it names as fields.

    Attributes
    ----------
    allow : tuple of str
        What may be opened besides the formats of the product and the schemes ``https`` and ``s3``:
        drivers of GDAL, as "VRT", and the schemes "http", "ftp", "gs", "az", "oss", or "file" for
        files outside of the folder of a catalogue.  A VRT, or whatever else describes other data,
        reads any file and asks for any URL that the job can reach.
    mask_cirrus, mask_snow, mask_adjacent, mask_aerosol : bool
        Whether pixels under cirrus, under snow, next to a cloud or its shadow, or under heavy
        aerosol are masked too.
    max_view_zenith : float
        Largest view zenith angle in degrees; pixels seen further from the side are masked where the
        angle is known.
    platform : str
        Which satellite to take.
    quality : {"magnitude", "full"}
        Worst inversion to take.  Magnitude inversions, from few observations, are noisier but are
        what there is in cloudy weeks.
    """

    allow: tuple[str, ...] = ()
    mask_cirrus: bool = False
    mask_snow: bool = False
    mask_adjacent: bool = False
    mask_aerosol: bool = False
    max_view_zenith: float = 90.0
    platform: str = "both"
    quality: str = "magnitude"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Files of a form, or of a product, that is not read.

    Attributes
    ----------
    pattern : re.Pattern
        What they are called.  Its group ``id``, if it has one, is what files of one scene share,
        its group ``date`` when that was.
    example : str
        The name of one.
    why : str
        What they are, what is expected, and what to do; names of groups in braces.
    key : str
        `Scene.key` of the scene that has the same content in a form that is read.
    """

    pattern: re.Pattern[str]
    example: str
    why: str
    key: str = "{id}"


@dataclass(frozen=True, kw_only=True)
class Product:
    """A satellite product: finds scenes, opens them lazily in native units, knows its masks.

    A product is a frozen dataclass derived from this class, with its options as fields that its
    docstring describes, and a line in `biastf_xr.sources.PRODUCTS`; a package of yours adds one by
    the entry point ``biastf_xr.products``.  What is declared here serves messages, help texts,
    `init`, `doctor` and the reference; the methods read files of one layer each, and are replaced
    where a product comes in another form.

    Attributes
    ----------
    name : str
        Name used in configuration files, and in the record of a cube.
    title : str
        What people call it, for messages.
    expects : str
        What its files are called, with an example; for messages.
    kind : {"fine", "coarse", ""}
        Kind of cube that `biastf-xr init` recognises it for by the names of its files.
    formats : tuple of str
        The only drivers of GDAL that may open its files; granules in HDF4 and HDF5 are read
        without GDAL.
    beside : bool
        Whether what lies beside a raster is part of it: ``.aux.xml``, ``.msk``, ``.tfw``, ``.hdr``.
    allow : tuple of str
        The option that all products share: what may be opened besides; see `Readable`.
    required : str
        Lines of TOML with the options that have no default, for `biastf-xr init`.
    tables : mapping of str to type
        Dataclass of every option that is a table of its own.
    patterns : tuple of re.Pattern
        What its files are called, with the group ``date`` (YYYYDDD or YYYYMMDD), and ``id`` of the
        scene and ``layer``, or what `scene_id` and `layer_of` make of others.  A name is that of
        the first pattern that matches.
    refused : tuple of Refused
        Files of other forms, named so that they are not overlooked.
    layer_names : mapping of str to str
        Name of every layer by what a file name calls it, in any case.
    needed : tuple of str
        Layers without which a scene cannot be used.
    asset_keys : mapping of str to tuple of str
        Keys of a layer among the assets of a STAC item whose files have names of their own, the
        first that is there counts.
    flags : mapping of str to mapping
        Bits that rule a pixel out, by quality layer and by the option that says so ("always": no
        option); 0 is the least significant.
    encoding : Encoding
        What the numbers of the bands mean.
    wavelengths : mapping of str to float
        Centre of the bands in micrometres, for catalogues.
    bands : tuple of str
        Bands it can deliver, by colour.
    span : tuple of int
        First and last day that an image stands for, counted from the day in its name: ``(0, 0)``
        for one acquisition, ``(0, 15)`` for a composite of 16 days named by the first.
    extras : mapping of str to dict
        Further uint8 layers kept in the cube, by name, with their CF attributes.  Each has
        ``_fill`` (its value where nothing is known) besides.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    expects: ClassVar[str]
    kind: ClassVar[Literal["fine", "coarse", ""]] = ""
    formats: ClassVar[tuple[str, ...]] = ("GTiff",)
    beside: ClassVar[bool] = False
    required: ClassVar[str] = ""
    tables: ClassVar[Mapping[str, type]] = {}
    patterns: ClassVar[tuple[re.Pattern[str], ...]] = ()
    refused: ClassVar[tuple[Refused, ...]] = ()
    layer_names: ClassVar[Mapping[str, str]] = {}
    needed: ClassVar[tuple[str, ...]] = ()
    asset_keys: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    flags: ClassVar[Mapping[str, Mapping[str, Iterable[int]]]] = {}
    encoding: ClassVar[Encoding] = Encoding()
    wavelengths: ClassVar[Mapping[str, float]] = {}
    # No part of what the numbers mean: products are the same, whatever they may open.
    allow: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def readable(self) -> Readable:
        """Return what may be opened."""
        return Readable(self.formats, self.beside).with_more(self.allow)

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return ("blue", "green", "red", "nir", "swir1", "swir2")

    @property
    def span(self) -> tuple[int, int]:
        """Return the first and last day of an image, counted from the day in its name."""
        return 0, 0

    @property
    def extras(self) -> Mapping[str, dict[str, Any]]:
        """Return the further layers, by name."""
        return {}

    @property
    def gdal_options(self) -> Mapping[str, str]:
        """Return the options of GDAL that its files are read with."""
        return {}

    @property
    def record(self) -> str:
        """Return the name and the options that are not defaults, for the record of a cube.

        Options that a later version adds do not change it.
        """
        options = [o for o in dataclasses.fields(self) if o.compare]
        given = {o.name: getattr(self, o.name) for o in options}
        changed = [f", {o.name}={given[o.name]!r}" for o in options if given[o.name] != o.default]
        return self.name + "".join(changed)

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder.

        Unusable scenes are listed too, with their `Scene.problem`.  Scenes of one day are listed
        in the order in which a mosaic takes them: a pixel comes from the first that is clear.

        Parameters
        ----------
        folder : pathlib.Path or str
            Searched with its subfolders; a str is the URL of a catalogue.

        Returns
        -------
        list of Scene
            Scenes in order of date.
        """
        files, lost = self.look(folder)
        unread: dict[Path, str] = {}
        found = self.scenes_of(with_members(files, self.readable, unread))
        return [*self.choose(found, folder), *lost, *_lost(unread, Path(folder))]

    def scenes_of(self, files: Iterable[tuple[str, Path | str]]) -> list[Scene]:
        """Group files into scenes by their names.

        Parameters
        ----------
        files : iterable of (str, pathlib.Path or str)
            Name of every file, and where it is.

        Returns
        -------
        list of Scene
            All of them, also unusable ones.
        """
        found: dict[str, list[LayerFile]] = defaultdict(list)
        others: dict[str, Scene] = {}
        for text, file in files:
            name = self.match(text)
            if name is None:
                others |= {scene.id: scene for scene in self.refuse(text)}
            elif layer := self.layer_of(name):
                found[self.scene_id(name)].append(LayerFile(layer, name, file))
        scenes = (self._described(part) for one in found.values() for part in parts_of(one))
        return [*scenes, *others.values()]

    def _described(self, part: Part) -> Scene:
        """Describe a scene; of several with one name, all but the first are called by a folder."""
        names = {one.layer: one.name for one in part.files}
        scene = self.describe(names, {one.layer: one.file for one in part.files})
        ending = f" in {part.place}" if part.place else ""
        return dataclasses.replace(
            scene,
            id=scene.id + ending,
            key=scene.acquisition + ending,
            problem=scene.problem or part.problem,
        )

    def refuse(self, name: str) -> list[Scene]:
        """Describe a file that is not read.

        Parameters
        ----------
        name : str
            Without folders.

        Returns
        -------
        list of Scene
            One without files, with what is wrong; none if `refused` does not tell.
        """
        for form in self.refused:
            if match := form.pattern.match(name):
                groups = {"id": name, **match.groupdict()}
                day = read_day(groups["date"])[0] if groups.get("date") else NO_DAY
                key, why = form.key.format(**groups), form.why.format(**groups)
                return [Scene(groups["id"], day, {}, key, problem=why)]
        return []

    def match(self, name: str) -> re.Match[str] | None:
        """Return what the first of `patterns` that fits makes of a file name.

        Parameters
        ----------
        name : str
            Without folders.

        Returns
        -------
        re.Match or None
            None for a file of something else.
        """
        return next(filter(None, (pattern.match(name) for pattern in self.patterns)), None)

    def choose(self, scenes: Iterable[Scene], folder: Path | str) -> list[Scene]:
        """Take the scenes that the options ask for.

        Parameters
        ----------
        scenes : iterable of Scene
            As they were found.
        folder : pathlib.Path or str
            Where they were found, for messages.

        Returns
        -------
        list of Scene
            In order, without those of another form that are there in one that is read.
        """
        found = self.in_order(scenes)
        read = {scene.acquisition for scene in found if scene.files}
        read |= {scene.id for scene in found if scene.files}
        return [scene for scene in found if scene.files or scene.acquisition not in read]

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, every layer in its native units; pixels are read when indexed.

        Parameters
        ----------
        scene : Scene
            As from `find_scenes`.

        Returns
        -------
        xarray.Dataset
            Dims ``(y, x)``, one variable per layer, CRS in ``spatial_ref``.  Without Dask:
            ``raw.isel(y=..., x=...).load()`` reads just that window.
        """
        layers, encodings = {}, {}
        for name, path in scene.files.items():
            layer = open_layer(path, self.readable).isel(band=0, drop=True)
            said = stated_of(path, layer, self.readable)
            layers[name] = layer
            if name in self.bands:
                encodings[name] = self.encoding.agreed(said, path)
            if said.masked:
                layers[f"{OWN_MASK} {name}"] = open_mask(path, said.number, layer, self.readable)
        return self.join(scene.id, layers).assign_attrs(encodings=encodings)

    def join(self, scene_id: str, layers: Mapping[str, xr.DataArray]) -> xr.Dataset:
        """Put the layers of a scene into one Dataset.

        Parameters
        ----------
        scene_id : str
            For messages.
        layers : mapping of str to xarray.DataArray
            As opened.

        Returns
        -------
        xarray.Dataset
            On one grid.
        """
        return join_layers(scene_id, layers)

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask an opened scene, or a window of one.

        Parameters
        ----------
        raw : xarray.Dataset
            As from `open_scene`, in memory or with Dask arrays.

        Returns
        -------
        xarray.Dataset
            Bands as float32 reflectance, NaN where missing, clouded or shadowed; extras as uint8.
        """
        import xarray as xr

        usable, encodings = self.usable(raw), raw.attrs.get("encodings", {})
        own = own_masks(raw)
        return xr.Dataset(
            {
                band: encodings.get(band, self.encoding).decode(raw[band], usable[band] & own)
                for band in self.bands
            }
        )

    def look(self, folder: Path | str) -> tuple[list[Path], list[Scene]]:
        """List what lies under a folder, by name, also behind symbolic links.

        Parameters
        ----------
        folder : pathlib.Path or str
            Searched with its subfolders.

        Returns
        -------
        files : list of pathlib.Path
            Files and folders.
        lost : list of Scene
            What cannot be reached, links that lead nowhere among them, each with its problem.

        Raises
        ------
        SceneError
            If it is not a folder.
        """
        root = Path(folder)
        if not root.is_dir():
            raise SceneError(f"{folder} is not a folder; expected one with {self.title} scenes.")
        files, lost = walk(root)
        return files, _lost(lost, root)

    def scene_id(self, name: re.Match[str]) -> str:
        """Return the scene that a file is of.

        Parameters
        ----------
        name : re.Match
            A file name, matched by one of `patterns`.

        Returns
        -------
        str
            The group ``id``.
        """
        return name["id"]

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer that a file holds.

        Parameters
        ----------
        name : re.Match
            A file name, matched by one of `patterns`.

        Returns
        -------
        str
            Of `layer_names`; empty for one that is not used.
        """
        found = (
            own for text, own in self.layer_names.items() if text.lower() == name["layer"].lower()
        )
        return next(found, "")

    def keys_of(self, names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the keys of the layers among the assets of one STAC item.

        Parameters
        ----------
        names : iterable of str
            What the item is called: its id, its collection, the addresses of its assets.

        Returns
        -------
        mapping of str to tuple of str
            As `asset_keys`, which it is unless they differ from item to item.

        Raises
        ------
        SceneError
            If the names do not tell.
        """
        return self.asset_keys

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its files.

        Parameters
        ----------
        names : mapping of str to re.Match
            Matched name of every layer's file.
        files : mapping of str to pathlib.Path or str
            The files.

        Returns
        -------
        Scene
            With its problem, if it has one.
        """
        name = next(iter(names.values()))
        date, problem = self.read_day(name["date"])
        scene = self.scene_id(name)
        return Scene(scene, date, files, problem=problem or lacking(files, self.needed))

    def read_day(self, text: str) -> tuple[np.datetime64, str]:
        """Read the day in a name, as the day that its image is labelled with.

        Parameters
        ----------
        text : str
            YYYYDDD, YYYYMMDD or Y-M-D.

        Returns
        -------
        day : numpy.datetime64
            The middle of `span`, of an even number of days the first after it, as MCD43A4 has it;
            NaT if it cannot be read.
        problem : str
            Why it cannot be read.
        """
        day, problem = read_day(text)
        return day + middle_of(self.span), problem

    def rank(self, scene: Scene) -> tuple[Any, ...]:
        """Return where a scene comes among those of its day.

        Parameters
        ----------
        scene : Scene
            The scene.

        Returns
        -------
        tuple
            A key to sort by: the id.
        """
        return (scene.id,)

    def in_order(self, scenes: Iterable[Scene]) -> list[Scene]:
        """Sort scenes by date and `rank`; those without a date come last.

        Parameters
        ----------
        scenes : iterable of Scene
            Any order.

        Returns
        -------
        list of Scene
            In order.
        """
        return sorted(scenes, key=lambda s: (np.isnat(s.date), s.date, self.rank(s)))

    def usable(self, raw: xr.Dataset) -> Mapping[str, Any]:
        """Return where the numbers of each band may be used.

        Parameters
        ----------
        raw : xarray.Dataset
            As of `to_reflectance`.

        Returns
        -------
        mapping of str to xarray.DataArray of bool
            By band: where no bit of `flags` is set.
        """
        clear: Any = True
        for layer, by_option in self.flags_of(raw).items():
            bits = [b for option, positions in by_option.items()
                    if option == "always" or getattr(self, option) for b in positions]  # fmt: skip
            if bits:
                clear = clear & ~bit(raw[layer], *bits)
        return dict.fromkeys(self.bands, clear)

    def blanks(self, raw: xr.Dataset) -> tuple[float, ...]:
        """Return reflectance that no measured pixel has in every band at once.

        Parameters
        ----------
        raw : xarray.Dataset
            As of `to_reflectance`.

        Returns
        -------
        tuple of float
            What fill that is not declared would become, where that is within the usable range.
        """
        return ()

    def flags_of(self, raw: xr.Dataset) -> Mapping[str, Mapping[str, Iterable[int]]]:
        """Return the bits that rule a pixel of a scene out.

        Parameters
        ----------
        raw : xarray.Dataset
            As of `to_reflectance`.

        Returns
        -------
        mapping of str to mapping
            As `flags`, which it is unless the meaning of the bits differs from scene to scene.
        """
        return self.flags

    def check_choice(self, option: str, choices: tuple[Any, ...]) -> None:
        """Refuse a value that an option does not have.

        Parameters
        ----------
        option : str
            The option.
        choices : tuple
            Its values.

        Raises
        ------
        ConfigError
            If the value is another one.
        """
        value = getattr(self, option)
        if value not in choices:
            raise ConfigError(f"{option} is {value!r}; expected one of {choices}.")


def _lost(why: Mapping[Path, str], root: Path) -> list[Scene]:
    """Describe what cannot be read at all, by its path below the folder."""
    return [Scene(str(p.relative_to(root)), NO_DAY, {}, problem=text) for p, text in why.items()]
