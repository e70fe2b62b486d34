"""Colours and rules that every part of the page shares, light and dark."""

from __future__ import annotations

from typing import Final

# AA contrast against --pb-surface and --pb-selected in both themes.
_LIGHT: Final = {
    "bg": "#f2f4f7",
    "surface": "#ffffff",
    "line": "#dfe4ea",
    "text": "#1b2430",
    "muted": "#586473",
    "hover": "#f0f5fa",
    "selected": "#dceafa",
    "accent": "#1559b3",
    "good": "#15703a",
    "warn": "#8a5200",
    "bad": "#b3261e",
    "track": "#e8edf2",
}
_DARK: Final = {
    "bg": "#14181e",
    # that of Perspective's own dark theme, so that the table has no edge
    "surface": "#242526",
    "line": "#3a3f46",
    "text": "#e7ebf0",
    "muted": "#a3aebb",
    "hover": "#2c333b",
    "selected": "#1f3d5c",
    "accent": "#76b5ff",
    "good": "#5bd68a",
    "warn": "#f2b65c",
    "bad": "#ff8a80",
    "track": "#333a43",
}
_FONTS: Final = {
    "font": "'Inter', system-ui, 'Segoe UI', Roboto, sans-serif",
    "mono": "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', monospace",
}

# For charts: one for each app of `history.MAX_APPS` and one for the others. Told apart by the
# colour-blind, on light and on dark.
SERIES: Final = ("#3b82c4", "#e08a2e", "#3fa372", "#c45a8a", "#8e7cc3", "#8c96a3")


def colours(dark: bool) -> dict[str, str]:
    """The theme's colours by name."""
    return _DARK if dark else _LIGHT


def tokens(dark: bool) -> str:
    """A stylesheet that gives them to a part and to all that is in it, as custom properties."""
    values = {**colours(dark), **_FONTS}
    rules = " ".join(f"--pb-{name}: {value};" for name, value in values.items())
    scheme = "dark" if dark else "light"
    return f":host {{ {rules} color-scheme: {scheme}; }}"


ROOT_CSS: Final = """
:host { background: var(--pb-bg); color: var(--pb-text); font: 14px/1.45 var(--pb-font);
  box-sizing: border-box; }
:host(.pb-page) { position: fixed; inset: 0; overflow: auto; }
"""

BODY_CSS: Final = """
:host { display: grid !important; grid-template-columns: minmax(0, 2fr) minmax(330px, 1fr);
  gap: 12px; padding: 0 14px 14px; box-sizing: border-box; align-items: stretch; }
@media (max-width: 1000px) { :host { grid-template-columns: minmax(0, 1fr) !important; } }
"""

# The table's card: as high as the window leaves room; less where the detail lies below it.
TABLE_CSS: Final = """
:host { height: max(480px, calc(100vh - 152px)) !important; }
@media (max-width: 1000px) { :host { height: max(420px, 56vh) !important; } }
"""

CARD_CSS: Final = """
:host { background: var(--pb-surface); border: 1px solid var(--pb-line); border-radius: 10px;
  box-sizing: border-box; overflow: hidden; }
"""

HTML_CSS: Final = """
:host { color: var(--pb-text); font: 14px/1.45 var(--pb-font); }
h2 { font-size: 15px; margin: 0 0 8px; font-weight: 650; overflow-wrap: anywhere; }
h3 { font-size: 12px; margin: 16px 0 6px; font-weight: 650; color: var(--pb-muted);
  text-transform: uppercase; letter-spacing: .05em; }
p { margin: 0 0 8px; overflow-wrap: anywhere; }
a { color: var(--pb-accent); }
code, .mono { font-family: var(--pb-mono); font-size: 12px; overflow-wrap: anywhere; }
pre { font: 12px/1.5 var(--pb-mono); background: var(--pb-bg); border: 1px solid var(--pb-line);
  border-radius: 8px; padding: 10px 12px; overflow: auto; margin: 8px 0; }
dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 3px 14px; margin: 0; }
dt { color: var(--pb-muted); } dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--pb-muted); font-size: 12px; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--pb-line); vertical-align: top;
  overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; }
.muted { color: var(--pb-muted); } .good { color: var(--pb-good); } .warn { color: var(--pb-warn); }
.bad { color: var(--pb-bad); }
.banner { border-radius: 8px; padding: 8px 12px; background: var(--pb-track); margin: 0 0 10px;
  border-left: 3px solid var(--pb-warn); }
.task { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 1px 10px; padding: 4px 0; }
.task .bar { grid-column: 1 / -1; height: 6px; border-radius: 3px; background: var(--pb-track);
  position: relative; overflow: hidden; }
.task .bar i { position: absolute; top: 0; bottom: 0; min-width: 3px; border-radius: 3px;
  background: var(--pb-good); }
.task .bar i.error { background: var(--pb-bad); }
.task .bar i.open { background: var(--pb-accent); }
.stages { display: flex; gap: 6px 18px; flex-wrap: wrap; margin: 4px 0 10px; }
.stages li::before { content: "○"; margin-right: 6px; color: var(--pb-muted); }
.stages li.done::before { content: "●"; color: var(--pb-good); }
.stages li.failed::before { content: "●"; color: var(--pb-bad); }
"""
