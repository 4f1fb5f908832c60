"""Scripts that several components of the page have in common are sent once.

Gradio sends a component's `js_on_load` with each component, and compression does not see that far back: twelve canvases
would send the canvas's script twelve times.
"""

from __future__ import annotations

from collections import Counter

import gradio as gr

PARAMETERS = "element, trigger, props, server, upload, watch"
"""What Gradio gives to a script of `js_on_load`."""


def share(demo: gr.Blocks) -> str:
    """Make functions of the scripts that several components of `demo` have, and let the components call them. Returns a
    script with the functions. It must run before Gradio's, after `inpaintPage` is defined."""
    blocks = [block for block in demo.blocks.values() if isinstance(block, gr.HTML) and block.js_on_load]
    counts = Counter(block.js_on_load for block in blocks)
    functions = [script for script, count in counts.items() if count > 1]
    for block in blocks:
        if block.js_on_load in functions:
            block.js_on_load = f"inpaintPage.onLoad[{functions.index(block.js_on_load)}]({PARAMETERS});"
    listed = ",\n".join(f"function ({PARAMETERS}) {{\n{script}\n}}" for script in functions)
    return f"inpaintPage.onLoad = [{listed}];\n"
