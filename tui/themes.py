"""Our own two themes; every colour of the screens is one of their variables."""

from __future__ import annotations

import os
from typing import Final

from textual.theme import Theme

DARK: Final = "modeldeck-dark"
LIGHT: Final = "modeldeck-light"

THEMES: Final = (
    Theme(
        name=DARK,
        dark=True,
        primary="#7FB4CA",
        secondary="#94A5B9",
        accent="#E6B673",
        foreground="#D3D9E1",
        background="#11151A",
        surface="#171C23",
        panel="#1F2630",
        success="#98C379",
        warning="#E6B673",
        error="#E88A8A",
        variables={
            "muted": "#929EAB",
            "faint": "#4A5563",
            "rule": "#323C48",
            "cursor": "#263544",
            "cursor-idle": "#1F2833",
            "border": "#7FB4CA",
            "border-blurred": "#323C48",
            "scrollbar": "#323C48",
            "scrollbar-background": "#11151A",
            "scrollbar-corner-color": "#11151A",
            "scrollbar-hover": "#4A5563",
            "scrollbar-background-hover": "#11151A",
            "scrollbar-background-active": "#11151A",
            "footer-key-foreground": "#7FB4CA",
            "input-selection-background": "#7FB4CA 35%",
        },
    ),
    Theme(
        name=LIGHT,
        dark=False,
        primary="#1A6480",
        secondary="#506172",
        accent="#835600",
        foreground="#22303C",
        background="#F7F6F2",
        surface="#FFFFFF",
        panel="#ECEAE4",
        success="#316A2C",
        warning="#835600",
        error="#A92F37",
        variables={
            "muted": "#586471",
            "faint": "#A3ABB3",
            "rule": "#CFCDC6",
            "cursor": "#D3E6ED",
            "cursor-idle": "#E8ECEC",
            "border": "#1A6480",
            "border-blurred": "#CFCDC6",
            "scrollbar": "#CFCDC6",
            "scrollbar-background": "#F7F6F2",
            "scrollbar-corner-color": "#F7F6F2",
            "scrollbar-hover": "#A3ABB3",
            "scrollbar-background-hover": "#F7F6F2",
            "scrollbar-background-active": "#F7F6F2",
            "footer-key-foreground": "#1A6480",
            "input-selection-background": "#1A6480 25%",
        },
    ),
)


def default_theme() -> str:
    """The theme for this terminal: light where it says that its background is light."""
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if background in {"7", "15"} else DARK


def fallback_variables(theme: Theme) -> dict[str, str]:
    """The variables that only our themes name, said in another theme's own colours."""
    if theme.name in {DARK, LIGHT}:
        return {}
    colors = theme.to_color_system().generate()
    background = colors["background"] if not theme.ansi else "ansi_default"
    return {
        "muted": "ansi_bright_black" if theme.ansi else colors["foreground-darken-3"],
        "faint": "ansi_bright_black" if theme.ansi else colors["secondary"],
        "rule": colors["border-blurred"],
        "cursor": "ansi_blue" if theme.ansi else colors["primary-muted"],
        "cursor-idle": background if theme.ansi else colors["panel"],
    }
