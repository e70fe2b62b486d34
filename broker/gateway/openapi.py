"""The OpenAPI document, and /docs that shows it without asking anybody else.

The page's script and style come from the package `fastapi-offline` when it is installed (only its
files are used, its code is not imported); without it the page asks the CDN that FastAPI names.

All links are relative, so the page works under whatever path a proxy puts before it. It needs no
token itself; its button "Authorize" takes one for the requests it sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import FileResponse, HTMLResponse

from broker.gateway.access import roles_of
from broker.gateway.problems import PROBLEM_TYPE

_SCRIPT: Final = "swagger-ui-bundle.js"
_STYLE: Final = "swagger-ui.css"
_CDN: Final = "https://cdn.jsdelivr.net"
_CDN_FILES: Final = f"{_CDN}/npm/swagger-ui-dist@5"
_SCHEME: Final = "bearer"
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token made by `panelbus token create`. A gateway that was started without"
    " --tokens asks for none.",
}
_NO_ICON: Final = "data:,"


def local_assets() -> Path | None:
    """The folder of the page's script and style, if they are installed."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "static"
    return folder if all((folder / name).is_file() for name in (_SCRIPT, _STYLE)) else None


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Give an app made without documentation its /openapi.json and /docs.

    Args:
        app: The app.
        routers: All that it includes, each with its routes and no further routers.
    """
    assets = local_assets()
    files = "docs" if assets is not None else _CDN_FILES
    source = "'self'" if assets is not None else _CDN
    # FastAPI's page starts Swagger by an inline script, and Swagger styles inline
    policy = (
        f"default-src 'none'; script-src {source} 'unsafe-inline'; style-src {source}"
        " 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
    )

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{files}/{_SCRIPT}",
            swagger_css_url=f"{files}/{_STYLE}",
            swagger_favicon_url=_NO_ICON,
        )
        page.headers["Content-Security-Policy"] = policy
        return page

    if assets is not None:
        _serve_file(app, assets / _SCRIPT, "text/javascript")
        _serve_file(app, assets / _STYLE, "text/css")

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return _document(app, routers)


def _serve_file(app: FastAPI, file: Path, media_type: str) -> None:
    @app.get(f"/docs/{file.name}", include_in_schema=False)
    async def asset() -> FileResponse:
        return FileResponse(file, media_type=media_type)


def _tell_roles(operations: dict[str, Any], route: APIRoute) -> None:
    """Put into a route's entries who may use it."""
    roles = roles_of(route.dependant.dependencies)
    for method in route.methods or ():
        operation = operations[method.lower()]
        if roles:
            operation["security"] = [{_SCHEME: []}]
            operation["description"] += f"\n\nRoles: {', '.join(roles)}."
        else:
            operation["security"] = []
            operation["description"] += "\n\nNeeds no token."


def _document(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    """The document, with the problems' own media type in place of the routes' one."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            servers=[{"url": ".", "description": "where this document was found"}],
        )
        document["components"]["securitySchemes"] = {_SCHEME: _BEARER}
        for router in routers:
            for route in router.routes:
                assert isinstance(route, APIRoute)
                _tell_roles(document["paths"][route.path_format], route)
        for path in document["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    if not status.startswith("2"):
                        [content] = response["content"].values()
                        response["content"] = {PROBLEM_TYPE: content}
        app.openapi_schema = document
    return app.openapi_schema
