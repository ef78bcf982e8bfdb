"""The size of the house: what a newcomer reads, types and touches, counted from the sources.

    python benchmarks/house.py [ROOT] [--circles]

ROOT is a checkout, by default this one; two checkouts are compared by two calls.  How it counts:

- lines: of every module of the package; code lines are those that hold a token which is neither a
  comment nor part of a docstring;
- public names: functions and classes at the top level of a module, without a leading underscore, in
  modules without a component that begins with one;
- command-line parameters: arguments and options of every command but `--help` and those that all
  commands share;
- configuration keys: names in the tables of keys and options of the generated reference, those of
  `[fine]` and `[coarse]` twice; an option that several methods or products share stands there once,
  a table of keys is its keys, and constants that are hardly ever set are listed below the tables;
- keys spelt out: everything that a file may hold but for what only a preset sets, the options of
  every method and product separately, tables and constants too, as keys were counted at first;
- words of documentation: of every Markdown file, notes on decisions included, but the changelog;
- files of a toy method, product or store, as a stranger adds them in `tests/**/test_own_*.py`: its
  module, its test, and those with a registry that the test adds a line to;
- import circles: groups of modules that import each other, at the top or inside functions; with
  those that only a type checker sees they are counted too.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "biastf_xr"
HERE = Path(__file__).parents[1]
SPACING = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
           tokenize.ENCODING, tokenize.ENDMARKER}  # fmt: skip


def modules(root: Path) -> dict[str, Path]:
    """Return the file of every module of the package, by its dotted name."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((root / PACKAGE).rglob("*.py"))
    }


def code_lines(source: str) -> int:
    """Count the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SPACING:
            lines |= {*range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            lines -= {*range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)}
    return len(lines)


def public_names(root: Path) -> list[str]:
    """Return the public functions and classes."""
    return [
        f"{module}.{node.name}"
        for module, path in modules(root).items()
        if not re.search(r"\._(?!_)", module)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]


def _imports(node: ast.AST, *, types: bool) -> Iterator[tuple[str, str | None]]:
    """Yield what is imported, module and name, inside functions too; for type checkers if asked."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not types:
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, None) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ((child.module or "", alias.name) for alias in child.names)
        else:
            yield from _imports(child, types=types)


def circles(root: Path, *, types: bool = False) -> list[list[str]]:
    """Return the groups of modules that import each other; with `types` for type checkers too."""
    files = modules(root)
    edges: dict[str, set[str]] = {}
    for module, path in files.items():
        found = _imports(ast.parse(path.read_text()), types=types)
        names = {f"{m}.{n}" if f"{m}.{n}" in files else m for m, n in found}
        edges[module] = {name for name in names if name in files and name != module}
    reach = {module: _reached(edges, module) for module in edges}
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in edges if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def _reached(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [*edges[start]]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += edges[module]
    return seen


def _app() -> Any:
    from typer.main import get_command

    for name in ("_app", "app"):
        try:
            return get_command(import_module(f"{PACKAGE}.cli.{name}").app)
        except ModuleNotFoundError:
            continue
    raise SystemExit("no command line found")


def _leaves(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from _leaves(command)
        else:
            yield command


def parameters() -> tuple[int, int]:
    """Return how many commands there are, and how many parameters of their own they have."""
    commands = [{p.name for p in command.params} - {"help"} for command in _leaves(_app())]
    shared = set.intersection(*commands)
    return len(commands), sum(len(names - shared) for names in commands)


def keys(root: Path) -> int:
    """Count the keys of the configuration file, options of products and methods included."""
    sys.path.insert(0, str(root / "docs" / "_ext"))
    pages = import_module("reference_pages").PAGES
    count = sections = 0
    for line in "\n\n".join(page() for name, page in pages.items() if name != "commands").split(
        "\n"
    ):
        if line.startswith("#"):
            sections = max(1, line.count("["))
        elif line.startswith(("| key |", "| option |")):
            table = True
        elif not line.startswith("|"):
            table = False
        elif table and not line.startswith("| ---"):
            count += (line.split("|")[1].count("`") // 2) * sections
    return count


def spelt_out() -> int:
    """Count all that a file may hold, the options of every method and product separately."""
    config, stored = import_module(f"{PACKAGE}.config"), import_module(f"{PACKAGE}._keys")
    methods, sources = import_module(f"{PACKAGE}.methods"), import_module(f"{PACKAGE}.sources")
    biastf = import_module(f"{PACKAGE}.methods.biastf")
    products = [sources.product_class(name) for name in sources.PRODUCTS]
    sections = [config.Source, config.Source, config.GridSection, config.MethodSection,
                config.FuseSection, config.ClusterSection, config.UpdateSection, *products,
                *(table for product in products for table in product.tables.values()),
                biastf.NetworkShape, biastf.SampleRule, biastf.TrainRule]  # fmt: skip
    own = sum(len(stored.defaults_of(section)) for section in sections)
    heads = [{k.partition(".")[0] for k in methods.option_names(m)} for m in methods.METHODS]
    return own + sum(map(len, heads))


def toys(root: Path) -> dict[str, int]:
    """Return how many files each toy touches that a test adds as a stranger would."""
    return {
        path.stem.removeprefix("test_own_").replace("_", " "): 2
        + len({*re.findall(r"setitem\((\w+)", path.read_text())})
        for path in sorted((root / "tests").rglob("test_own_*.py"))
    }


def words(root: Path) -> dict[str, int]:
    """Return the number of words of every page, by its path."""
    skip = {"CHANGELOG.md"}
    pages = [
        *root.glob("*.md"),
        *(root / "docs").rglob("*.md"),
        *(root / "pipelines").rglob("*.md"),
    ]
    return {
        str(page.relative_to(root)): len(page.read_text().split())
        for page in pages
        if page.name not in skip and "generated" not in page.parts and "_build" not in page.parts
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=HERE)
    parser.add_argument("--circles", action="store_true", help="print the modules of each circle")
    asked = parser.parse_args()
    root = asked.root.resolve()
    sys.path.insert(0, str(root))
    sources = [path.read_text() for path in modules(root).values()]
    lines, code = sum(s.count("\n") for s in sources), sum(map(code_lines, sources))
    commands, options = parameters()
    pages = words(root)
    longest = max(pages, key=pages.__getitem__)
    found = circles(root, types=True)
    rows = {
        "package lines": (lines, 34_000),
        "lines of code without docstrings": (code, 20_500),
        "public top-level names": (len(public_names(root)), 200),
        f"command-line parameters of {commands} commands": (options, 80),
        "configuration keys": (keys(root), 150),
        "configuration keys spelt out": (spelt_out(), None),
        **{f"files to touch for a {name}": (count, 2) for name, count in toys(root).items()},
        "words of documentation": (sum(pages.values()), 26_000),
        f"longest page, {longest}": (pages[longest], 2_500),
        "import circles": (len(circles(root)), 0),
        "import circles, with types": (len(found), 1),
    }
    print("| measure | now | aim at most |\n| --- | --- | --- |")
    for name, (now, aim) in rows.items():
        print(f"| {name} | {now:,} | {'none' if aim is None else f'{aim:,}'} |")
    if asked.circles:
        for group in found:
            print(" ".join(group))


if __name__ == "__main__":
    main()
