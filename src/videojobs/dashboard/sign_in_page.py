"""The sign-in page: a plain form, which needs no script and suits password managers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlencode

from videojobs.dashboard.assets import THEME_SCRIPT
from videojobs.dashboard.development import Person

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · videojobs</title>
<link rel="icon" href="{base}/assets/icon.svg">
<link rel="stylesheet" href="{base}/assets/dashboard.css">
<script>{theme}</script>
</head>
<body class="vj-plain">
<main class="vj-sign-in">
<p class="vj-brand"><img src="{base}/assets/icon.svg" alt="" width="28" height="28"> videojobs</p>
{body}
</main>
</body>
</html>
"""

_BY_EMAIL = """
<h1>Sign in</h1>
{error}
<form method="post" action="{action}">
<label for="email">E-mail address</label>
<input id="email" name="email" type="email" autocomplete="username" required autofocus value="{email}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit" class="vj-button primary wide">Sign in</button>
</form>
<p class="vj-hint">With the account of your Supabase project. You see your own jobs and your teams';
administrators see all.</p>
"""

_DEVELOPMENT = """
<h1>Sign in</h1>
{error}
<p class="vj-warning" role="note"><strong>Development sign-in, without passwords.</strong>
It exists only on the embedded stack on this machine. A project of yours asks for e-mail and password.</p>
<form method="post" action="{action}" class="vj-people">
{people}
</form>
"""

_PERSON = """
<button type="submit" name="person" value="{key}" class="vj-person">
<span class="vj-avatar" aria-hidden="true">{initial}</span>
<span><span class="vj-person-name">{name}</span><span class="vj-person-fact">{fact}</span></span>
</button>
"""


def password_page(base: str, *, goes_to: str, email: str = "", error: str = "") -> str:
    """The form for e-mail and password."""
    body = _BY_EMAIL.format(action=_action(base, goes_to), email=escape(email), error=_alert(error))
    return _PAGE.format(base=base, body=body, theme=THEME_SCRIPT)


def development_page(base: str, people: Sequence[Person], *, goes_to: str, error: str = "") -> str:
    """The choice of a person, which says plainly that it asks for nothing."""
    body = _DEVELOPMENT.format(
        action=_action(base, goes_to),
        people="".join(_person(person) for person in people),
        error=_alert(error),
    )
    return _PAGE.format(base=base, body=body, theme=THEME_SCRIPT)


def _person(person: Person) -> str:
    return _PERSON.format(
        key=escape(person.key),
        initial=escape(person.name[:1].upper()),
        name=escape(person.name),
        fact=escape(person.fact),
    )


def _action(base: str, goes_to: str) -> str:
    return escape(f"{base}/sign-in?{urlencode({'next': goes_to})}")


def _alert(error: str) -> str:
    return f'<p class="vj-alert" role="alert">{escape(error)}</p>' if error else ""
