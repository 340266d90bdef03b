"""Source files that run without this package: what an exported folder carries.

The files are our own modules, found by following imports and made to import each other
from the same folder. Nothing is executed for that; they are read and their import
lines rewritten.
"""

import ast
from importlib.util import find_spec
from pathlib import Path

from usad_workbench.core.errors import ConfigError

PACKAGE = "usad_workbench"
SPDX = "# SPDX-License-Identifier: Apache-2.0\n"


def bundle_sources(module: str) -> dict[str, str]:
    """A module and everything of ours that it imports, as file name to source.

    Args:
        module: Full name, e.g. ``usad_workbench.core.interop.modeling_usad``.

    Raises:
        ConfigError: two modules of one file name, or an import that names a package: such
            modules cannot lie in one folder.
    """
    sources: dict[str, str] = {}
    waiting, seen = [module], {module}
    while waiting:
        name = waiting.pop()
        file_name = f"{name.rpartition('.')[2]}.py"
        if file_name in sources:
            raise ConfigError(f"Two modules would be {file_name} in one folder. Rename {name}.")
        text = _source_file(name).read_text(encoding="utf-8")
        imports = _own_imports(text)
        sources[file_name] = SPDX + _rewritten(text, imports)
        found = {node.module for node in imports if node.module is not None} - seen
        waiting += sorted(found)
        seen |= found
    return sources


def _source_file(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None or spec.submodule_search_locations is not None:
        raise ConfigError(f"{name} is no module with a file. Import the module that holds it.")
    return Path(spec.origin)


def _own_imports(text: str) -> list[ast.ImportFrom]:
    return [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE
    ]


def _rewritten(text: str, imports: list[ast.ImportFrom]) -> str:
    lines = text.splitlines(keepends=True)
    for node in imports:
        module = node.module or ""
        row = node.lineno - 1
        lines[row] = lines[row].replace(f"from {module} ", f"from .{module.rpartition('.')[2]} ")
    return "".join(lines)
