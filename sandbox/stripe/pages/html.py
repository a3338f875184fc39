"""HTML in small pieces. Whatever comes from outside is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from sandbox.stripe.call import Answer

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #635bff; --bad: #c0123c; --soft: #8881 }
@media (prefers-color-scheme: dark) { :root { --accent: #a29cff; --bad: #ff7d92 } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 34rem; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.5rem; margin: 1rem 0 } h2 { font-size: 1.1rem; margin: 0 0 .5rem }
section, fieldset { border: 1px solid var(--line); border-radius: .5rem; margin: 1rem 0; padding: 1rem }
label { display: block; font-weight: 600; margin-top: .75rem }
label.choice { font-weight: 400 }
input:not([type=radio]), select { border: 1px solid var(--line); border-radius: .4rem; display: block; font: inherit;
  margin-top: .25rem; padding: .5rem; width: 100% }
button { background: var(--accent); border: 1px solid var(--accent); border-radius: .4rem; color: Canvas;
  cursor: pointer; font: inherit; font-weight: 600; margin-top: 1rem; padding: .55rem 1rem }
button.quiet { background: none; color: var(--accent) }
form.inline { display: inline-block; margin-right: .5rem }
a { color: var(--accent) } :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
[role=alert] { border-left: 4px solid var(--bad); color: var(--bad); margin: 1rem 0; padding: .5rem .75rem }
[role=status] { background: var(--soft); border-radius: .5rem; padding: .5rem .75rem }
small, .quiet-text { opacity: .75 } dl { margin: 0 } dt { font-weight: 600 } dd { margin: 0 0 .25rem }
table { border-collapse: collapse } td { padding: .1rem .75rem .1rem 0 }
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""No script at all, and no address of these pages leaks to where a link leads."""

text = escape


def page(title: str, *parts: str, back: tuple[str, str] | None = None, status: int = 200) -> Answer:
    """A whole page; `back`: where a link at its top leads, and its words."""
    link = "" if back is None else f'<nav><a href="{text(back[0])}">← {text(back[1])}</a></nav>'
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{link}<main><h1>{text(title)}</h1>{''.join(parts)}</main>"
        '<footer><small class="quiet-text">The sandbox of Subkeeper: nobody is charged.</small></footer></body></html>'
    )
    return Answer(status, body.encode(), dict(_HEADERS))


def redirect(url: str) -> Answer:
    """To another page, by GET."""
    return Answer(303, b"", {**_HEADERS, "Location": url})


def alert(message: str | None) -> str:
    return "" if message is None else f'<p role="alert">{text(message)}</p>'


def paragraph(words: str) -> str:
    return f"<p>{text(words)}</p>"


def form(action: str, *parts: str, hidden: Mapping[str, str] | None = None, inline: bool = False) -> str:
    """A form that changes something, hence by POST."""
    kept = "".join(
        f'<input type="hidden" name="{text(name)}" value="{text(value)}">' for name, value in (hidden or {}).items()
    )
    kind = ' class="inline"' if inline else ""
    return f'<form method="post" action="{text(action)}"{kind}>{kept}{"".join(parts)}</form>'


def field(name: str, label: str, value: str = "", **attributes: str) -> str:
    """A labelled input; `attributes` with underscores for dashes, an empty one stands alone (`required`)."""
    more = "".join(
        f" {key.strip('_').replace('_', '-')}" + (f'="{text(given)}"' if given else "")
        for key, given in attributes.items()
    )
    return (
        f'<label for="{text(name)}">{text(label)}</label>'
        f'<input id="{text(name)}" name="{text(name)}" value="{text(value)}"{more}>'
    )


def select(name: str, label: str, options: Mapping[str, str], chosen: str = "", *, key: str = "") -> str:
    """One of several, as a list; `key` tells it from others of that name on the page."""
    listed = "".join(
        f'<option value="{text(value)}"{" selected" if value == chosen else ""}>{text(words)}</option>'
        for value, words in options.items()
    )
    label_of = f'<label for="{text(name + key)}">{text(label)}</label>'
    return f'{label_of}<select id="{text(name + key)}" name="{text(name)}">{listed}</select>'


def choices(name: str, legend: str, options: Mapping[str, str], chosen: str) -> str:
    """One of several, as radio buttons."""
    listed = "".join(
        f'<label class="choice"><input type="radio" name="{text(name)}" value="{text(value)}" required'
        f"{' checked' if value == chosen else ''}> {text(words)}</label>"
        for value, words in options.items()
    )
    return f"<fieldset><legend>{text(legend)}</legend>{listed}</fieldset>"


def button(words: str, *, name: str = "", value: str = "", quiet: bool = False) -> str:
    named = f' name="{text(name)}" value="{text(value)}"' if name else ""
    return f'<button type="submit"{named}{" class=quiet" if quiet else ""}>{text(words)}</button>'
