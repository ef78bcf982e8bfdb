"""Fusion methods: one contract (`base`), one module per method, and their names."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import CheckpointError, MethodError

if TYPE_CHECKING:
    import xarray as xr

    from biastf_xr.methods.base import Method

# Where each method lives; it is imported, and its kernels are loaded, when it is first asked for.
UNTRAINED = {
    "nearest": "interpolation:Nearest",
    "linear": "interpolation:Linear",
    "direct": "interpolation:Direct",
    "efast": "efast:EFAST",
    "fitfc": "fitfc:FitFC",
    "starfm": "starfm:STARFM",
    "estarfm": "estarfm:ESTARFM",
    "fsdaf": "fsdaf:FSDAF",
}
# Of each learned method its module, its class and what fits it.
LEARNED = {
    "biastf-plus": ("plus._fit", "Plus", "fit_plus"),
    "biastf": ("biastf._method", "BiaSTF", "fit_biastf"),
    "stfdcnn": ("stfdcnn._method", "STFDCNN", "fit_stfdcnn"),
}
METHODS = (*UNTRAINED, *LEARNED)

# The two variants of BiaSTF: networks as in the paper, and what the accuracy laboratory chose.
VARIANTS = {"paper": "biastf", "plus": "biastf-plus"}

# What every score stands beside.
BASELINES = ("nearest", "linear", "direct")


def get_method(method: str | Method, **options: Any) -> Method:
    """Return a method that can fuse.

    Parameters
    ----------
    method : str or Method
        Name of a method that needs no training, or a fitted method, which is returned as it is.
    **options
        Options of a method given by name.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    MethodError
        If the name is unknown, belongs to a learned method, or an option is not one of its.
    """
    if not isinstance(method, str):
        if options:
            raise MethodError(f"options {sorted(options)} are given with a method already built.")
        return method
    if method in LEARNED:
        raise MethodError(
            f"{method!r} must be fitted before it can fuse: model = biastf_xr.fit(fine, coarse, "
            f"method={method!r}); biastf_xr.fuse(fine, coarse, method=model). A saved one loads "
            "with biastf_xr.load_method(path)."
        )
    if method not in UNTRAINED:
        raise MethodError(f"unknown method {method!r}; expected one of {list(METHODS)}.")
    module, name = UNTRAINED[method].split(":")
    kind = getattr(import_module(f"biastf_xr.methods.{module}"), name)
    own = {f.name for f in dataclasses.fields(kind) if not f.metadata.get("bound")} - {"name"}
    unknown = sorted(set(options) - own)
    if unknown:
        known = f"; it knows {sorted(own)}" if own else "; it has none"
        raise MethodError(f"method {method!r} has no option {', '.join(unknown)}{known}.")
    try:
        built: Method = kind(**options)
    except TypeError as error:
        raise MethodError(f"method {method!r}: {error}.") from error
    return built


def fit(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    method: str = "biastf-plus",
    *,
    variant: str | None = None,
    client: Any = None,
    **options: Any,
) -> Method:
    """Fit a method on the clear dates of two cubes.

    Eager.  Dates to be predicted for a score must not be in `fine`: ``fine.drop_sel(time=...)``.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        The cubes, as from `open_cube`.
    method : str
        Name of the method; those that need no training are just built.
    variant : {"paper", "plus"}, optional
        Of "biastf": "plus" is the method "biastf-plus".
    client : distributed.Client, optional
        Dask client on whose workers the networks are fitted, one task each; by default threads of
        this process fit them.  The result has the same bytes.
    **options
        Options of the method; see `biastf_xr.methods.plus._fit.fit_plus`,
        `biastf_xr.methods.biastf._method.fit_biastf` and
        `biastf_xr.methods.stfdcnn._method.fit_stfdcnn`.

    Returns
    -------
    Method
        The fitted method; learned ones have ``save(path)`` and load with `load_method`.

    Raises
    ------
    MethodError
        If the method or an option is unknown.
    MissingPairError
        If there are too few clear dates to learn from.

    Examples
    --------
    >>> import biastf_xr
    >>> fine, coarse = biastf_xr.open_cube("fine.zarr"), biastf_xr.open_cube("coarse.zarr")
    >>> model = biastf_xr.fit(fine[["nir"]], coarse[["nir"]]).save("model.safetensors")
    >>> model.card.bands
    ('nir',)
    """
    pair = pair_cubes(fine, coarse)
    if variant is not None:
        method = variant_of(method, variant)
    if method in LEARNED:
        module, _, name = LEARNED[method]
        try:
            fitted: Method = _named(module, name)(pair, **_mapper(method, client), **options)
        except TypeError as error:
            if "unexpected keyword" in str(error):
                other = "; networks are of method 'biastf'" if method == "biastf-plus" else ""
                raise MethodError(f"method {method!r}: {error}{other}.") from error
            raise
        return fitted
    return get_method(method, **options)


def load_method(path: str | Path, **options: Any) -> Method:
    """Load a fitted method from its checkpoint.

    Parameters
    ----------
    path : str or pathlib.Path
        The checkpoint.
    **options
        Settings to change, for instance ``device="cuda"``.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or from a newer version.
    """
    module, kind, _ = LEARNED[name_of_model(path)]
    method: Method = _named(module, kind).load(path, **options)
    return method


def name_of_model(path: str | Path) -> str:
    """Return which method a checkpoint is a model of.

    Parameters
    ----------
    path : str or pathlib.Path
        The checkpoint.

    Returns
    -------
    str
        Name of the method.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of a method that this version does not know.
    """
    from biastf_xr.methods.biastf._checkpoint import read_fields

    name = str(read_fields(Path(path)).get("method", "biastf"))
    if name not in LEARNED:
        raise CheckpointError(
            f"{path} is a model of {name!r}; this version knows {list(LEARNED)}. Update biastf_xr."
        )
    return name


def variant_of(method: str, variant: str) -> str:
    """Return the name of a variant of BiaSTF.

    Parameters
    ----------
    method : str
        "biastf", or the variant's own name.
    variant : str
        One of `VARIANTS`.

    Returns
    -------
    str
        The name.

    Raises
    ------
    MethodError
        If the method has no variants, or not this one.
    """
    if variant not in VARIANTS:
        raise MethodError(f"variant is {variant!r}; expected one of {list(VARIANTS)}.")
    if method not in VARIANTS.values():
        raise MethodError(f"method {method!r} has no variants; only 'biastf' has.")
    return VARIANTS[variant]


def _named(module: str, name: str) -> Any:
    return getattr(import_module(f"biastf_xr.methods.{module}"), name)


def _mapper(method: str, client: Any) -> dict[str, Any]:
    """Return the option that makes the workers of a client fit."""
    if client is None or method == "biastf-plus":  # no network, nothing to share out
        return {}
    from biastf_xr.methods.training._crew import on_client

    return {"mapper": on_client(client)}
