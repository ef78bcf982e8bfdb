"""Write the reference of the configuration file, command line and methods from the code itself.

A page asks for one with a line ``<!-- generated: configuration -->``,
``<!-- generated: commands -->`` or ``<!-- generated: methods -->``, which is replaced by Markdown
when the page is read.  A key without a description stops the build.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from sphinx.errors import ExtensionError

from biastf_xr._keys import attributes_of, defaults_of
from biastf_xr.cli._command import Command
from biastf_xr.methods import LEARNED, METHODS, UNTRAINED, method_class, option_names
from biastf_xr.methods._shared import SharedOptions
from biastf_xr.sources.base import SharedProductOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sphinx.application import Sphinx

EXAMPLE = re.compile(r"`(biastf-xr [^`]+)`")
# Methods of which docs/_ext/method_pictures.py draws a picture.
PICTURED = (*UNTRAINED, "biastf-plus")
FILE = re.compile(r"(\S+\.(?:h5|hdf|json|tif|TIF|tar|nc))\b")
# Keys of a sensor that mean something to the coarse one only.
COARSE = ("native_resolution",)
PRODUCT_OPTIONS = {*defaults_of(SharedProductOptions)}
CODE = r"`\1`"
MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _markdown(text: str) -> str:
    """Turn the little reStructuredText of a docstring into Markdown."""
    return _cell(re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text).replace("``", "`"))


def _default(value: Any, *, quoted: bool = True) -> str:
    """Write a default as TOML does, nothing where there is none."""
    if value is dataclasses.MISSING or repr(value) == "PydanticUndefined":
        return "required"
    if (
        value is None
        or value == {}
        or dataclasses.is_dataclass(value)
        or isinstance(value, BaseModel)
        or str(value) in {"inf", "-inf"}
    ):
        return ""
    if isinstance(value, tuple):
        value = [*value]
    elif isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, (str, Path)) and quoted:
        value = f'"{value}"'
    return f"`{value}`"


def _choices(cls: type, name: str) -> str:
    """Return the values of a field that takes a few strings."""
    hint = cls.model_fields[name].annotation if issubclass(cls, BaseModel) else None
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f'"{v}"' for v in typing.get_args(hint))
    return ""


def table_of(cls: type, *, leave_out: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> str:
    """Write the table of a section's keys.

    `cls`: A pydantic model or a dataclass with an Attributes section.  Tables have a section of
    their own; what is hardly ever set stands below.
    """
    described = attributes_of(SharedOptions) | attributes_of(cls)
    about = {f.name: f.metadata for f in dataclasses.fields(cls)} if hasattr(
        cls, "__dataclass_fields__") else {}  # fmt: skip
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    fields = [
        (name, default) for name, default in defaults_of(cls).items()
        if name not in leave_out and name in (only or (name,))
        and not dataclasses.is_dataclass(default)
    ]  # fmt: skip
    for name, _ in fields:
        if name not in described or not described[name][1]:
            raise ExtensionError(f"{cls.__name__}.{name} has no description in its docstring")
    rare = [(name, default) for name, default in fields if about.get(name, {}).get("rare")]
    fields = [field for field in fields if field not in rare]
    # Keys that the docstring tells of together share a row.
    for (kind, meaning), group in groupby(fields, key=lambda field: described[field[0]]):
        together = list(group)
        names = ", ".join(f"`{name}`" for name, _ in together)
        defaults = ", ".join(filter(None, (_default(value) for _, value in together)))
        type_ = _choices(cls, together[0][0]) or kind.removesuffix(", optional")
        type_ = type_.replace("pathlib.Path", "path").replace("datetime.date", "date").strip("{}")
        lines.append(f"| {names} | {_cell(type_)} | {defaults} | {_markdown(meaning)} |")
    parts = ["\n".join(lines)] if fields else []
    if rare:
        constants = "\n".join(
            f"- `{name}`, {_default(value)}: {_markdown(described[name][1])}"
            for name, value in rare
        )
        parts.append(f"Constants, hardly ever set:\n\n{constants}")
    return "\n\n".join(parts)


def product_section(name: str) -> str:
    """Write the part about a product: what its files are called, and its options."""
    from biastf_xr.sources import PRODUCTS, product_class

    product = product_class(name)
    text = inspect.cleandoc(product.__doc__ or "").partition("\n\nAttributes\n")[0]
    files = "Files: " + FILE.sub(r"`\1`", product.expects) + "."
    like = next((n for n in PRODUCTS if product_class(n) in product.__mro__[1:]), "")
    options = [*defaults_of(product)] if not like else []
    common = [key for key in options if key in PRODUCT_OPTIONS]
    table = table_of(product, leave_out=(*common, *product.tables)) if options else (
        f"Options: those of `{like}`."
    )  # fmt: skip
    parts = [
        f'### product = "{name}"',
        prose(text),
        files,
        table,
        _shared_line(product, common, SharedProductOptions),
    ]
    for option, cls in product.tables.items():
        summary = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        parts += [f"The table `{option}`: {summary}", table_of(cls)]
    return "\n\n".join(filter(None, parts))


def _shared_line(cls: type, names: Sequence[str], usual: type) -> str:
    """Name the shared options of a product or method, with the defaults that are not the usual."""
    own, usually = defaults_of(cls), defaults_of(usual)
    named = [f"`{n}`" + (f" ({_default(own[n])})" if own[n] != usually[n] else "") for n in names]
    return f"Shared options: {', '.join(named)}." if named else ""


def products_table() -> str:
    """Write the table of the products."""
    from biastf_xr.sources import PRODUCTS, product_class

    rows = []
    for name in PRODUCTS:
        title, _, _ = inspect.cleandoc(product_class(name).__doc__ or "").partition("\n")
        rows.append(f"| `{name}` | {title} |")
    return "\n".join(["| `product` | what |", "| --- | --- |", *rows])


def files_table() -> str:
    """Write the table of the files that every product reads."""
    from biastf_xr.sources import PRODUCTS, product_class

    expected = {name: product_class(name).expects for name in PRODUCTS
                if product_class(name).patterns}  # fmt: skip
    rows = [f"| `{name}` | {_cell(FILE.sub(CODE, text))} |" for name, text in expected.items()]
    return "\n".join(["| `product` | files |", "| --- | --- |", *rows])


def unread_table() -> str:
    """Write the table of the files that are not read."""
    from biastf_xr.sources import PRODUCTS, product_class
    from biastf_xr.sources._unread import OTHERS

    rows = []
    for form in (*(form for name in PRODUCTS for form in product_class(name).refused), *OTHERS):
        match = form.pattern.match(form.example)
        groups = {"id": form.example, **(match.groupdict() if match else {})}
        rows.append(f"| `{form.example}` | {_cell(form.why.format(**groups))} |")
    return "\n".join(["| file | what `ingest` says |", "| --- | --- |", *rows])


def configuration_page() -> str:
    """Write the reference of the TOML file."""
    from biastf_xr import config
    from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule
    from biastf_xr.sources import PRODUCTS

    parts = [
        "## `[fine]` and `[coarse]`", table_of(config.Source, leave_out=("options", *COARSE)),
        "### Only in `[coarse]`", table_of(config.Source, only=COARSE),
        "## `[fine.options]` and `[coarse.options]`",
        "Which keys there are depends on `product`.",
        "### Options that several products share", table_of(SharedProductOptions),
        *map(product_section, PRODUCTS),
        "## `[grid]`", table_of(config.GridSection),
        "## `[method]`", table_of(config.MethodSection, leave_out=("options",)),
        "## `[method.options]`",
        "The [methods](methods.md) page lists the options of each. Those of networks hold tables:",
        "### `[method.options.network]`", table_of(NetworkShape),
        "### `[method.options.samples]`", table_of(SampleRule),
        "### `[method.options.train]`", table_of(TrainRule),
        "## `[fuse]`", table_of(config.FuseSection),
        "## `[cluster]`", table_of(config.ClusterSection),
        "## `[update]`", table_of(config.UpdateSection),
    ]  # fmt: skip
    return "\n\n".join(parts)


def commands_page() -> str:
    """Write the reference of the command line."""
    import typer.main

    from biastf_xr.cli._app import app
    from biastf_xr.errors import ExitCode

    root: Any = typer.main.get_command(app)
    found = [*_commands(root, ())]
    table = ["| command | what it does |", "| --- | --- |"]
    sections = []
    for words, command in found:
        name = " ".join(words)
        first = inspect.cleandoc(command.help or "").partition("\n\n")[0]
        table.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {_markdown(first)} |")
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        shown = [p.metavar or p.name.upper() for p in arguments]
        rest = ["COMMAND"] if hasattr(command, "commands") else [*shown, "[options]"]
        usage = " ".join(["biastf-xr", name, *rest])
        sections += [f"{'#' * (len(words) + 1)} {name}", f"```console\n{usage}\n```"]
        sections += [examples_apart(command.help or ""), _options(command)]
    every = ["## Options of every command", "Before or after the command.", _options(root)]
    codes = ["## Exit codes", "\n".join(["| code | meaning |", "| --- | --- |",
             *(f"| {int(code)} | {code.meaning} |" for code in ExitCode)])]  # fmt: skip
    described = [root.help.partition("\n\nExit codes")[0], "\n".join(table)]
    return "\n\n".join([*described, *every, *codes, *sections])


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List the commands of a group, and those of the groups in it."""
    for name, command in group.commands.items():
        if not command.hidden:
            yield (*words, name), command
            if hasattr(command, "commands"):
                yield from _commands(command, (*words, name))


def examples_apart(text: str) -> str:
    """Turn the examples of a help text into blocks of code.

    `text`: Help of a command, Markdown; an example is a whole command in backticks, in a
    paragraph that begins with "Example" or that is nothing else.
    """
    found = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        commands = [" ".join(c.split()) for c in EXAMPLE.findall(paragraph)]
        rest = " ".join(re.sub(r",?\s+or$", "", EXAMPLE.sub("", paragraph).strip()).split())
        if not commands or not (rest == "" or rest.startswith("Example")):
            found.append(paragraph)
            continue
        head, note = re.match(r"(Examples?:)?,?\s*(.*)", rest).groups()  # type: ignore[union-attr]
        found += [" ".join(filter(None, [head, note.strip("(), ")]))] if rest else []
        found += [f"```console\n{command}\n```" for command in commands]
    return "\n\n".join(found)


def _options(command: Any) -> str:
    """Write the table of a command's options."""
    if isinstance(command, Command):
        command.explain()
    lines = []
    for option in command.params:
        if option.name in ("help", "install_completion", "show_completion"):
            continue
        if not option.help:
            raise ExtensionError(f"option {option.name} of {command.name} has no help")
        default = "" if option.default is False else _default(option.default, quoted=False)
        names = [option.metavar or option.name.upper()]
        if option.param_type_name == "option":
            names = [*option.opts, *option.secondary_opts]
        label = ", ".join(f"`{n}`" for n in names)
        lines.append(f"| {label} | {default} | {_markdown(option.help)} |")
    return "\n".join(
        ["| option | default | meaning |", "| --- | --- | --- |", *lines] if lines else []
    )


def prose(text: str) -> str:
    """Turn paragraphs of a docstring into Markdown: literal blocks, code and DOIs."""
    parts: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if parts and parts[-1].endswith("::"):
            parts[-1] = parts[-1].removesuffix(":")
            parts.append(f"```text\n{inspect.cleandoc(paragraph)}\n```")
        else:
            linked = re.sub(r"doi (10\.[^\s,]+\w)", r"[doi:\1](https://doi.org/\1)", paragraph)
            parts.append(linked.replace("``", "`"))
    return "\n\n".join(parts)


def methods_sections() -> str:
    """Write a section for every method: what its docstring says, its picture, its options."""
    common = ["## Options that several methods share", "Each method names those it has.",
              table_of(SharedOptions).replace("| key |", "| option |", 1)]  # fmt: skip
    return "\n\n".join([*common, *map(_method_section, METHODS)])


def _method_section(name: str) -> str:
    cls = method_class(name)
    first, *others = re.split(r"\n\n(?=\w+\n-{3,}\n)", inspect.getdoc(cls) or "")
    sections = {title: text for title, _, text in (o.split("\n", 2) for o in others)}
    parts = [f"## {name}", prose(first)]
    if name in PICTURED:
        label = f"True image, prediction of {name}, and its error in near infrared"
        parts.append(f"![{label}](../generated/methods/{name}.png)")
    schema = cls.options if name in LEARNED else cls
    own = [f for f in dataclasses.fields(schema)
           if f.name != "name" and not f.metadata.get("bound")]  # fmt: skip
    common = [f.name for f in own if f.metadata.get("shared")]
    tables = [f"`{f.name}`" for f in own if dataclasses.is_dataclass(f.default)]
    only_preset = [f for f in own if f.metadata.get("preset")]
    shown = {f.name for f in own} - {*common} - {f.name for f in only_preset}
    table = table_of(schema, leave_out=tuple({*defaults_of(schema)} - shown))
    parts.append(table.replace("| key |", "| option |", 1))
    parts.append(_shared_line(schema, common, SharedOptions))
    if tables:
        parts.append(f"Tables: {', '.join(tables)}, see [](configuration.md#methodoptions).")
    if not own:
        parts.append("No options.")
    described = attributes_of(schema)
    for preset, options in cls.presets.items():
        named = ", ".join(f"{key} = {value!r}" for key, value in options.items())
        meant = [f"- `{f.name}`: {_markdown(described[f.name][1])}" for f in only_preset
                 if f.metadata["preset"] == preset]  # fmt: skip
        parts.append(f'`preset = "{preset}"`, as that program: `{named}`.')
        parts += ["Of these only it sets:\n\n" + "\n".join(meant)] if meant else []
    parts += [prose(sections[title]) for title in ("Notes", "References") if title in sections]
    return "\n\n".join(filter(None, parts))


def configuration_schema() -> dict[str, Any]:
    """Return the JSON schema of the TOML file, with what its keys mean."""
    from biastf_xr import config

    schema = config.Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A run of biastf_xr"
    parts = {"Config": schema, **schema["$defs"]}
    for name, part in parts.items():
        cls = getattr(config, name)
        part["description"] = (inspect.getdoc(cls) or "").partition("\n\n")[0]
        described = attributes_of(cls)
        for key, field in part["properties"].items():
            field["description"] = re.sub(r"\s+", " ", described[key][1]).replace("`", "")
    parts["MethodSection"]["allOf"] = [_options_schema(name) for name in METHODS]
    return schema


def _options_schema(name: str) -> dict[str, Any]:
    """Return the rule that a method has its own options and no others."""
    cls = method_class(name)
    known = {key.partition(".")[0] for key in option_names(name)} | set(cls.presets and {"preset"})
    described = attributes_of(SharedOptions) | attributes_of(
        cls.options if name in LEARNED else cls
    )
    meanings = {
        key: described.get(key, ("", "A named set of options."))[1] for key in sorted(known)
    }
    properties = {
        key: {"description": re.sub(r"\s+", " ", meaning).replace("`", "")}
        for key, meaning in meanings.items()
    }
    options = {"properties": properties, "additionalProperties": False}
    return {
        "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
        "then": {"properties": {"options": options}},
    }


def write_schema(app: Sphinx) -> None:
    """Write the schema of the TOML file where the pages can offer it."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    (folder / "biastf-xr.schema.json").write_text(json.dumps(configuration_schema(), indent=1))


def exit_codes_table() -> str:
    """Write the table of the exit codes of the scheduled job."""
    from biastf_xr.errors import ExitCode

    rows = (f"| {int(code)} | {code.meaning} | {code.remedy} |" for code in ExitCode)
    return "\n".join(["| code | meaning | to do |", "| --- | --- | --- |", *rows])


def failures_sections() -> str:
    """Write what each failure of the scheduled job means, one heading an error."""
    from biastf_xr._update.outcomes import FAILURES, UNKNOWN

    parts = []
    for failure in (*FAILURES, UNKNOWN):
        first, *others = failure.errors
        also = f" Also {', '.join(f'`{name}`' for name in others)}." if others else ""
        parts += [f"### {first}", f"{failure.meaning}{also}", f"**Repair.** {failure.repair}"]
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "configuration": configuration_page,
    "commands": commands_page,
    "exit_codes": exit_codes_table,
    "failures": failures_sections,
    "methods": methods_sections,
    "products": products_table,
    "files": files_table,
    "unread": unread_table,
}


def fill_in(app: Sphinx, _: str, source: list[str]) -> None:
    """Replace the marks of a page."""
    if MARK.search(source[0]):
        app.env.note_reread()
        source[0] = MARK.sub(lambda match: PAGES[match[1]](), source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_schema)
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True}
