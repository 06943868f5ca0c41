"""One HTML page of sections with pictures and tables: a single file without scripts, links to the outside or fonts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import __version__
from ..errors import MissingExtraError


@dataclass(frozen=True)
class Picture:
    """An SVG element, which is put into the page as it is, and what is said below it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of words and numbers, all of which are escaped.

    Attributes:
        caption: What it shows, and of how many.
        columns: Names of the columns.
        rows: Cells as they are shown.
        words: How many of the first columns hold words; those after them are numbers, and stand to the right.
    """

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: Its identifier, for links within the page: small letters and hyphens.
        title: Its heading.
        text: Paragraphs below the heading.
        pictures: Below the text.
        tables: Below the pictures.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def render(title: str, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The page.

    Args:
        title: Heading, and title of the window.
        about: Lines below the heading.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtraError("jinja2", "train") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_PAGE)
    return page.render(title=title, about=about, sections=sections, style=_STYLE, version=__version__)


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<meta name="generator" content="healdag {{ version }}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
{% for line in about %}
<p>{{ line }}</p>
{% endfor %}
</header>
<nav aria-label="Sections">
<ul>
{% for section in sections %}
<li><a href="#{{ section.key }}">{{ section.title }}</a></li>
{% endfor %}
</ul>
</nav>
<main>
{% for section in sections %}
<section id="{{ section.key }}">
<h2>{{ section.title }}</h2>
{% for paragraph in section.text %}
<p>{{ paragraph }}</p>
{% endfor %}
{% for picture in section.pictures %}
<figure>
{{ picture.svg | safe }}
<figcaption>{{ picture.caption }}</figcaption>
</figure>
{% endfor %}
{% for table in section.tables %}
<p class="caption" id="{{ section.key }}-{{ loop.index }}">{{ table.caption }}</p>
<div class="table" tabindex="0">
<table aria-labelledby="{{ section.key }}-{{ loop.index }}">
<thead>
<tr>
{% for name in table.columns %}
<th scope="col"{% if loop.index > table.words %} class="number"{% endif %}>{{ name }}</th>
{% endfor %}
</tr>
</thead>
<tbody>
{% for row in table.rows %}
<tr>
{% for cell in row %}
{% if loop.first %}
<th scope="row" class="words">{{ cell }}</th>
{% else %}
<td class="{{ "number" if loop.index > table.words else "words" }}">{{ cell }}</td>
{% endif %}
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""

_STYLE = """\
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 58rem; padding: 1rem 1.25rem 4rem; background: #fff; color: #1b1b1b;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 1rem 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid #ddd; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
header p { color: #555; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; margin: 1rem 0; padding: 0; }
a { color: #005a9c; }
figure { margin: 1.25rem 0; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 40rem; height: auto; }
figcaption, .caption { color: #555; font-size: .9rem; max-width: 46rem; }
figcaption { margin-top: .35rem; }
.caption { margin: 1.5rem 0 .35rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee; }
thead th { border-bottom: 1px solid #999; font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; min-width: 5.5rem; }
.words { overflow-wrap: anywhere; min-width: 4.5rem; }
.number { text-align: right; white-space: nowrap; }
@media print { nav { display: none; } section { break-inside: avoid-page; } }
"""
