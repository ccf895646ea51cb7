"""The files that the browser is given besides NiceGUI's own; all of them come from this package."""

from __future__ import annotations

import json
from pathlib import Path

from nicegui import ui

FOLDER = Path(__file__).parent / "static"

THEME_SCRIPT = (
    "try{var t=localStorage.getItem('videojobs-theme');"
    "if(t)document.documentElement.dataset.theme=t}catch(e){}"
)
"""Runs before anything is painted, so that no page flashes in the other theme."""

# Drawn on 24 x 24 points, as lines of 1.75 points.
_DRAWINGS = {
    "queued": '<circle cx="12" cy="12" r="8.5"/><path d="M12 7.5V12l3 2"/>',
    "processing": '<path d="M20.5 12A8.5 8.5 0 1 1 12 3.5"/>',
    "completed": '<circle cx="12" cy="12" r="8.5"/><path d="m8.5 12.3 2.4 2.4 4.6-5"/>',
    "failed": '<circle cx="12" cy="12" r="8.5"/><path d="M12 7.8v5"/><path d="M12 16v.1"/>',
    "cancelled": '<circle cx="12" cy="12" r="8.5"/><path d="m6.2 6.2 11.6 11.6"/>',
    "all": '<path d="M4 7h16M4 12h16M4 17h16"/>',
    "search": '<circle cx="11" cy="11" r="6"/><path d="m15.6 15.6 4 4"/>',
    "sun": '<circle cx="12" cy="12" r="3.8"/><path d="M12 3v1.8M12 19.2V21M3 12h1.8M19.2 12H21M5.6 5.6l1.3 1.3M17.1 17.1l1.3 1.3M5.6 18.4l1.3-1.3M17.1 6.9l1.3-1.3"/>',
    "moon": '<path d="M19.5 14.2A8 8 0 0 1 9.8 4.5a8 8 0 1 0 9.7 9.7Z"/>',
    "system": '<rect x="3.5" y="5" width="17" height="11.5" rx="2"/><path d="M9 20h6"/>',
    "sign-out": '<path d="M14 4.5H6.5a2 2 0 0 0-2 2v11a2 2 0 0 0 2 2H14"/><path d="M10.5 12H20m0 0-3.3-3.3M20 12l-3.3 3.3"/>',
    "retry": '<path d="M19.5 12a7.5 7.5 0 1 1-2.3-5.4L19.5 9"/><path d="M19.5 4.5V9H15"/>',
    "stop": '<circle cx="12" cy="12" r="8.5"/><path d="m9.2 9.2 5.6 5.6m0-5.6-5.6 5.6"/>',
    "delete": '<path d="M4.5 7h15M9.5 7V4.8h5V7M6.5 7l.8 12.2h9.4L17.5 7"/>',
    "close": '<path d="m6.5 6.5 11 11m0-11-11 11"/>',
    "left": '<path d="m14 6.5-5.5 5.5 5.5 5.5"/>',
    "right": '<path d="m10 6.5 5.5 5.5-5.5 5.5"/>',
    "download": '<path d="M12 4v10.5m0 0 4-4m-4 4-4-4"/><path d="M5 19.5h14"/>',
    "worker": '<rect x="4" y="4.5" width="16" height="6.5" rx="1.8"/><rect x="4" y="13" width="16" height="6.5" rx="1.8"/><path d="M7.5 7.8v.1M7.5 16.3v.1"/>',
    "film": '<rect x="4" y="5" width="16" height="14" rx="2"/><path d="M8 5v14M16 5v14M4 9.6h4M4 14.4h4M16 9.6h4M16 14.4h4"/>',
    "warning": '<path d="M12 4.5 3.5 19h17L12 4.5Z"/><path d="M12 10.5v4"/><path d="M12 17v.1"/>',
    "plus": '<path d="M12 5.5v13M5.5 12h13"/>',
    "settings": '<path d="M5 7.5h8M17 7.5h2M5 16.5h2M11 16.5h8"/><circle cx="15" cy="7.5" r="2"/><circle cx="9" cy="16.5" r="2"/>',
    "note": '<path d="M5.5 5h13v10l-4 4h-9V5Z"/><path d="M8.5 9h7M8.5 12.5h4"/>',
    "chart": '<path d="M4.5 19.5h15M7 16v-4M12 16V7M17 16v-6.5"/>',
    "keyboard": '<rect x="3.5" y="6.5" width="17" height="11" rx="2"/><path d="M7 10v.1M10.3 10v.1M13.6 10v.1M17 10v.1M8 14h8"/>',
    "play": '<path d="M8 5.5v13l10.5-6.5L8 5.5Z"/>',
}
_SYMBOL = '<symbol id="vj-{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round">{drawing}</symbol>'


def add_to_page(base: str) -> None:
    """The page has our styles, script and icons."""
    ui.add_head_html(
        f"<script>{THEME_SCRIPT}</script>"
        f'<link rel="icon" href="{base}/assets/icon.svg">'
        f'<link rel="preload" href="{base}/assets/inter.woff2" as="font" type="font/woff2" crossorigin>'
        f'<link rel="stylesheet" href="{base}/assets/dashboard.css">'
        f"<script>window.videojobsBase={json.dumps(base)}</script>"
        f'<script defer src="{base}/assets/dashboard.js"></script>'
    )
    symbols = "".join(
        _SYMBOL.format(name=name, drawing=drawing) for name, drawing in _DRAWINGS.items()
    )
    ui.add_body_html(
        f'<svg width="0" height="0" style="position:absolute" aria-hidden="true">{symbols}</svg>'
    )


def icon(name: str, classes: str = "") -> ui.html:
    """A small drawing beside words that say the same."""
    return ui.html(
        f'<svg class="vj-icon" aria-hidden="true"><use href="#vj-{name}"/></svg>',
        sanitize=False,
        tag="span",
    ).classes(f"vj-icon-box {classes}")
