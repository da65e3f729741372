"""The user's own editor, in the app's place for as long as it runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported

from specs.text import printable

if TYPE_CHECKING:
    from textual.app import App


def edit_file(app: App[Any], file: Path, unchanged: str) -> bool:
    """Open a file in $VISUAL or $EDITOR and wait for its end; where that did not work, the screen says why.

    Args:
        unchanged: What stays as it is when the editor fails, for the line that says so.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    trouble = ""
    try:
        with app.suspend():
            try:  # in here: Textual does not come back from an error
                # Descriptors 1 and 2 lead to the log; Textual's own one leads to the screen.
                screen = sys.__stdout__
                ended = subprocess.run(
                    [*shlex.split(editor), str(file)], stdout=screen, stderr=screen, check=False
                ).returncode
            except (OSError, ValueError) as error:
                trouble = f"{editor} does not start: {error}"
            else:
                trouble = f"{editor} ended with {ended}; {unchanged} is as it was" if ended else ""
    except SuspendNotSupported:
        trouble = "This terminal does not let an editor take over"
    if trouble:
        app.notify(printable(trouble), severity="error", markup=False)
    return not trouble
