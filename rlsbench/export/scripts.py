"""The scripts that go with a network: a template filled in, and compare.py.

In: a template and texts.  Out: simulate.py and compare.py.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["write_script"]

_TEMPLATES = Path(__file__).parent / "templates"


def write_script(folder: Path, template: str, **texts: object) -> None:
    """Write simulate.py, from a template with these texts, and compare.py, which it imports."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
        trim_blocks=True,
    )
    for source, name in ((template, "simulate.py"), ("compare.py.j2", "compare.py")):
        script = environment.get_template(source).render(texts)
        (folder / name).write_text(script, encoding="utf-8")
