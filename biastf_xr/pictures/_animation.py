"""The season as moving pictures: a GIF, or a player in a notebook."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._files import replacing
from biastf_xr._html import escape
from biastf_xr.cube._cube import bands_of
from biastf_xr.grid import pixels_at
from biastf_xr.pictures._canvas import thinned
from biastf_xr.pictures._colour import choose_colours, composite, describe_colours, stretch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

# Longest side of a panel, in pixels of the cube; larger images are thinned out.
SIDE = 160

# Pixels between two panels.
GAP = 4

# Quality of the JPEG that holds the frames of a player, and colours of a GIF.
QUALITY, COLOURS = 82, 96


@dataclass(frozen=True, eq=False)
class Animation:
    """Frames of a season; shows itself in a notebook as a player.

    `frames`: Shape ``(time, y, x, 3)``: the panels side by side.
    `days`: Date of every frame.
    `panels`: What the panels show, from left to right.
    `note`: How reflectance is shown.
    """

    frames: NDArray[np.uint8]
    days: tuple[str, ...]
    panels: tuple[str, ...]
    note: str
    fps: float = 8.0

    def __repr__(self) -> str:
        return (
            f"Animation of {len(self.days)} days, {self.days[0]} to {self.days[-1]}: "
            f"{' | '.join(self.panels)}; {self.note}"
        )

    def save(self, path: str | Path, *, scale: int | None = None) -> Path:
        """Write a GIF that repeats.

        `scale`: Pixels of the picture, a side, for each of a frame; by default so many that a panel
        is about 240 wide.
        """
        from PIL import Image

        path = Path(path)
        width = self.frames.shape[2] // len(self.panels)
        scale = scale or max(round(240 / width), 1)
        pages = [self._page(n, scale) for n in range(len(self.days))]
        palette = Image.fromarray(self.frames[:: max(len(self.days) // 8, 1)].reshape(
            -1, *self.frames.shape[2:])).quantize(COLOURS)  # fmt: skip
        few = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
        with replacing(path) as partial:
            few[0].save(partial, format="GIF", save_all=True, append_images=few[1:],
                        duration=round(1000 / self.fps), loop=0)  # fmt: skip
        return path

    def _page(self, index: int, scale: int) -> Any:
        """Write the date and the panels' names above a frame."""
        from PIL import Image, ImageDraw

        image = Image.fromarray(self.frames[index])
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
        page = Image.new("RGB", (image.width, image.height + 16), "white")
        page.paste(image, (0, 16))
        pen, step = ImageDraw.Draw(page), image.width // len(self.panels)
        for number, name in enumerate(self.panels):
            day = f"{self.days[index]} " if number == 0 else ""
            pen.text((2 + number * step, 2), f"{day}{name}", fill="black")
        return page

    def _sheet(self) -> tuple[bytes, int]:
        """Put all frames on one sheet, row by row: the JPEG, and frames in a row."""
        from PIL import Image

        count, rows, columns, _ = self.frames.shape
        across = max(int(np.ceil(np.sqrt(count * rows / columns))), 1)
        down = -(-count // across)
        sheet = np.zeros((down * rows, across * columns, 3), np.uint8)
        for index, frame in enumerate(self.frames):
            y, x = divmod(index, across)
            sheet[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns] = frame
        file = BytesIO()
        Image.fromarray(sheet).save(file, "JPEG", quality=QUALITY)
        return file.getvalue(), across

    def _repr_html_(self) -> str:
        data, across = self._sheet()
        count, rows, columns, _ = self.frames.shape
        name = f"season-{blake2b(data, digest_size=6).hexdigest()}"
        width = min(320 * len(self.panels), 960)
        label = f"{' | '.join(self.panels)}: {count} days, {self.days[0]} to {self.days[-1]}"
        days = json.dumps(self.days).replace("<", "\\u003c")  # no tag ends the script
        return _PLAYER.format(
            name=name, width=width, ratio=f"{columns} / {rows}", last=count - 1, across=across,
            down=-(-count // across), days=days, first=self.days[0],
            label=escape(label), note=escape(self.note), pause=round(1000 / self.fps),
            panels="".join(f"<span>{escape(p)}</span>" for p in self.panels),
            image=b64encode(data).decode(),
        )  # fmt: skip


_PLAYER = """<div id="{name}" style="max-width: {width}px">
<div style="display: flex; justify-content: space-around; font-size: .9em">{panels}</div>
<div role="img" aria-label="{label}" class="frame" style="width: 100%; aspect-ratio: {ratio};
 image-rendering: pixelated; background: url(data:image/jpeg;base64,{image}) 0 0 /
 {across}00% {down}00%"></div>
<div style="display: flex; gap: .8em; align-items: center">
<button type="button" aria-label="play or pause">&#9654;</button>
<input type="range" min="0" max="{last}" value="0" aria-label="day" style="flex: 1">
<output style="font-variant-numeric: tabular-nums">{first}</output></div>
<div style="font-size: .85em; opacity: .75">{note}</div>
<script>(() => {{
const box = document.getElementById("{name}"), days = {days};
const [frame, slider, button, described] =
  [".frame", "input", "button", "output"].map(part => box.querySelector(part));
const at = (place, count) => count > 1 ? place / (count - 1) * 100 + "%" : "0";
let timer = null;
const show = () => {{
  const n = Number(slider.value), across = {across};
  frame.style.backgroundPosition = at(n % across, across) + " " +
    at(Math.floor(n / across), {down});
  described.textContent = days[n];
}};
const step = () => {{ slider.value = (Number(slider.value) + 1) % days.length; show(); }};
slider.addEventListener("input", show);
button.addEventListener("click", () => {{
  timer = timer ? clearInterval(timer) : setInterval(step, {pause});
  button.textContent = timer ? "\\u23F8" : "\\u25B6";
}});
}})();</script></div>"""


def animate(
    ds: xr.Dataset,
    coarse: xr.Dataset | None = None,
    *,
    colours: str | Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    every: int | None = None,
    fps: float = 8.0,
    path: str | Path | None = None,
) -> Animation:
    """Show the season, beside the coarse images of the same days.

    Eager; holds in memory what is drawn, at most 160 pixels a side.

    `coarse`: The coarse cube, shown on the left; a day without an image there is grey.
    `limits`: Reflectance shown as black and white; by default the 2nd and 98th percentile.
    `every`: Take every n-th day; by default so that there are at most 122 frames.
    """
    chosen = choose_colours(bands_of(ds), colours)
    bands = [*dict.fromkeys(chosen)]
    every = every or -(-ds.sizes["time"] // 122)
    season = thinned(ds[bands].isel(time=slice(None, None, every)), SIDE).load()
    limits = limits or stretch(season, chosen)
    days = to_days(season["time"])
    sides = [season]
    if coarse is not None:
        near = pixels_at(coarse[bands], "the coarse cube", x=season["x"], y=season["y"], of=season)
        near = near.assign_coords(time=to_days(near["time"]).astype("datetime64[s]"))
        sides.insert(0, near.reindex(time=days.astype("datetime64[s]")).load())
    frames = []
    for index in range(days.size):
        images = [composite(side.isel(time=index), chosen, limits) for side in sides]
        gap = np.ones((images[0].shape[0], GAP, 3))
        row = [part for image in images for part in (image, gap)][:-1]
        frames.append(np.round(np.concatenate(row, axis=1) * 255).astype(np.uint8))
    panels = ("coarse", "fine")[-len(sides) :] if coarse is not None else ("",)
    made = Animation(
        np.stack(frames), tuple(map(str, days)), panels, describe_colours(chosen, limits), fps
    )
    if path is not None:
        made.save(path)
    return made
