"""What goes wrong with spec files; imported before the first frame, so alone in its file."""


class SpecError(Exception):
    """A spec file that cannot be read: which file, which line, what was expected."""

    def __init__(self, file: str, line: int | None, what: str) -> None:
        super().__init__(f"{file}:{line}: {what}" if line else f"{file}: {what}")
        self.file = file
        self.line = line
        self.what = what
