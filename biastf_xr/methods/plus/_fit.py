"""Fit the variant "plus": compare the sensors on known dates, and learn how wrong predictions are.

A few numbers per band; no iteration, and one pass over the fine images of the base dates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._series import days_near, images_on, variety
from biastf_xr.errors import MissingPairError
from biastf_xr.grid import Tile, Upsampler, covered_area, split_tiles
from biastf_xr.methods.plus._card import PlusCard, PlusOptions
from biastf_xr.methods.plus._change import (
    PARTS,
    anomaly_of,
    blurred,
    details_of,
    explain,
    fields_of,
    look,
    mean_support,
    noise_in,
    parts_of,
    whole,
)
from biastf_xr.methods.plus._uncertainty import (
    ASSUMED,
    REACH,
    fit_terms,
    from_one,
    local_square,
    nearest_days,
    sigma_of_terms,
    terms,
)
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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

# Noise where the series has no two days so near, or nothing of it lies beside a fine image.
ASSUMED_NOISE = 0.01

# Footprints that are tried; images of fewer pixels than this are not compared.
FOOTPRINTS, FEWEST = np.arange(0, 1.05, 0.1), 20

# Slopes of coarse on fine changes beyond these are taken for these.
RESPONSE_LIMITS = (0.5, 2.0)

# Factors on the variance of noise that are tried, and what holds the choice to 1: the share of
# the squared change that a factor must gain for every 1 by which its root departs from it.
DOUBTS = np.array([0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 4, 8, 16])
DOUBT_HOLD = 0.02

# Shares of the parts of a prediction where no known date tells: all of what is interpolated; of
# the detail what was best, with these, on the places that the documentation names.  They count as
# much as so many known dates; no part is taken for weaker than the given share of the change.
# What is interpolated is never amplified, detail by no more than a half.
PRIOR = {"one": (1.0, 1.0, 1.0, 0.9, 0.35, 0.0), "two": (1.0, 1.0, 1.0, 0.27, 0.39, 0.55)}
SHARES_HOLD, LEAST_POWER = 3.0, 1e-4
MOST_LOW, MOST_DETAIL = 1.0, 1.5

# Known dates on which errors are looked at, windows of each, and their side in pixels.
CASES, WINDOWS, SIDE = 12, 12, 48

# Pixels of each that the terms of the uncertainty are fitted to.
PIXELS = 4000

# A coarse pixel serves a known date if it was seen at most so many days away; images as far away as
# the second number take part in smoothing.
NEAR, COARSE_REACH = 4, 16

# Scaled median of absolute deviations to standard deviation of a normal distribution.
MAD = 1.4826


@dataclass(frozen=True)
class _Known:
    """The dates a fit knows: coarse images, and fine ones as the coarse sensor sees them."""

    pair: CubePair
    days: Any
    images: Any
    support: Any
    seen: list[Float]
    windows: list[tuple[Tile, Float]]


@dataclass(frozen=True)
class _Drawn:
    """A window of a known date.

    `parts`: Shape ``(part, band, y, x)``: what a prediction adds to interpolation in time.
    `need`: Shape ``(band, y, x)``: what would be right.
    `apart`: `local_square` of the difference of the base images; None with one.
    `time`: As of `biastf_xr.methods.plus._uncertainty.terms`.
    """

    parts: Float
    need: Float
    apart: Float | None
    time: tuple[float, float]

    @property
    def there(self) -> NDArray[np.bool_]:
        """Return where everything is known, shape ``(y, x)``."""
        there: NDArray[np.bool_] = np.isfinite(self.need + self.parts.sum(axis=0)).all(axis=0)
        return there


def learn(
    pair: CubePair, days: Any, options: PlusOptions, progress: FitProgress | None = None
) -> PlusCard:
    """Return what is learned from some days that are clear in both cubes.

    The footprint comes first, then response and noise, then what of a change to believe.

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
    averages = []
    for n, day in enumerate(days):
        say("look", n, len(days))
        averages.append(_average_on(pair, day))
    observed, _ = _coarse_on(pair, days, None)
    footprint = footprint_of(observed, averages)
    seen = [blurred(image, footprint) for image in averages]
    response = response_of(observed, seen)
    card = PlusCard(
        bands=pair.bands,
        ratio=pair.alignment.ratio,
        rule=dataclasses.asdict(options),
        footprint=footprint,
        response=tuple(map(float, response)),
        scatter=tuple(map(float, scatter_of(observed, seen))),
        noise=tuple(map(float, noise)),
        jitter=tuple(map(float, jitter)),
        doubt=dict.fromkeys(PRIOR, 1.0),
        shares=dict(PRIOR),
        error={k: (ASSUMED,) * len(pair.bands) for k in PRIOR},
        calibrated=dict.fromkeys(PRIOR, 0),
        days=tuple(map(str, days)),
        versions={"biastf_xr": __version__, "numpy": str(np.__version__)},
    )
    images, support = _coarse_on(pair, days, card)
    known = _Known(pair, days, images, support, seen, _read_windows(pair, days))
    return _calibrate(card, known, say)


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


def _average_on(pair: CubePair, day: Any) -> Float:
    """Return a fine image averaged over coarse pixels, read tile by tile."""
    alignment = pair.alignment
    image = pair.fine.isel(time=int(np.searchsorted(pair.fine_days, day)))
    parts = []
    for tile in split_tiles(alignment.shape, (LOOK, LOOK)):
        values = _window(image, pair.bands, tile)
        parts += look(day, values, tile, alignment=alignment)
    return whole(parts, covered_area(alignment.rows, alignment.cols, alignment.shape), 0)


def _window(image: Any, bands: tuple[str, ...], tile: Tile) -> Float:
    rows, cols = tile.slices
    part = image[list(bands)].isel(y=rows, x=cols).transpose("y", "x").load()
    return np.stack([np.asarray(part[b].values, np.float32) for b in bands])


def _coarse_on(pair: CubePair, days: Any, card: PlusCard | None) -> tuple[Float, Float]:
    """Return coarse images, observed or smoothed as the method asks, and their support."""
    held = pair.coarse_days
    near = days_near(held, days, COARSE_REACH)
    part = pair.coarse.isel(time=near)
    series = np.stack([np.asarray(part[b].transpose("time", "y", "x").values, np.float32)
                       for b in pair.bands], axis=1)  # fmt: skip
    smoothing = card.smoothing if card else None
    own = max(NEAR, *map(abs, pair.span))
    images, _, support = images_on(series, held[near], days, own, COARSE_REACH, smoothing)
    return images, support


def footprint_of(coarse: Float, averages: Sequence[Float]) -> float:
    """Return the blur with which the fine images resemble the coarse ones most.

    The mean correlation over dates and bands decides, among `FOOTPRINTS`.
    """
    found = []
    for blur in FOOTPRINTS:
        pairs = [
            _moments(y, x)
            for image, average in zip(coarse, averages, strict=True)
            for y, x in zip(image, blurred(average, blur), strict=True)
        ]
        alike = [m.along / np.sqrt(m.x * m.y) for m in pairs if m is not None and m.x * m.y > 0]
        found.append(float(np.mean(alike)) if alike else 0.0)
    return float(FOOTPRINTS[int(np.argmax(np.round(found, 6)))])


@dataclass(frozen=True)
class _Moments:
    """Variances of two images about their means, and their covariance."""

    along: float
    x: float
    y: float


def _moments(y: Float, x: Float) -> _Moments | None:
    """Compare two images; None where fewer than `FEWEST` pixels are in both."""
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < FEWEST:
        return None
    xs, ys = (v[there].astype(np.float64) for v in (x, y))
    xs, ys = xs - xs.mean(), ys - ys.mean()
    return _Moments(float((xs * ys).mean()), float((xs * xs).mean()), float((ys * ys).mean()))


def response_of(coarse: Float, seen: Sequence[Float]) -> NDArray[np.float64]:
    """Return what the coarse sensor makes of a fine change of 1, by band.

    Regress coarse on fine changes between dates, all pairs of neighbouring dates together, and
    draw the slope to 1 by the share of the coarse changes that it does not explain: a series that
    says nothing is not amplified.
    """
    response = np.ones(coarse.shape[1])
    for b in range(len(response)):
        changes = [
            _moments(coarse[n + 1, b] - coarse[n, b], seen[n + 1][b] - seen[n][b])
            for n in range(len(seen) - 1)
        ]
        along, x, y = (
            sum(getattr(m, k) for m in changes if m is not None) for k in ("along", "x", "y")
        )
        if along > 0:
            slope = np.clip(along / x, *RESPONSE_LIMITS)
            response[b] = slope ** (along**2 / (x * y))
    return response


def scatter_of(coarse: Float, seen: Sequence[Float]) -> NDArray[np.float64]:
    """Return the noise of a coarse image beside the fine one of its date, by band.

    The scatter about the line of one on the other is the sensors' lasting difference and noise:
    half of it is taken for noise where the two images are alike, all of it where they are not.
    """
    found = np.full(coarse.shape[1], ASSUMED_NOISE)
    for b in range(len(found)):
        pairs = [_moments(y[b], x[b]) for y, x in zip(coarse, seen, strict=True)]
        known = [m for m in pairs if m is not None]
        if not known:
            continue
        alike = [min(m.along**2 / max(m.x * m.y, 1e-24), 1) for m in known]
        scatter = [m.y * max(1 - a, 0) for m, a in zip(known, alike, strict=True)]
        found[b] = np.sqrt(np.mean(scatter) * (0.25 + 0.75 * (1 - np.mean(alike))))
    return found


def _calibrate(card: PlusCard, known: _Known, say: FitProgress) -> PlusCard:
    """Predict known dates from those around them: what to believe, and how wrong it is."""
    count = len(known.days)
    cases: dict[str, list[tuple[int, ...]]] = {"one": [], "two": []}
    for n in range(count):
        cases["one"] += [(n, m) for m in (n - 1, n + 1) if 0 <= m < count]
        cases["two"] += [(n, n - 1, n + 1)] if 0 < n < count - 1 else []
    chosen = {k: [c[i] for i in _evenly(len(c), CASES)] for k, c in cases.items()}
    total, done = sum(map(len, chosen.values())), 0
    for kind, listed in chosen.items():
        # What two dates cannot tell follows from one.
        used = listed or chosen["one"]
        doubt = _doubt(card, known, used)
        card = dataclasses.replace(card, doubt=card.doubt | {kind: doubt})
        drawn = []
        for case in used:
            say("known dates predicted", min(done, total), total)
            done += 1
            drawn += [w] if (w := _predict_known(card, known, case, doubt)) else []
        shares = _shares(drawn, PRIOR[kind])
        found: dict[str, Any] = {"shares": card.shares | {kind: shares}}
        if listed and drawn:
            dates = len({case[0] for case in listed})
            found["calibrated"] = card.calibrated | {kind: dates}
            found |= _uncertainty(card, drawn, shares, kind)
        elif kind == "two" and card.calibrated["one"]:
            found["error"] = card.error | {kind: tuple(map(from_one, card.error["one"]))}
        card = dataclasses.replace(card, **found)
    return card


def _doubt(card: PlusCard, known: _Known, cases: Sequence[tuple[int, ...]]) -> float:
    """Return the factor on the variance of noise that predicts known dates best.

    At the coarse scale, where fine images tell what the change was; without known dates 1, and
    drawn to it.
    """
    wrong = DOUBT_HOLD * np.abs(np.sqrt(DOUBTS) - 1)
    for case in cases:
        scene = _scene_of(card, known, case)
        mean = explain(scene.anomaly, scene.seen, scene.noise).mean
        truth, *bases = (known.seen[i] for i in case)
        need = anomaly_of(truth, bases, scene.share, np.ones(len(truth)))
        rest = scene.anomaly - mean[:, None, None]
        for b, (r, n) in enumerate(zip(rest, need, strict=True)):
            there = np.isfinite(r) & np.isfinite(n)
            if there.sum() < FEWEST:
                continue
            y, x = n[there].astype(np.float64) - mean[b], r[there].astype(np.float64)
            own, along, size = float(x @ x), float(x @ y), float(n[there] @ n[there])
            gain = np.maximum(own / x.size - DOUBTS * scene.noise[b], 0) / max(own / x.size, 1e-12)
            error = float(y @ y) - 2 * gain * along + gain**2 * own
            wrong += error / max(size, 1e-12) / len(rest)
    return float(DOUBTS[int(np.argmin(np.round(wrong, 9)))])


@dataclass(frozen=True)
class _Scene:
    """A known date at the coarse scale.

    `noise`: Variance of noise in the anomaly, by band, before it is doubted.
    """

    share: float
    seen: list[Float]
    anomaly: Float
    noise: NDArray[np.float64]


def _scene_of(card: PlusCard, known: _Known, case: tuple[int, ...]) -> _Scene:
    target, *flanks = case
    days = [known.days[i] for i in flanks]
    pair = len(flanks) == 2
    share = float((known.days[target] - days[0]) / (days[1] - days[0])) if pair else 0.0
    seen, bases = [known.seen[i] for i in flanks], [known.images[i] for i in flanks]
    anomaly = anomaly_of(known.images[target], bases, share, card.response)
    support = mean_support(known.support[target])
    noise = noise_in(card.scatter, card.response, share if pair else None, support)
    return _Scene(share, seen, anomaly, noise)


def _predict_known(
    card: PlusCard, known: _Known, case: tuple[int, ...], doubt: float
) -> list[_Drawn]:
    """Predict windows of a known date from one or two others, in parts."""
    alignment = known.pair.alignment
    scene = _scene_of(card, known, case)
    explained = explain(scene.anomaly, scene.seen, doubt * scene.noise)
    image, *bases = (known.images[i] for i in case)
    fields = fields_of(image, bases, scene.seen, scene.share, card.response, explained)
    everywhere = Tile(0, alignment.coarse_shape[0], 0, alignment.coarse_shape[1])
    target, *flanks = (known.days[i] for i in case)
    distance = nearest_days(target, flanks)
    found = []
    for window, images in known.windows:
        up = Upsampler(alignment, window, everywhere)
        truth, *fine = (images[i] for i in case)
        parts = parts_of(fields, details_of(fine, scene.seen, up), up)
        start, apart = fine[0], None
        if len(fine) == 2:
            difference = fine[1] - fine[0]
            start = start + np.float32(scene.share) * difference
            apart = local_square(difference)
        need = truth - start
        drawn = _Drawn(parts, need, apart, (distance, scene.share))
        found += [drawn] if drawn.there.any() else []
    return found


def _shares(drawn: Sequence[Sequence[_Drawn]], prior: tuple[float, ...]) -> tuple[float, ...]:
    """Return the shares of the parts that predict known dates best, drawn to the prior.

    Least squares; dates and bands are weighted by what there was to predict.

    `drawn`: By known date, its windows.
    """
    count = len(PARTS)
    normal, along, dates = np.zeros((count, count)), np.zeros(count), 0
    for windows in drawn:
        parts, need = (
            np.concatenate([getattr(w, name)[..., w.there] for w in windows], axis=-1)
            for name in ("parts", "need")
        )
        parts, need = parts.astype(np.float64), need.astype(np.float64)
        size = np.maximum((need**2).sum(axis=1), 1e-12) * len(need)
        normal += np.einsum("kbn,lbn,b->kl", parts, parts, 1 / size, optimize=True)
        along += np.einsum("kbn,bn,b->k", parts, need, 1 / size, optimize=True)
        dates += 1
    if not dates:
        return prior
    hold = np.diag(np.maximum(np.diag(normal) / dates, LEAST_POWER)) * SHARES_HOLD
    found = np.linalg.solve(normal + hold, along + hold @ np.array(prior))
    most = [MOST_LOW if p in PARTS[:3] else MOST_DETAIL for p in PARTS]
    return tuple(map(float, np.clip(found, 0, most)))


def _uncertainty(
    card: PlusCard, drawn: Sequence[Sequence[_Drawn]], shares: tuple[float, ...], kind: str
) -> dict[str, Any]:
    """Fit the terms of the variance to the errors on known dates."""
    factors = np.array(shares, np.float32)
    inner = (..., slice(REACH, -REACH), slice(REACH, -REACH))
    wrong, parts = [], []
    for windows in drawn:
        errors, designs = [], []
        for window in windows:
            low = np.tensordot(factors[:3], window.parts[:3], 1)
            detail = np.tensordot(factors[3:], window.parts[3:], 1)
            there = window.there[inner]
            errors.append((low + detail - window.need)[inner][:, there])
            designs.append(terms(window.apart, window.time, low, detail)[..., there])
        error, design = np.concatenate(errors, axis=-1), np.concatenate(designs, axis=-1)
        every = max(1, error.shape[-1] // PIXELS)
        wrong.append(error[:, ::every])
        parts.append(design[..., ::every])
    weights = [fit_terms([e[b] for e in wrong], [p[:, b] for p in parts])
               for b in range(len(card.bands))]  # fmt: skip
    joined = np.concatenate(wrong, axis=-1), np.concatenate(parts, axis=-1)
    coverage = _coverage(*joined, np.array(weights, np.float32))
    fitted = tuple(tuple(map(float, w)) for w in weights)
    return {"error": card.error | {kind: fitted}, "coverage": card.coverage | {kind: coverage}}


def _evenly(count: int, most: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else []


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
