"""Whole documents: the page itself, what happened to a user, and the form for a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from worker.domain.text import utc
from worker.web.ops import panels
from worker.web.ops.door import PATH
from worker.web.ops.html import Content, Html, html, tag, void
from worker.web.ops.picture import Line, Picture
from worker.web.ops.style import CSS, SCRIPT

EXPLAIN, SIGN_IN, SIGN_OUT = f"{PATH}/explain", f"{PATH}/sign-in", f"{PATH}/sign-out"

SPANS: Mapping[str, str] = {"1d": "a day", "7d": "7 days", "30d": "30 days"}
USUAL_SPAN = "7d"

_WITHOUT_SCRIPT = tag("noscript", void("meta", http_equiv="refresh", content="30"))


def overview(picture: Picture, *, signed_in: bool) -> Html:
    mode = "live" if picture.livemode else "test"
    head = tag(
        "header",
        tag("h1", "Subkeeper: ", picture.namespace, f" ({mode} mode)"),
        tag("p", "As of ", utc(picture.at), id="as-of", class_="muted", data_live=True),
        tag("p", id="lost", role="status"),
        tag("button", "Stop updating", id="pause", type="button", hidden=True),
        _sign_out() if signed_in else None,
    )
    shown = [
        panels.person(picture),
        panels.profiles(picture.profiles, picture.quarantine, picture.at),
        panels.subscriptions(picture.subscriptions),
        panels.events(picture.events, picture.standing),
        panels.rate(picture.processes, picture.standing),
        panels.work(picture.work),
        _asked("", USUAL_SPAN),
        panels.readiness(picture),
    ]
    main = tag("main", tag("div", shown, class_="panels"))
    return _document("Ops", head, main, tag("script", Html(SCRIPT)), head=_WITHOUT_SCRIPT)


def explained(user_id: str, since: str, lines: Sequence[Line], problem: str = "", command: str = "") -> Html:
    """What happened to a user; or why that can't be told, and with which command it can."""
    if problem:
        told = html(tag("p", problem, class_="bad"), tag("p", tag("code", command)) if command else None)
    else:
        rows = [
            tag("tr", tag("td", utc(each.at)), tag("td", each.what), tag("td", each.about), tag("td", _details(each)))
            for each in lines
        ]
        head = tag("tr", [tag("th", name, scope="col") for name in ("time", "what", "about", "detail")])
        caption = tag("caption", "In the order in which it happened, as subkeeper explain tells it")
        told = tag("table", caption, tag("thead", head), tag("tbody", rows), class_="story")
    title = html("User ", tag("bdi", user_id))
    section = tag("section", tag("h2", "What happened", id="story"), told, aria_labelledby="story")
    body = tag("main", tag("div", section, _asked(user_id, since), class_="panels"))
    return _document("Explain", tag("header", tag("h1", title), tag("p", tag("a", "Overview", href=PATH))), body)


def sign_in(problem: str = "", *, has_tokens: bool) -> Html:
    if has_tokens:
        field = tag(
            "div",
            tag("label", "Admin token", for_="token"),
            void("input", id="token", name="token", type="password", autocomplete="off", required=True),
        )
        form = tag("form", field, tag("button", "Sign in", type="submit"), method="post", action=SIGN_IN)
        how = tag("p", "An admin token of the API; ", tag("code", "subkeeper token new"), " makes one.")
    else:
        form = None
        how = tag(
            "p", "No admin token is configured. ", tag("code", "subkeeper token new"),
            " makes one; its digest goes into ", tag("code", "api.admin_tokens"), ".",
        )  # fmt: skip
    here = tag(
        "p", "On the machine itself ", tag("code", "http://127.0.0.1"), " with the port of ", tag("code", "web.port"),
        " needs none, where ", tag("code", "web.host"), " is a loopback address and ", tag("code", "web.ops"),
        " allows it (in live mode: says ", tag("code", "loopback"), ").", class_="muted",
    )  # fmt: skip
    told = tag("p", problem, class_="bad", role="alert") if problem else None
    section = tag("section", tag("h2", "Who are you?", id="who"), told, how, form, here, aria_labelledby="who")
    return _document("Sign in", tag("header", tag("h1", "Subkeeper")), tag("main", section))


def _asked(user_id: str, since: str) -> Html:
    """Outside of what is updated, so that nothing is lost that somebody types."""
    options = [tag("option", words, value=each, selected=each == since) for each, words in SPANS.items()]
    form = tag(
        "form",
        tag("div", tag("label", "User id", for_="user"),
            void("input", id="user", name="user", value=user_id, autocomplete="off", spellcheck="false",
                 required=True)),
        tag("div", tag("label", "Events and changes of the last", for_="since"),
            tag("select", options, id="since", name="since")),
        tag("button", "Explain", type="submit"),
        method="get", action=EXPLAIN,
    )  # fmt: skip
    return tag("section", tag("h2", "Explain a user", id="explain-title"), form, aria_labelledby="explain-title")


def _sign_out() -> Html:
    return tag("form", tag("button", "Sign out", type="submit"), method="post", action=SIGN_OUT)


def _details(line: Line) -> list[Content]:
    return [tag("div", f"{name}: ", _value(value)) for name, value in line.details]


def _value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_value, value))
    if isinstance(value, datetime):
        return utc(value)
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _document(title: str, *body: Content, head: Content = None) -> Html:
    return html(
        Html("<!doctype html>"),
        tag(
            "html",
            tag(
                "head",
                void("meta", charset="utf-8"),
                void("meta", name="viewport", content="width=device-width, initial-scale=1"),
                tag("title", f"{title} · Subkeeper"),
                tag("style", Html(CSS)),
                head,
            ),
            tag("body", *body),
            lang="en",
        ),
    )
