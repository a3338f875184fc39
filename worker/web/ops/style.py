"""How the page looks, and the script that keeps it current. Both stand in the page itself, and the policy knows them by
their digests: nothing else of style or script applies, whatever gets into the page."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f8; --panel: #ffffff; --ink: #1b1f23; --muted: #545d66; --line: #c9d0d7; --accent: #0b5cb8;
  --on-accent: #ffffff; --bar: #2f7ed8; --rest: #dfe4e9; --good: #1a6b33; --bad-ground: #ffebe9; --bad: #9c0d24;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #121518; --panel: #1b1f23; --ink: #e6e8ea; --muted: #a8b0b8; --line: #3d444b; --accent: #7db7ff;
    --on-accent: #0b1a2c; --bar: #5b9bf0; --rest: #343b42; --good: #7fd99a; --bad-ground: #41161a; --bad: #ffb6b6;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
header, main { max-width: 76rem; margin: 0 auto; padding: .75rem 1rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
p { margin: .25rem 0; }
.panels { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
section { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
section.wide { grid-column: 1 / -1; }
.muted { color: var(--muted); }
.good { color: var(--good); }
.bad { background: var(--bad-ground); color: var(--bad); border-radius: .25rem; padding: .25rem .5rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-top: .75rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem .5rem .2rem 0; border-top: 1px solid var(--line); }
th, td, li { overflow-wrap: break-word; }
bdi, code, .story td, #readiness td:last-child { overflow-wrap: anywhere; }
td.number { text-align: right; }
td.chart { width: 35%; }
th { font-weight: 600; }
td > svg { display: block; width: 100%; height: .8rem; margin-top: .35rem; }
svg .bar { fill: var(--bar); }
svg .rest { fill: var(--rest); }
.columns { display: block; width: 100%; height: 6rem; }
table.days { table-layout: fixed; font-size: .8rem; }
table.days th, table.days td { text-align: center; padding: .2rem 0; }
code { font: .9em ui-monospace, monospace; }
ul.needs { list-style: none; margin: 0; padding: 0; }
ul.needs li { border-top: 1px solid var(--line); padding: .4rem 0; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: end; }
label { display: block; }
input, select, button { font: inherit; color: var(--ink); background: var(--panel); border: 1px solid var(--muted);
  border-radius: .25rem; padding: .35rem .6rem; min-height: 2.75rem; max-width: 100%; }
button { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
@media (max-width: 40rem) {
  table.story thead { position: absolute; left: -100vw; }
  table.story td { display: block; border: 0; padding: 0; }
  table.story tr { display: block; border-top: 1px solid var(--line); padding: .4rem 0; }
}
"""

SCRIPT = """
(() => {
  const button = document.getElementById("pause"), lost = document.getElementById("lost");
  let paused = false;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on updating" : "Stop updating";
  });
  async function update() {
    const answer = await fetch(location.pathname, {cache: "no-store"});
    if (answer.status === 403) return location.reload();
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const each of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(each.id);
      if (other && !each.contains(document.activeElement) && other.outerHTML !== each.outerHTML) {
        each.replaceWith(document.adoptNode(other));
      }
    }
    lost.textContent = "";
  }
  async function turn() {
    if (!paused && !document.hidden && getSelection().isCollapsed) {
      try { await update(); } catch { lost.textContent = "The web process has not answered since."; }
    }
    setTimeout(turn, 5000);
  }
  setTimeout(turn, 5000);
})();
"""


@cache
def policy() -> str:
    """The Content-Security-Policy of every page."""
    return "; ".join((
        "default-src 'none'", f"style-src {_digest(CSS)}", f"script-src {_digest(SCRIPT)}", "connect-src 'self'",
        "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
    ))  # fmt: skip


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
