"""How far a catalogue may lead: to URLs of allowed schemes, and to files under its own folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr._files import read_bytes
from biastf_xr._urls import is_url, split_url
from biastf_xr.errors import SceneError
from biastf_xr.sources._login import need
from biastf_xr.sources._rasters import not_allowed
from biastf_xr.sources._requests import keep_to

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Reach:
    """What the links and files of a catalogue may be.

    `where`: The catalogue.
    `schemes`: Of URLs; with "file" any file of this machine may be read.
    """

    where: str
    schemes: tuple[str, ...]

    def problem(self, hrefs: Iterable[Path | str]) -> str:
        """Return why the first file or link that is out of reach is; empty if none is."""
        root = None if is_url(self.where) else _folder(Path(self.where))
        return next(filter(None, (self._problem(href, root) for href in hrefs)), "")

    def _problem(self, href: Path | str, root: Path | None) -> str:
        scheme, rest = split_url(href)
        if scheme.lower() not in ("", "file"):
            return "" if scheme.lower() in self.schemes else not_allowed(href, scheme.lower())
        if "file" in self.schemes:
            return ""
        if root is None:
            why = f"is a file of this machine; expected URLs, as {self.where} is one"
        elif not _under(Path(rest), root):
            why = f"does not lie under {root}, the folder of the catalogue, links followed"
        else:
            return ""
        return (
            f"{rest} {why}. If you trust the catalogue, say so in the options of the sensor: "
            'allow = ["file"].'
        )

    def stac_io(self, *, static: bool) -> Any:
        """Return what reads the catalogue, for pystac or, of an API, its client."""
        pystac = need("pystac", "stac")
        base: Any = need("pystac_client.stac_api_io", "stac").StacApiIO
        reach = self

        class Io(base):  # type: ignore[misc]
            def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
                href = str(getattr(source, "href", source))
                if problem := reach.problem([href]):
                    raise SceneError(problem)
                scheme, rest = split_url(href)
                if scheme.lower() in ("", "file"):
                    return read_bytes(rest).decode()
                return str(super().read_text(source, *args, **kwargs))

            if static:  # its catalogues have no API to ask
                stac_object_from_dict = pystac.StacIO.stac_object_from_dict

        found = Io()
        keep_to(found.session, self.schemes)
        return found


def _folder(catalogue: Path) -> Path:
    return (catalogue if catalogue.is_dir() else catalogue.parent).resolve()


def _under(path: Path, root: Path) -> bool:
    """Return whether a path lies under a folder, wherever links lead."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links that lead to themselves
        return False
