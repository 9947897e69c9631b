"""The page at ``/``: texts in, a pool or model, types; entities in colours out, and which experts were chosen and why.

It asks through the same batches and jobs as the API, and loads nothing from elsewhere: a content security policy that
the browser keeps sees to it, whatever Gradio may come to want.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samner.data import read_examples, write_examples
from samner.entities import Entity, EntityType, Example
from samner.errors import SamnerError
from samner.serving.batching import Batcher, Question
from samner.serving.catalog import Catalog
from samner.serving.errors import ApiError
from samner.serving.jobs import Jobs
from samner.serving.limits import Limits, too_long
from samner.task_model import TaskModel

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_SHOWN = 50_000
"""Characters of texts that are shown; more are read and downloaded."""
_COLOURS = (
    "#2563eb",
    "#db2777",
    "#16a34a",
    "#d97706",
    "#7c3aed",
    "#0891b2",
    "#dc2626",
    "#65a30d",
    "#c026d3",
    "#475569",
)
_DOWNLOADS = {
    "JSON Lines": ("jsonl", "entities.jsonl"),
    "spaCy": ("spacy-json", "entities.spacy.json"),
    "Label Studio": ("label-studio", "entities.label-studio.json"),
}
"""What a download is called, in which of samner's formats it is, and its file."""
_SAMPLE = """\
Shares of Halvorsen Biologics fell nine percent in Copenhagen after the company stopped a trial of tolvarimab.
The European Medicines Agency has asked Meridane Pharma for more data on liver injury before it decides on zelunatinib.
Ingrid Maldonado, who has led Quillon Therapeutics in Basel since 2021, expects aspirin to ease the headache."""
_TYPES = "person\norganization\ncity\ndrug\ndisease"
_CSS = """
#shown p { margin: 0 0 .7em; line-height: 2.1; overflow-wrap: anywhere; white-space: pre-wrap; }
#shown mark { color: inherit; padding: .15em .3em; border-radius: .3em; border-bottom: .15em solid var(--colour);
  background: color-mix(in srgb, var(--colour) 22%, transparent); }
#shown small { font-size: .72em; margin-left: .35em; white-space: nowrap; }
#shown, #experts { max-height: 36em; overflow: auto; }
#experts table { border-collapse: collapse; width: 100%; }
#experts th, #experts td { text-align: left; padding: .25em .6em; }
.samner-bar { display: inline-block; width: 8em; height: .8em; margin-right: .5em; vertical-align: middle;
  background: color-mix(in srgb, currentColor 12%, transparent); border-radius: .2em; overflow: hidden; }
.samner-bar > span { display: block; height: 100%; background: #2563eb; }
:focus-visible { outline: 3px solid #2563eb !important; outline-offset: 2px; }
"""


@dataclass(frozen=True)
class _Asked:
    """What the texts shown were read with, so that other thresholds read them again."""

    model: str
    types: tuple[EntityType, ...]
    texts: tuple[str, ...]
    threshold: float


def mount(app: FastAPI, catalog: Catalog, limits: Limits, batcher: Batcher, jobs: Jobs) -> None:
    """Put the page at ``/`` of an application, behind what the application has already.

    Uploads and downloads lie in a folder of this process, which goes with it.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    folder = tempfile.TemporaryDirectory(prefix="samner-page-")
    app.state.page_folder = folder
    made, served = Path(folder.name, "made"), Path(folder.name, "served")
    made.mkdir()
    served.mkdir()
    os.environ["GRADIO_TEMP_DIR"] = str(served)  # where it copies files that are made elsewhere, and deletes them
    import gradio

    fonts = [gradio.themes.Font(name) for name in ("Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")]
    theme = gradio.themes.Default(font=fonts, font_mono=[gradio.themes.Font("monospace")])
    for name in ("block_info_text_color", "body_text_color_subdued"):  # its own are too pale to be read by all
        theme.set(**{name: "*neutral_600", f"{name}_dark": "*neutral_300"})
    blocks = _Page(catalog, limits, batcher, jobs, made).blocks()
    blocks.queue(max_size=limits.requests, default_concurrency_limit=8)
    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=theme,
        css=_CSS,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=limits.body,
    )
    app.add_middleware(_Contained)


class _Contained:
    """Lets the page load what comes from this server, and nothing else; lets no page of another site read it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def contained(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                for name in [name for name in headers if name.startswith("access-control-")]:
                    del headers[name]  # beyond loopback, Gradio would allow every origin
            await send(message)

        await self.app(scope, receive, contained if scope["type"] == "http" else send)


class _Page:
    """What the page does; the texts of one visitor are known to the visitor's session alone."""

    def __init__(self, catalog: Catalog, limits: Limits, batcher: Batcher, jobs: Jobs, folder: Path) -> None:
        self.catalog = catalog
        self.limits = limits
        self.batcher = batcher
        self.jobs = jobs
        self.folder = folder

    def blocks(self) -> Any:
        """The page as Gradio's blocks."""
        import gradio as gr

        with gr.Blocks(
            title="samner: entities of your domain", analytics_enabled=False, delete_cache=(600, 3600)
        ) as page:
            gr.Markdown(
                "# samner\nEntities of a domain nobody labelled: paste texts, name types, and see what is found."
            )
            asked = gr.State(None, time_to_live=3600)
            with gr.Row():
                with gr.Column(scale=3):
                    texts = gr.Textbox(_SAMPLE, label="Texts, one a line", lines=8, max_lines=20, elem_id="texts")
                    upload = gr.UploadButton(
                        "Upload texts (.txt, .jsonl, .csv, .conll)",
                        file_types=list(_UPLOADS),
                        size="sm",
                        elem_id="upload",
                    )
                with gr.Column(scale=2):
                    sources = self.sources()
                    source = gr.Dropdown(
                        sources, value=sources[0][1] if sources else None, label="Read by", elem_id="source"
                    )
                    types = gr.Textbox(
                        _TYPES if self.catalog.pools else "",
                        label="Entity types, one a line: name, or name: description",
                        placeholder="drug: a medicine by its brand or generic name",
                        info="With a model, leave it empty for those that it was adapted to.",
                        lines=6,
                        elem_id="types",
                    )
                    find = gr.Button("Find entities", variant="primary", elem_id="find")
            said = gr.HTML(elem_id="said")
            with gr.Tabs():
                with gr.Tab("Entities"):
                    shown = gr.HTML(elem_id="shown")
                with gr.Tab("As a table"):
                    table = gr.Dataframe(
                        headers=_COLUMNS, interactive=False, label="Entities", wrap=True, elem_id="table"
                    )
                with gr.Tab("Which experts, and why"):
                    experts = gr.HTML(elem_id="experts")
            with gr.Row():
                downloads = [
                    gr.DownloadButton(
                        f"Download as {name}", interactive=False, size="sm", elem_id=f"download-{format}"
                    )
                    for name, (format, _) in _DOWNLOADS.items()
                ]
            answers = [said, shown, table, experts, *downloads]

            def thresholds(asked: _Asked | None) -> None:
                if asked is None:
                    return
                gr.Markdown("### Thresholds: the score from which an entity counts, by type")
                with gr.Row():
                    sliders = [
                        gr.Slider(
                            0.01, 0.99, asked.threshold, step=0.01, label=one.name, interactive=True, min_width=240
                        )
                        for one in asked.types
                    ]

                def again(*values: float) -> Iterator[tuple[Any, ...]]:
                    yield from self.again(asked, values)

                for slider in sliders:
                    # changed by keys or by the mouse; while one answer is made, only the last change waits
                    slider.change(
                        again,
                        sliders,
                        [said, shown, table, *downloads],
                        trigger_mode="always_last",
                        show_progress="hidden",
                        api_visibility="private",
                    )

            gr.render(inputs=asked)(thresholds)
            find.click(
                self.find,
                [texts, source, types],
                [asked, *answers],
                trigger_mode="once",
                api_visibility="private",
                concurrency_limit=8,
            )
            upload.upload(self.upload, upload, [texts, said], api_visibility="private")
            page.load(self.reload, source, source, api_visibility="private")
        return page

    def sources(self) -> list[tuple[str, str]]:
        """What texts can be read by: a label, and what is meant."""
        return [
            *((f"the pool {name}, adapted to these texts", f"pool:{name}") for name in self.catalog.pools),
            *((f"the model {name}", f"model:{name}") for name in self.catalog.names()),
        ]

    def reload(self, chosen: str | None) -> Any:
        """The sources that there are by now."""
        import gradio as gr

        sources = self.sources()
        return gr.Dropdown(sources, value=chosen or (sources[0][1] if sources else None))

    def upload(self, path: str) -> tuple[Any, str]:
        """The texts of a file, one a line, and what is said about it."""
        import gradio as gr

        try:
            texts = _uploaded(Path(path))
        except SamnerError as error:
            return gr.skip(), _said(str(error).replace(str(path), Path(path).name), wrong=True)
        return "\n".join(" ".join(text.splitlines()) for text in texts), _said(f"{len(texts)} texts were read")

    def find(self, given: str, source: str | None, types: str) -> Iterator[tuple[Any, ...]]:
        """Read the texts: what was asked, what is said and shown, and the files."""
        import gradio as gr

        rest = (gr.skip(),) * (3 + len(_DOWNLOADS))
        try:
            texts = tuple(line for line in given.splitlines() if line.strip())
            self._check(texts)
            asked_types = _types(types)
            if len(asked_types) > self.limits.labels:
                raise SamnerError(f"there are {len(asked_types)} types, more than {self.limits.labels}")
            kind, _, name = (source or "").partition(":")
            if kind == "pool":
                if not asked_types:
                    raise SamnerError("say what to look for: a type a line")
                job = self.jobs.submit(None, name, texts, asked_types, {})
                while not job.ended.wait(0.3):
                    yield gr.skip(), _said(f"{job.step} ..."), *rest
                if job.error:
                    raise SamnerError(job.error)
                name = job.model
            yield gr.skip(), _said("reading ..."), *rest
            name, model = self.catalog.model(name or None)
            asked = _Asked(name, asked_types or model.types, texts, round(model.threshold, 2))
            examples = self._read(asked, model, [asked.threshold] * len(asked.types))
        except (SamnerError, ApiError) as error:
            yield gr.skip(), _said(str(error), wrong=True), *rest
            return
        warned = "".join(_said(f"Note: {warning}") for warning in model.warnings)
        shown = self._shown(asked, examples)
        folder, files = self._files(examples)
        yield asked, shown[0] + warned, *shown[1:], _experts(model), *files
        shutil.rmtree(folder)  # Gradio has copied them by now

    def again(self, asked: _Asked, thresholds: Sequence[float]) -> Iterator[tuple[Any, ...]]:
        """The same texts by other thresholds."""
        import gradio as gr

        try:
            examples = self._read(asked, self.catalog.model(asked.model)[1], thresholds)
        except (SamnerError, ApiError) as error:
            yield _said(str(error), wrong=True), *(gr.skip(),) * (2 + len(_DOWNLOADS))
            return
        folder, files = self._files(examples)
        yield *self._shown(asked, examples), *files
        shutil.rmtree(folder)

    def _check(self, texts: Sequence[str]) -> None:
        if not texts:
            raise SamnerError("there are no texts; paste some, or upload a file")
        if len(texts) > self.limits.texts or sum(map(len, texts)) > self.limits.characters:
            raise SamnerError(
                f"give at most {self.limits.texts:,} texts of {self.limits.characters:,} characters in all here; "
                "samner extract reads any number"
            )
        if long := next(filter(None, (too_long(text, self.limits) for text in texts)), ""):
            raise SamnerError(long)

    def _read(self, asked: _Asked, model: TaskModel, thresholds: Sequence[float]) -> list[Example]:
        limits = tuple(zip((one.name for one in asked.types), thresholds, strict=True))
        question = Question("page", model, asked.types, limits, model.mode)
        examples: list[Example] = []
        for start, end in self.batcher.parts(asked.texts):
            try:
                answers = self.batcher.submit(question, asked.texts[start:end]).result(self.limits.seconds)
            except TimeoutError as error:
                raise SamnerError(f"no answer within {self.limits.seconds:g} s; give fewer texts") from error
            examples += [Example(t, tuple(es)) for t, es in zip(asked.texts[start:end], answers, strict=True)]
        return examples

    def _shown(self, asked: _Asked, examples: Sequence[Example]) -> tuple[str, str, list[list[str]]]:
        number = sum(len(example.entities) for example in examples)
        rows = [
            [example.text[e.start : e.end], e.label, f"{e.score:.2f}", _finders(e), str(line)]
            for line, example in enumerate(examples, start=1)
            for e in example.entities
        ]
        said = _said(f"{number} entities in {len(examples)} texts, read by {asked.model}")
        return said, _marked(examples, [one.name for one in asked.types]), rows

    def _files(self, examples: Sequence[Example]) -> tuple[Path, list[Any]]:
        import gradio as gr

        folder = Path(tempfile.mkdtemp(dir=self.folder))
        for format, file in _DOWNLOADS.values():
            write_examples(examples, folder / file, format)
        return folder, [gr.DownloadButton(value=folder / file, interactive=True) for _, file in _DOWNLOADS.values()]


_COLUMNS = ["entity", "type", "score", "found by", "text"]
_UPLOADS = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".conll")


def _uploaded(path: Path) -> list[str]:
    """The texts of a file that a stranger sent: plain ones only, as what is packed can be of any size.

    Raises:
        SamnerError: If it is another kind of file, or cannot be read.
    """
    try:
        plain = path.suffix.lower() in _UPLOADS and "\0" not in path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        plain = False
    if not plain:
        raise SamnerError(f"{path.name}: is no text in UTF-8; upload {', '.join(_UPLOADS)}, not packed")
    return [example.text for example in read_examples(path, labelled=False)]


def _types(lines: str) -> tuple[EntityType, ...]:
    """The types of a box: a name, or a name with its description, a line."""
    types: dict[str, EntityType] = {}
    for line in filter(None, map(str.strip, lines.splitlines())):
        name, _, description = line.partition(": ")
        one = EntityType(name.strip(), description.strip())
        if one.name in types:
            raise SamnerError(f"the type {one.name!r} is given twice")
        types[one.name] = one
    return tuple(types.values())


def _said(message: str, *, wrong: bool = False) -> str:
    return f'<p role="{"alert" if wrong else "status"}">{"⚠ " if wrong else ""}{escape(message)}</p>'


def _finders(entity: Entity) -> str:
    return ", ".join(entity.found_by)


def _marked(examples: Sequence[Example], types: Sequence[str]) -> str:
    """The texts with their entities marked, coloured by type; nothing of a text is taken for HTML."""
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(types)}
    paragraphs: list[str] = []
    characters = 0
    for example in examples:
        if characters > _SHOWN:
            rest = len(examples) - len(paragraphs)
            paragraphs.append(f"<p><em>{rest} more texts are not shown; the downloads hold them.</em></p>")
            break
        characters += len(example.text)
        cuts = [0, *(place for e in example.entities for place in (e.start, e.end)), len(example.text)]
        parts = [escape(example.text[start:end]) for start, end in pairwise(cuts)]
        for place, entity in enumerate(example.entities):
            label = f"<small>{escape(entity.label)} {entity.score:.2f} · {escape(_finders(entity))}</small>"
            style = f"--colour: {colours.get(entity.label, _COLOURS[-1])}"
            parts[2 * place + 1] = f'<mark style="{style}">{parts[2 * place + 1]}{label}</mark>'
        paragraphs.append(f"<p>{''.join(parts)}</p>")
    return "".join(paragraphs)


def _experts(model: TaskModel) -> str:
    """Every expert with what it was ranked by, and whether it was chosen."""
    selections = model.selections
    if not selections:
        return "<p>Nothing is known of how this model was selected.</p>"
    first = next(iter(selections.values()))
    if first.home:  # no strategy was asked
        selections = {"texts and types": first}
    columns: dict[str, Mapping[str, float]] = {"similarity to the texts (cosine)": first.cosine}
    if sampling := selections.get("sampling"):
        columns["agreement with the majority (F1)"] = sampling.f1
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("expert", *columns, "chosen by"))
    rows = []
    for name in first.ranking:
        chosen = ", ".join(how for how, s in selections.items() if name in s.chosen) or "-"
        bars = "".join(f"<td>{_bar(values.get(name, 0.0))}</td>" for values in columns.values())
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{bars}<td>{escape(chosen)}</td></tr>')
    said = [f"Sampling asked experts about {len(sampling.sample)} of the texts."] if sampling else []
    said += [f"{how}: {s.note}." for how, s in selections.items() if s.note]
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return table + "".join(f"<p>{escape(one)}</p>" for one in said)


def _bar(value: float) -> str:
    share = 100 * min(max(value, 0.0), 1.0)
    return f'<span class="samner-bar" aria-hidden="true"><span style="width: {share:.0f}%"></span></span>{value:.2f}'
