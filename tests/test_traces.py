"""What a run prints and leaves: no secret, and of a name from outside nothing that acts."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import subprocess
import sys
import warnings
from unicodedata import category

import numpy as np
import pytest
from checks import some

from biastf_xr import cli
from biastf_xr.sources import build_product

pytest.importorskip("pystac")

SECRET, TOKEN = "canary", "sesame-open-yourself"

# Hands out the files of a folder to who knows the password and has any signature.
SERVER = """
import http.server, pathlib, re, sys

class Guarded(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name, _, query = self.path.strip("/").partition("?")
        file = pathlib.Path(sys.argv[1]) / name
        if self.headers.get("Authorization") != sys.argv[2] or "sig=" not in query:
            return self.answer(401, b"")
        if not file.is_file():
            return self.answer(404, b"")
        content = file.read_bytes()
        part = re.match("bytes=([0-9]+)-([0-9]*)", self.headers.get("Range", ""))
        if part is None:
            return self.answer(200, content)
        first, last = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        range_ = f"bytes {first}-{last}/{len(content)}"
        self.answer(206, content[first : last + 1], **{"Content-Range": range_})

    do_HEAD = do_GET

    def answer(self, code, content, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

CONFIG = """
[fine]
product = "stac"
folder = "items"
cube = "fine.zarr"
options = {{ like = "landsat-c2-l2", allow = ["http"] }}
[coarse]
product = "mod09ga"
folder = "{modis}"
cube = "coarse.zarr"
[method]
name = "direct"
[fuse]
output = "memory://user:{secret}@bucket/fused.zarr?sig={signature}"
start = 2021-04-15
end = 2021-04-18
[cluster]
kind = "in-process"
[update]
steps = ["ingest", "fuse", "evaluate", "report", "export", "publish"]
export = "cogs"
publish = "catalogue"
handbook = "https://example.org/card"
"""


@pytest.fixture
def port(small_scenes):
    known = "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode()
    command = [sys.executable, "-c", SERVER, str(small_scenes.landsat), known]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture
def biastf(tmp_path, monkeypatch, capfd):
    """Return what runs the program here, and returns its exit code and all that it printed."""
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.chdir(tmp_path)
    factory = logging.getLogRecordFactory()

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["biastf-xr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return ended.value.code, said.out + said.err

    yield run
    logging.setLogRecordFactory(factory)


def write(folder, scenes, port, signature, lost=""):
    """Write the configuration, and an item for every scene, signed."""
    (folder / "items").mkdir(exist_ok=True)
    corners = [[146.5, -34.63], [146.55, -34.63], [146.55, -34.6], [146.5, -34.6], [146.5, -34.63]]
    query = f"sig={signature}&se={signature}&redirect=https%3A%2F%2Fu%3A{SECRET}%40h"
    for scene in some(build_product("landsat-c2-l2").find_scenes(scenes.landsat)):
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": scene.id, "links": [],
            "geometry": {"type": "Polygon", "coordinates": [corners]},
            "bbox": [146.5, -34.63, 146.55, -34.6],
            "properties": {"datetime": f"{scene.date}T01:00:00Z"},
            "assets": {
                layer: {
                    "href": f"http://user:{SECRET}@127.0.0.1:{port}/{lost}"
                    f"{file.relative_to(scenes.landsat)}?{query}"
                }
                for layer, file in scene.files.items()
            },
        }  # fmt: skip
        (folder / "items" / f"{scene.id}.json").write_text(json.dumps(item))
    text = CONFIG.format(modis=scenes.modis, secret=SECRET, signature=signature)
    (folder / "config.toml").write_text(text)


def left(folder):
    """Return all that lies in a folder, but what the test wrote: names, files, arrays of cubes."""
    import zarr

    found = {}
    for file in folder.rglob("*"):
        if file.is_file() and file.parent.name != "items" and file.name != "config.toml":
            found[str(file)] = str(file).encode() + file.read_bytes()
    stores = [store for store in (folder / "fine.zarr", folder / "coarse.zarr") if store.exists()]
    for store in (*stores, *memory()):
        root = zarr.open_group(store, mode="r")
        found[str(store)] = json.dumps(dict(root.attrs)).encode()
        for name, array in arrays(root):
            values = array[...]
            texts = values.dtype.kind in "OTU"
            held = "\n".join(map(str, np.ravel(values))).encode() if texts else values.tobytes()
            found[f"{store}/{name}"] = json.dumps(dict(array.attrs)).encode() + held
    return found


def memory():
    """Return the fused cube, which lies in the memory, if it is there."""
    import fsspec
    from zarr.storage import FsspecStore

    there = [
        k for k in fsspec.filesystem("memory").store if k.endswith("fused.zarr?sig=a/zarr.json")
    ]
    return [FsspecStore.from_url(f"memory:/{k.removesuffix('/zarr.json')}") for k in there]


def arrays(group):
    import zarr

    for name, member in group.members(max_depth=None):
        if isinstance(member, zarr.Array):
            yield name, member


def secret_in(content):
    text = content if isinstance(content, bytes) else content.encode()
    signatures = (b"sig=a", b"sig=b", b"=signed")
    return any(s in text for s in (SECRET.encode(), TOKEN.encode(), *signatures))


def test_no_secret_is_left_by_a_run(small_scenes, tmp_path, port, biastf):
    write(tmp_path, small_scenes, port, "a")
    code, said = biastf("update", "config.toml", "--verbose")
    assert code == 0, said
    assert "added" in said
    found = left(tmp_path)
    for name in ("status.html", "log.jsonl", "report.html", "report.json", "collection.json",
                 "ingest/record", "fusion/recipes", "fused.zarr.log.jsonl"):  # fmt: skip
        assert any(name in file for file in found), (name, list(found))
    assert any(file.endswith(".tif") for file in found)
    assert [file for file, content in found.items() if secret_in(content)] == []
    assert not secret_in(said)
    page = next(v for k, v in found.items() if k.endswith("status.html")).decode()
    assert "memory://bucket/fused.zarr" in page
    collection = json.loads((tmp_path / "catalogue" / "collection.json").read_text())
    assert collection["assets"]["zarr"]["href"] == "memory://bucket/fused.zarr"
    for command in ("plan", "fuse", "status", "tidy", "doctor", "ingest"):
        for option in ("--json", "--verbose"):
            code, said = biastf(command, "config.toml", option)
            assert code == 0, said
            assert not secret_in(said), command
    for words in (("info",), ("verify",), ("roll-back",)):
        _, said = biastf(*words, f"memory://user:{SECRET}@bucket/fused.zarr?sig=a")
        assert "memory://bucket/fused.zarr" in said
        assert not secret_in(said), words


def test_sources_that_were_signed_anew_are_the_same(small_scenes, tmp_path, port, biastf):
    write(tmp_path, small_scenes, port, "a")
    assert biastf("ingest", "config.toml")[0] == 0
    write(tmp_path, small_scenes, port, "b")
    code, said = biastf("ingest", "config.toml", "--json")
    assert code == 0, said
    fine = json.loads(said[said.index("{\n") : said.rindex("}") + 1])["fine"]
    assert len(fine["unchanged"]) == 3
    assert fine["added"] == {}


def test_no_secret_is_left_by_a_run_that_fails(small_scenes, tmp_path, port, biastf):
    write(tmp_path, small_scenes, port, "a", lost="gone/")
    code, said = biastf("update", "config.toml")
    assert code == 2
    assert f"127.0.0.1:{port}/gone/" in said
    found = left(tmp_path)
    (log,) = (v.decode() for k, v in found.items() if k.endswith("nights/log.jsonl"))
    assert "Traceback" in log
    assert [file for file, content in found.items() if secret_in(content)] == []
    assert not secret_in(said)
    for words in (("--debug",), ("--json",), ("--verbose",)):
        code, said = biastf("ingest", "config.toml", *words)
        assert code == (1 if words == ("--debug",) else 2)
        assert ("Traceback" in said) is (words == ("--debug",))
        assert not secret_in(said)


# As the path of a folder; with what no configuration may hold; as anything else.
NAME = "x[/b]\u202e<b onload='y'>\"&|`{z}"
INNER = f"{NAME}\x1b[31m\r\n\x9b2J"
ANY = f"{INNER}</script></title><script>alert(1)</script>-->"


def acts(text):
    """Return what in a text acts on whatever shows it."""
    return [c for c in text if not (c.isprintable() or c == "\n" or category(c) == "Zs")]


@pytest.fixture
def strange(small_scenes, tmp_path):
    """Write scenes into a folder of a hostile name, and items of hostile ids, one without files."""
    modis = tmp_path / f"modis {NAME}"
    shutil.copytree(small_scenes.modis, modis / INNER)
    items = tmp_path / f"items {NAME}"
    items.mkdir(parents=True)
    scenes = some(build_product("landsat-c2-l2").find_scenes(small_scenes.landsat))
    for number, scene in enumerate([*scenes, scenes[0]]):
        lost = number == len(scenes)
        files = {} if lost else {layer: str(file) for layer, file in scene.files.items()}
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": f"{number} {ANY}", "links": [],
            "geometry": None, "properties": {"datetime": f"{scene.date}T01:00:00Z"},
            "collection": ANY, "assets": {key: {"href": file} for key, file in files.items()},
        }  # fmt: skip
        item["assets"] |= {ANY: {"href": f"{ANY}.txt"}}
        (items / f"{number}.json").write_text(json.dumps(item))
    keys = {layer: layer for layer in scenes[0].files}
    return items, modis, keys


def test_names_from_outside_do_not_act(strange, tmp_path, biastf):
    items, modis, keys = strange
    (tmp_path / "config.toml").write_text("")
    sets = {
        "fine.product": "stac", "fine.folder": items, "fine.cube": "fine.zarr",
        "fine.options.like": "landsat-c2-l2", "fine.options.allow": '["file"]',
        "coarse.product": "mod09ga", "coarse.folder": modis, "coarse.cube": "coarse.zarr",
        "method.name": "direct", "fuse.output": f"fused {NAME}.zarr", "cluster.kind": "in-process",
        "fuse.start": "2021-04-15", "fuse.end": "2021-04-18",
    }  # fmt: skip
    options = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    options += [w for k, v in keys.items() for w in ("--set", f"fine.options.assets.{k}={v}")]
    for words in ("ingest", "plan", "update --verbose", "status", "doctor", "tidy"):
        code, said = biastf(*words.split(), "config.toml", *options)
        assert code == 0, (words, said)
        assert "Traceback" not in said
        assert acts(said) == [], words
    modis.rename(tmp_path / "modis \udcff")  # a byte that is no text, which GDAL cannot open
    code, said = biastf(
        "ingest", "config.toml", *options, "--set", "coarse.folder=.", "--overwrite"
    )
    assert (code, acts(said)) == (2, [])
    assert "\\udcff" in said
    assert "Traceback" not in said
    (page,), (log,) = (list(tmp_path.rglob(f"*.nights/{f}")) for f in ("status.html", "log.jsonl"))
    for file in page, log:
        assert acts(file.read_text("utf-8")) == []
    assert not any(tag in page.read_text("utf-8") for tag in ("<b onload", "<script"))


def test_attributes_from_outside_do_not_act(small_cubes, tmp_path, biastf):
    import zarr

    fine, coarse, fused = (tmp_path / f"{name}.zarr" for name in ("fine", "coarse", "fused"))
    shutil.copytree(small_cubes.fine, fine)
    shutil.copytree(small_cubes.coarse, coarse)
    sets = ["--set", "method.name=direct", "--set", "cluster.kind=in-process"]
    cubes = ["--fine", fine, "--coarse", coarse, *sets]
    days = ["--start", "2021-04-15", "--end", "2021-04-18"]
    assert biastf("fuse", *cubes, *days, "--output", fused)[0] == 0
    for path in fine, coarse, fused:
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        root.attrs.update(title=ANY, history=f"{ANY}\n{ANY}", source=ANY, references=ANY)
        for _, array in arrays(root):
            array.attrs.update(long_name=ANY)
        if path == fused:
            root.attrs["biastf_method"] = json.dumps({"method": ANY, "options": {ANY: ANY}})
        zarr.consolidate_metadata(path)
    report = tmp_path / "report.html"
    scored = ["--date", "2021-04-17", "--report", report, "--report", tmp_path / "scores.csv"]
    for words in (
        ("info", fused, "--picture", tmp_path / "calendar.png"), ("info", coarse, "--json"),
        ("verify", fused), ("verify", fine), ("export", fused, tmp_path / "cogs"),
        ("publish", fused, tmp_path / "catalogue"), ("plan", *cubes, "--dry-run"),
        ("rechunk", fused, tmp_path / "series.zarr"), ("evaluate", *cubes, *scored),
    ):  # fmt: skip
        code, said = biastf(*words)
        assert code == 0, (words, said)
        assert acts(said) == [], words
    code, said = biastf("plan", "[/b].toml", "--x[/b]", "[/b]")
    assert code == 2
    assert "Traceback" not in said
    files = [report, report.with_suffix(".json"), tmp_path / "scores.csv"]
    files += some([*(tmp_path / "catalogue").rglob("*.json")])
    for file in files:
        assert acts(file.read_text("utf-8")) == [], file
    assert "<script>alert" not in report.read_text("utf-8")
