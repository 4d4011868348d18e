"""Lessons as web pages: what a store holds, shown to people who may see it. `python -m fer_lab.dashboard`.

Rendered on the server by Starlette and Jinja2, charts as inline SVG; a page holds no inline script or style and asks no
other address for anything, so a strict content security policy applies. Starlette instead of NiceGUI, because NiceGUI
needs inline scripts, `eval` and a socket for each viewer; here each request is checked for its session, role and class.
"""

from fer_lab.extras import optional


def require_extra() -> None:
    """To be called before anything of this package is imported that needs more than the core does.

    Raises:
        FerLabError: a package of the live extra is not installed.
    """
    for module in ("sqlalchemy", "argon2", "starlette", "uvicorn", "python_multipart"):
        optional(module, "live")
