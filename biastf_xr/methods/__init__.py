"""Fusion methods: one contract (`base`), one class per method, and their names."""

from __future__ import annotations

import reprlib
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._registry import with_installed
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import CheckpointError, MethodError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from biastf_xr.brackets import BracketRule
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.methods.base import Method

# Module and class of every method; it is imported, and its kernels are loaded, when it is first
# asked for.  Packages add theirs by entry points.
UNTRAINED = with_installed(
    "methods",
    {
        "nearest": "biastf_xr.methods.interpolation:Nearest",
        "linear": "biastf_xr.methods.interpolation:Linear",
        "direct": "biastf_xr.methods.interpolation:Direct",
        "efast": "biastf_xr.methods.efast:EFAST",
        "fitfc": "biastf_xr.methods.fitfc:FitFC",
        "starfm": "biastf_xr.methods.starfm:STARFM",
        "estarfm": "biastf_xr.methods.estarfm:ESTARFM",
        "fsdaf": "biastf_xr.methods.fsdaf:FSDAF",
    },
)
LEARNED = with_installed(
    "learned_methods",
    {
        "biastf-plus": "biastf_xr.methods.plus:Plus",
        "biastf": "biastf_xr.methods.biastf:BiaSTF",
        "stfdcnn": "biastf_xr.methods.stfdcnn:STFDCNN",
    },
)
METHODS = (*UNTRAINED, *LEARNED)

# What every door takes where no method is named.
DEFAULT_METHOD = "biastf-plus"

# What every score stands beside.
BASELINES = ("nearest", "linear", "direct")

# Names that a variant of BiaSTF had once.
_VARIANTS = {"paper": "biastf", "plus": "biastf-plus"}


def method_class(name: str) -> Any:
    """Return the class of a method.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    type
        A subclass of `biastf_xr.methods.base.Method`; of a learned one, of `LearnedMethod`.

    Raises
    ------
    MethodError
        If the name is unknown.
    """
    target = (UNTRAINED | LEARNED).get(name)
    if target is None:
        raise MethodError(f"unknown method {name!r}; expected one of {list(METHODS)}.")
    return resolve_name(target)


def check_options(name: str, options: Mapping[str, Any]) -> Any:
    """Check the options of a method: of a learned one, those of its fit.

    Parameters
    ----------
    name : str
        Name of the method.
    options : dict
        By name; tables as dicts.

    Returns
    -------
    object
        The method, or the options of the fit as `LearnedMethod.fit` takes them.

    Raises
    ------
    MethodError
        If the method or an option is unknown, or a value is not usable.
    """
    from biastf_xr.methods._options import build

    try:
        return build(_schema(name), options, f"method {name!r}")
    except TypeError as error:
        raise MethodError(f"method {name!r}: {error}.") from error
    except MethodError as error:
        others = _others_with(name, options)
        if not others:
            raise
        raise MethodError(f"{error} Methods that have it: {', '.join(others)}.") from None


def current_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a method with those of an earlier name under their new one.

    Parameters
    ----------
    name : str
        Name of the method.
    options : dict
        By name.

    Returns
    -------
    dict
        By name; a warning names every one that has a new one.
    """
    from biastf_xr.methods._options import with_new_names

    return with_new_names(_schema(name), options, f"method {name!r}")


def _schema(name: str) -> Any:
    """Return the dataclass of a method's options: of a learned one, those of its fit."""
    kind = method_class(name)
    return kind.options if name in LEARNED else kind


def _others_with(name: str, options: Mapping[str, Any]) -> list[str]:
    """List the methods that have those of the options that a method has not."""

    def top(method: str) -> set[str]:
        return {key.partition(".")[0] for key in option_names(method)}

    foreign = set(options) - top(name) - {"preset"}
    return [other for other in METHODS if foreign and other != name and foreign <= top(other)]


def option_names(name: str) -> list[str]:
    """Return the options of a method: of a learned one, those of its fit.

    Parameters
    ----------
    name : str
        Name of the method.

    Returns
    -------
    list of str
        Their names; those in tables as "train.epochs".
    """
    from biastf_xr.methods._options import option_keys

    return option_keys(_schema(name))


def get_method(method: str | Method, **options: Any) -> Method:
    """Return a method that can fuse.

    Parameters
    ----------
    method : str or Method
        Name of a method that needs no training, or a fitted method, which is returned as it is.
    **options
        Options of a method given by name; `preset` names a set of them.

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
    built: Method = check_options(method, options)
    return built


def ready_method(
    method: str | Method, pair: CubePair, base_rule: BracketRule | None, options: Mapping[str, Any]
) -> Method:
    """Return a method that can fuse two cubes; one whose fit takes seconds is fitted on them.

    Parameters
    ----------
    method : str or Method
        Name of a method, or a method.
    pair : CubePair
        The cubes, without the scenes that are withheld.
    base_rule : BracketRule, optional
        Which scenes are clear enough to learn from.
    options : dict
        Options of a method given by name.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    MethodError
        If the method's fit takes long, or as `get_method`.
    """
    if isinstance(method, str) and method in LEARNED and method_class(method).at_once:
        return _fit(pair, method, options, base_rule=base_rule)
    return get_method(method, **options)


def fit(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    method: str = DEFAULT_METHOD,
    *,
    path: str | Path | None = None,
    base_rule: BracketRule | None = None,
    client: Any = None,
    progress: Any = None,
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
    path : str or pathlib.Path, optional
        Where to write the model; by default a temporary folder of this process, so save it to keep
        it.
    base_rule : BracketRule, optional
        Which scenes are clear enough to learn from.
    client : distributed.Client, optional
        Dask client on whose workers the networks are fitted, one task each; by default threads of
        this process fit them.  The result has the same bytes.
    progress : callable, optional
        Called with a note, how much is done, and of how much.
    **options
        Options of the method, as in the table `options` of `[method]`.

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
    if "variant" in options:
        name = _VARIANTS.get(str(options["variant"]))
        described = (
            f"fit(fine, coarse, {name!r})" if name else f"one of {list(LEARNED)} as `method`"
        )
        raise MethodError(f"fit has no `variant`; name the method: {described}.")
    pair = pair_cubes(fine, coarse)
    if method not in LEARNED:
        return get_method(method, **options)
    return _fit(
        pair, method, options, path=path, base_rule=base_rule, client=client, progress=progress
    )


@np.errstate(under="ignore")
def _fit(pair: CubePair, name: str, options: Mapping[str, Any], **running: Any) -> Method:
    from biastf_xr.methods.base import FitRun

    run = FitRun(**{key: value for key, value in running.items() if value is not None})
    fitted: Method = method_class(name).fit(pair, check_options(name, options), run)
    return fitted


def load_method(path: str | Path, **options: Any) -> Method:
    """Load a fitted method from its checkpoint.

    Parameters
    ----------
    path : str or pathlib.Path
        The checkpoint.
    **options
        Options of predicting to change, for instance ``device="cuda"``.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or from a newer version.
    MethodError
        If an option is not one of the method's.
    """
    method: Method = method_class(name_of_model(path)).load(path, **options)
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
    from biastf_xr.methods._learning.files import read_fields

    name = str(read_fields(Path(path)).get("method", "biastf"))
    if name not in LEARNED:
        raise CheckpointError(
            f"{path} is a model of {reprlib.repr(name)}; this version knows {list(LEARNED)}. "
            "Update biastf_xr, or install the package that adds the method."
        )
    return name
