"""Fit the variant "plus": compare the sensors on known dates, and learn how wrong predictions are.

A few numbers per band; no iteration, and one pass over the fine images of the base dates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._series import fill_in_time, smooth_in_time, support_of, variety
from biastf_xr.errors import MissingPairError
from biastf_xr.grid import Tile, Upsampler, covered_area, split_tiles
from biastf_xr.methods.plus._card import PlusCard, PlusOptions
from biastf_xr.methods.plus._change import (
    change_of,
    look,
    mean_support,
    mixture_of,
    spread_out,
    to_interpolate,
    whole,
)
from biastf_xr.methods.plus._uncertainty import (
    ASSUMED,
    REACH,
    fit_terms,
    local_square,
    sigma_of_terms,
    terms,
)
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Float

# Called with the step, the number of steps done and their number.
FitProgress = Callable[[str, int, int], None]

# Side of the tiles that images are read in.
LOOK = 1024

# Days of the coarse series whose noise is looked at, and how far apart two may be.
NOISE_DAYS, NOISE_GAP = 48, 2

# Classes of variety that noise is estimated in; no band has less than this.
NOISE_CLASSES, LEAST_NOISE = 10, 5e-4

# Noise where the series has no two days so near, and spread where there is one base date.
ASSUMED_NOISE, ASSUMED_SPREAD = 0.01, 0.01

# Response is sought between these; variance that holds it to 1, of reflectance.
RESPONSE_LIMITS, RESPONSE_HOLD = (0.5, 2.0), 1e-5

# Known dates on which errors are looked at, windows of each, and their side in pixels.
CASES, WINDOWS, SIDE = 12, 12, 48

# What a second base date makes of the variance of the error, where no known date tells: the mean of
# two predictions of equal merit.
HALVED = 0.5

# A coarse image serves a known date if it was seen at most so many days away.
COARSE_REACH = 16

# Scaled median of absolute deviations to standard deviation of a normal distribution.
MAD = 1.4826


@dataclass(frozen=True)
class _Known:
    """The dates a fit knows: coarse images, and fine ones as the coarse sensor sees them."""

    pair: CubePair
    days: Any
    images: Any
    support: Any
    seen: dict[Any, Float]
    windows: list[tuple[Tile, Float]]


@dataclass(frozen=True)
class _Drawn:
    """Pixels of a known date.

    `step`: Shape ``(band, n)``: how far the prediction departs from interpolation in time.
    `need`: Same shape: how far the truth does.
    `parts`: Shape ``(3, band, n)``: the terms of the error's variance.
    """

    step: Float
    need: Float
    parts: Float


def learn(
    pair: CubePair, days: Any, options: PlusOptions, progress: FitProgress | None = None
) -> PlusCard:
    """Return what is learned from some days that are clear in both cubes.

    `progress`: Called with a step's name, how many are done and their number.
    """
    if not days.size:
        raise MissingPairError(
            f"the fit needs at least 1 date that is clear in the fine cube and present in the "
            f"coarse one; found none among {pair.fine_days.size} fine dates. Add scenes, lower "
            "min_clear, or fuse with method='direct' or 'linear'."
        )
    say = progress or (lambda *_: None)
    noise, jitter = coarse_noise(pair)
    seen = {}
    for n, day in enumerate(days):
        say("look", n, len(days))
        seen[day] = _seen_on(pair, day, options.footprint)
    observed, _ = _coarse_on(pair, days, None)
    response = _response(observed, [seen[d] for d in days])
    spread = _spread(observed, [seen[d] for d in days], response)
    card = PlusCard(
        bands=pair.bands,
        ratio=pair.alignment.ratio,
        rule=dataclasses.asdict(options),
        response=tuple(map(float, response)),
        spread=tuple(map(float, spread)),
        noise=tuple(map(float, noise)),
        jitter=tuple(map(float, jitter)),
        error={k: (ASSUMED,) * len(pair.bands) for k in ("one", "two")},
        trust={"one": 1.0, "two": 1.0},
        calibrated={"one": 0, "two": 0},
        days=tuple(map(str, days)),
        versions={"biastf_xr": __version__, "numpy": str(np.__version__)},
    )
    images, support = _coarse_on(pair, days, card)
    known = _Known(pair, days, images, support, seen, _read_windows(pair, days))
    return dataclasses.replace(card, **_calibrate(card, known, say))


def coarse_noise(pair: CubePair) -> tuple[Float, Float]:
    """Estimate the noise of one coarse observation from days next to each other.

    The spread of the differences, in classes of `biastf_xr._series.variety`, is fitted by a line.

    `pair`: The cubes; some days of the coarse one are read.
    `noise`, `jitter`: By band, as of `biastf_xr._series.Smoothing`; `ASSUMED_NOISE` and 0
    without such days.
    """
    days = pair.coarse_days
    near = np.flatnonzero(np.diff(days).astype(int) <= NOISE_GAP)
    if near.size > NOISE_DAYS:
        near = near[np.linspace(0, near.size - 1, NOISE_DAYS).astype(int)]
    found = []
    for band in pair.bands:
        steps, varieties = [], []
        for n in near:
            two = np.asarray(pair.coarse[band].isel(time=slice(n, n + 2)).values, np.float32)
            there = np.isfinite(two).all(axis=0)
            steps.append((two[1] - two[0])[there])
            varieties.append(variety(np.where(there, two[0], np.float32(np.nan)))[there])
        every = np.concatenate([np.zeros(0, np.float32), *steps])
        found.append(
            _noise_line(np.abs(every), np.concatenate(varieties))
            if every.size >= NOISE_CLASSES**2
            else (ASSUMED_NOISE, 0.0)
        )
    noise, jitter = np.array(found, np.float32).T
    return np.maximum(noise, np.float32(LEAST_NOISE)), jitter


def _noise_line(step: Float, varied: Float) -> tuple[float, float]:
    """Fit ``var(step) / 2 = noise**2 + jitter**2 * variety`` to medians of classes."""
    from scipy.optimize import nnls

    classes = np.array_split(np.argsort(varied, kind="stable"), NOISE_CLASSES)
    variance = np.array([(MAD * float(np.median(step[c]))) ** 2 / 2 for c in classes])
    design = np.array([[1.0, float(np.median(varied[c]))] for c in classes])
    weight = 1 / np.maximum(variance, LEAST_NOISE**2)
    even, slope = nnls(design * weight[:, None], variance * weight)[0]
    return float(np.sqrt(even)), float(np.sqrt(slope))


def _seen_on(pair: CubePair, day: Any, blur: float) -> Float:
    """Return a fine image as the coarse sensor would see it, read tile by tile."""
    alignment = pair.alignment
    image = pair.fine.isel(time=int(np.searchsorted(pair.fine_days, day)))
    parts = []
    for tile in split_tiles(alignment.shape, (LOOK, LOOK)):
        values = _window(image, pair.bands, tile)
        parts += look(day, values, tile, alignment=alignment)
    return whole(parts, covered_area(alignment.rows, alignment.cols, alignment.shape), blur)


def _window(image: Any, bands: tuple[str, ...], tile: Tile) -> Float:
    rows, cols = tile.slices
    part = image[list(bands)].isel(y=rows, x=cols).transpose("y", "x").load()
    return np.stack([np.asarray(part[b].values, np.float32) for b in bands])


def _coarse_on(pair: CubePair, days: Any, card: PlusCard | None) -> tuple[Float, Float]:
    """Return coarse images, observed or smoothed as the method asks, and their support."""
    held = pair.coarse_days
    near = np.flatnonzero((np.abs((held[:, None] - days).astype(int)) <= COARSE_REACH).any(axis=1))
    part = pair.coarse.isel(time=near)
    series = np.stack([np.asarray(part[b].transpose("time", "y", "x").values, np.float32)
                       for b in pair.bands], axis=1)  # fmt: skip
    smoothing = card.smoothing if card else None
    own = max(map(abs, pair.span))
    images, gap = fill_in_time(series, held[near], days, COARSE_REACH if card else own)
    if smoothing is None:
        return images, support_of(gap)
    return smooth_in_time(series, held[near], days, images, COARSE_REACH, smoothing)


def _response(coarse: Float, seen: list[Float]) -> Float:
    """Regress coarse on fine reflectance within every date, all dates together."""
    total = np.full((2, coarse.shape[1]), RESPONSE_HOLD)
    for image, fine in zip(coarse, seen, strict=True):
        for b, (y, x) in enumerate(zip(image, fine, strict=True)):
            there = np.isfinite(y) & np.isfinite(x)
            if there.any():
                xs, ys = (v[there].astype(np.float64) - v[there].mean() for v in (x, y))
                total[:, b] += [(xs * ys).mean() / len(seen), (xs * xs).mean() / len(seen)]
    response: Float = np.clip(total[0] / total[1], *RESPONSE_LIMITS).astype(np.float32)
    return response


def _spread(coarse: Float, seen: list[Float], response: Float) -> Float:
    """Compute how much of the coarse change between dates the fine sensor did not see."""
    if len(seen) == 1:
        return np.full(len(response), ASSUMED_SPREAD, np.float32)
    found = []
    for n in range(len(seen) - 1):
        change = (coarse[n + 1] - coarse[n]) - response[:, None, None] * (seen[n + 1] - seen[n])
        if not np.isfinite(change).any(axis=(1, 2)).all():
            continue  # nothing clear on both dates
        centre = np.nanmedian(change, axis=(1, 2), keepdims=True)
        found.append(MAD * np.nanmedian(np.abs(change - centre), axis=(1, 2)))
    if not found:
        return np.full(len(response), ASSUMED_SPREAD, np.float32)
    least: Float = np.maximum(np.median(np.array(found), axis=0), 1e-3).astype(np.float32)
    return least


def _calibrate(card: PlusCard, known: _Known, say: FitProgress) -> dict[str, Any]:
    """Predict known dates from those around them: what pays, and how wrong it is."""
    cases: dict[str, list[tuple[int, ...]]] = {"one": [], "two": []}
    for n in range(len(known.days)):
        cases["one"] += [(n, m) for m in (n - 1, n + 1) if 0 <= m < len(known.days)]
        cases["two"] += [(n, n - 1, n + 1)] if 0 < n < len(known.days) - 1 else []
    found: dict[str, dict[str, Any]] = {
        name: {} for name in ("error", "trust", "calibrated", "coverage")
    }
    total, done = sum(min(len(c), CASES) for c in cases.values()), 0
    for kind, listed in cases.items():
        chosen = [listed[i] for i in _evenly(len(listed), CASES)]
        drawn: list[_Drawn] = []
        for case in chosen:
            say("known dates predicted", done, total)
            done += 1
            drawn += _predict_known(card, known, case)
        found["calibrated"][kind] = len({c[0] for c in chosen}) if drawn else 0
        # What two dates cannot tell follows from one.
        found["trust"][kind] = _trust(drawn) if drawn else found["trust"].get("one", 1.0)
        found["error"][kind] = card.error[kind]
        if kind == "two" and found["calibrated"]["one"]:
            found["error"][kind] = tuple(
                tuple(HALVED * w for w in band) for band in found["error"]["one"]
            )
        if drawn:
            wrong, parts = _errors(drawn, found["trust"][kind])
            weights = [fit_terms(wrong[b], parts[:, b]) for b in range(len(wrong))]
            found["error"][kind] = tuple(tuple(map(float, w)) for w in weights)
            found["coverage"][kind] = _coverage(wrong, parts, np.array(weights, np.float32))
    return found


def _trust(drawn: list[_Drawn]) -> float:
    """Return how far to depart from interpolation in time.

    The best share of the departure, all known dates and bands alike, with one more date on which
    the whole of it is best; that date departs as far as the others, but no further than was ever
    needed.  From a half on all of it is taken, since it errs no more than none.
    """
    along = own = 0.0
    for case in drawn:
        need = np.maximum((case.need.astype(np.float64) ** 2).mean(axis=1), 1e-12)
        along += float(((case.step * case.need).mean(axis=1) / need).mean())
        own += float(((case.step.astype(np.float64) ** 2).mean(axis=1) / need).mean())
    prior = min(own / len(drawn), 1.0)
    best = (along + prior) / max(own + prior, 1e-12)
    return float(np.clip(2 * best, 0, 1))


def _errors(drawn: list[_Drawn], trust: float) -> tuple[Float, Float]:
    """Return errors (band, n) with the terms of their variance (3, band, n)."""
    wrong = np.concatenate([np.float32(trust) * d.step - d.need for d in drawn], axis=1)
    parts = np.concatenate([d.parts for d in drawn], axis=2)
    parts[2] *= np.float32(trust**2)
    return wrong, parts


def _evenly(count: int, most: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else []


def _predict_known(card: PlusCard, known: _Known, case: tuple[int, ...]) -> list[_Drawn]:
    """Predict windows of a known date from one or two others."""
    alignment, (target, *flanks) = known.pair.alignment, case
    days = [known.days[i] for i in flanks]
    share = float((known.days[target] - days[0]) / (days[1] - days[0])) if len(flanks) == 2 else 0.0
    seen = np.concatenate([known.seen[d] for d in days])
    rule = card.options
    change = change_of(
        known.images[target], [known.images[i] for i in flanks], share, card.sensors, rule
    )
    mixture = mixture_of(change.anomaly, seen, rule.ridge, explain=rule.mixture)
    support = known.support[target]
    mean = mean_support(support)
    fields = to_interpolate(change, seen, mixture, support, rule.noise_local)
    everywhere = Tile(0, alignment.coarse_shape[0], 0, alignment.coarse_shape[1])
    steps, needs, parts = [], [], []
    for window, images in known.windows:
        up = Upsampler(alignment, window, everywhere)(fields)
        truth, *fine = (images[i] for i in case)
        added = spread_out(up[1:], fine, mixture, mean, rule)
        step, start, difference = added, fine[0], None
        if len(fine) == 2:
            difference = fine[1] - fine[0]
            start = start + np.float32(share) * difference
            step = added + (up[0] - np.float32(share)) * difference
        step, need = (v[:, REACH:-REACH, REACH:-REACH] for v in (step, truth - start))
        there = np.isfinite(step + need).all(axis=0)
        steps.append(step[:, there])
        needs.append(need[:, there])
        apart = None if difference is None else local_square(difference)
        parts.append(terms(apart, share, added)[:, :, there])
    found = _Drawn(*(np.concatenate(v, axis=-1) for v in (steps, needs, parts)))
    return [found] if found.need.size else []


def _read_windows(pair: CubePair, days: Any) -> list[tuple[Tile, Float]]:
    """Read windows spread over the scene on all known dates, shape (time, band, y, x)."""
    part = pair.fine[list(pair.bands)].isel(time=np.searchsorted(pair.fine_days, days))
    found = []
    for window in _sample(pair.alignment.shape):
        rows, cols = window.slices
        loaded = part.isel(y=rows, x=cols).transpose("time", "y", "x").load()
        images = np.stack([loaded[b].values for b in pair.bands], axis=1).astype(np.float32)
        found.append((window, images))
    return found


def _sample(shape: tuple[int, int]) -> list[Tile]:
    """Spread windows over the scene."""
    side = min(SIDE, *shape)
    across = int(np.ceil(np.sqrt(WINDOWS)))
    starts = [np.unique(np.linspace(0, n - side, across).astype(int)) for n in shape]
    return [Tile(y, y + side, x, x + side) for y in starts[0].tolist() for x in starts[1].tolist()]


def _coverage(wrong: Float, parts: Float, weights: Float) -> float:
    """Return the share of errors within one standard deviation."""
    sigma = sigma_of_terms(parts[..., None], weights)[..., 0]
    return float((np.abs(wrong) <= sigma).mean())
