"""Writes downloads of CIA and LGC: real names, folders and headers, smaller images."""

from __future__ import annotations

import numpy as np

BANDS = 6
ORDERS = {"bil": (1, 0, 2), "bsq": (0, 1, 2), "bip": (1, 2, 0)}


def envi(path, values, interleave):
    """Write an ENVI image with its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values.transpose(ORDERS[interleave]).astype("<i2").tofile(path)
    bands, rows, cols = values.shape
    path.with_name(path.name + ".hdr").write_text(
        f"ENVI\nsamples = {cols}\nlines = {rows}\nbands = {bands}\nheader offset = 0\n"
        f"file type = ENVI Standard\ndata type = 2\ninterleave = {interleave}\nbyte order = 0\n"
    )


def season(days, shape, block=20, seed=0):
    """Return digital numbers of both sensors by day: fields that grow and ripen at their own time.

    The coarse image is the mean of `block` x `block` fine pixels, with noise, on the fine grid.
    """
    rng = np.random.default_rng(seed)
    rows, cols = shape
    first = np.datetime64(days[0])
    fields = rng.uniform(0, 1, (-(-rows // 7), -(-cols // 9)))
    peak = np.kron(fields, np.ones((7, 9)))[:rows, :cols]
    soil = np.linspace(600, 2600, BANDS)[:, None, None]
    plant = np.array([400, 700, 500, 4200, 2300, 1200])[:, None, None]
    texture = rng.normal(1, 0.06, (1, rows, cols))
    images = {}
    for day in days:
        age = (np.datetime64(day) - first).astype(int) / 365
        cover = np.exp(-(((age - peak) / 0.25) ** 2))
        fine = (soil + (plant - soil) * cover) * texture
        coarse = np.empty_like(fine)
        for y in range(0, rows, block):
            for x in range(0, cols, block):
                part = np.s_[:, y : y + block, x : x + block]
                mean = fine[part].mean((1, 2), keepdims=True)
                coarse[part] = mean * rng.normal(1.03, 0.02) + rng.normal(0, 15)
        fine = np.clip(fine, 30, 9000).round().astype(np.int16)
        fine[:, 0, :5] = -999  # fill
        images[day] = fine, np.clip(coarse, 30, 9000).round().astype(np.int16)
    return images


def write_download(root, dataset, shape, days, seed=0):
    """Write the images of some days; returns the digital numbers of both sensors by day."""
    from biastf_xr.paper._inputs import expected_file

    images = season(days, shape, seed=seed)
    for day, (fine, coarse) in images.items():
        orders = ("bil" if dataset == "cia" else "bsq", "bsq")
        for sensor, values, order in zip(("landsat", "modis"), (fine, coarse), orders, strict=True):
            envi(root / expected_file(dataset, sensor, day), values, order)
    return images
