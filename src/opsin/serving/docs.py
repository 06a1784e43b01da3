"""/docs: the OpenAPI schema as a page to be read. FastAPI's own loads scripts from a CDN."""

from __future__ import annotations

from html import escape
from typing import Any


def docs_page(openapi: dict[str, Any]) -> str:
    """HTML without scripts, styled by the page's own sheet."""
    info = openapi["info"]
    title = escape(info["title"])
    operations = "".join(
        _operation(path, method, operation, openapi)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} API</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/style.css">
</head>
<body class="docs">
<header class="top">
<a class="brand" href="/"><img src="/icon.svg" alt="" width="28" height="28">{title}</a>
<span class="model">API</span></header>
<main>
<p class="lead">{escape(info.get("description", ""))}</p>
<p>The same for machines: <a href="/openapi.json">openapi.json</a>. Every error has the form
<code>{{"error": {{"code", "message", "field", "request_id"}}}}</code>.</p>
<section class="operation"><h2>Try it</h2>
<pre><code>curl -F file=@cat.jpg "$HOST/predict?top=3"
curl --data-binary @cat.jpg "$HOST/predict"</code></pre></section>
{operations}
</main>
</body>
</html>
"""


def _operation(path: str, method: str, operation: dict[str, Any], openapi: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(p['name'])}</code><span>in {escape(p['in'])}"
        f"{_dash(p.get('description', ''))}</span></li>"
        for p in operation.get("parameters", [])
    )
    bodies = "".join(
        f"<li><code>{escape(kind)}</code><span>{escape(body['schema'].get('description', ''))}"
        "</span></li>"
        for kind, body in operation.get("requestBody", {}).get("content", {}).items()
    )
    answers = "".join(
        f"<li><code>{escape(code)}</code><span>{escape(answer.get('description', ''))}</span></li>"
        for code, answer in operation.get("responses", {}).items()
    )
    return (
        f'<section class="operation"><h2><span class="method">{escape(method.upper())}</span> '
        f"<code>{escape(path)}</code></h2>"
        f'<p class="summary">{escape(operation.get("summary", ""))}</p>'
        f"<p>{escape(operation.get('description', ''))}</p>"
        f"{_list('Parameters', parameters)}{_list('Body', bodies)}{_list('Answers', answers)}"
        f"{_fields(operation, openapi)}</section>"
    )


def _dash(text: str) -> str:
    return f": {escape(text)}" if text else ""


def _list(title: str, items: str) -> str:
    return f"<h3>{title}</h3><ul>{items}</ul>" if items else ""


def _fields(operation: dict[str, Any], openapi: dict[str, Any]) -> str:
    """The fields of the answer that is not an error."""
    answer = operation.get("responses", {}).get("200", {})
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    model = openapi.get("components", {}).get("schemas", {}).get(name, {})
    rows = "".join(
        f"<li><code>{escape(field)}</code><span>{escape(_kind(value))}</span></li>"
        for field, value in model.get("properties", {}).items()
    )
    return _list("Fields of the answer", rows)


def _kind(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return str(value["$ref"].rpartition("/")[2])
    if "items" in value:
        return f"list of {_kind(value['items'])}"
    return str(value.get("type", ""))
