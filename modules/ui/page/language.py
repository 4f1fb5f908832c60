"""The languages of the page. It is written in English; a file of `languages/`, named as HTML's `lang` names it, says
its sentences in another language, and `language.js` puts them in their place in the browser.

A file is one object: {"Sampling steps": "迭代步数", "step {0} of {1}": "第 {0} 步，共 {1} 步"}. What people write, file
names and parameters are left alone, and so are the values that the page sends. A component says that it holds such by
HTML's attribute `translate="no"`.
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent

NAMES = {"en": "English", "zh-CN": "简体中文"}
"""Each by the name that it gives itself."""

ON_LOAD = """const list = element.querySelector("select");
list.value = inpaintLanguage.current;
list.addEventListener("change", () => inpaintLanguage.choose(list.value));"""


def script() -> str:
    """The script with every language in it. It runs before Gradio's, so that no English flashes up."""
    tables = {name: json.loads((HERE / "languages" / f"{name}.json").read_text("utf-8")) for name in NAMES
              if name != "en"}
    said = json.dumps(tables, ensure_ascii=False).replace("<", "\\u003c")
    return (HERE / "language.js").read_text("utf-8").replace("TABLES", said, 1)


def switch() -> gr.HTML:
    """The list of languages; the choice is kept in the browser."""
    options = "".join(f'<option value="{name}" lang="{name}">{shown}</option>' for name, shown in NAMES.items())
    return gr.HTML(f'<select translate="no" aria-label="Language">{options}</select>', js_on_load=ON_LOAD,
                   apply_default_css=False, elem_id="language", elem_classes="language")
