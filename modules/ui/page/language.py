"""The languages of the page. The page is written in English; `language.js` translates it in the browser.

A file in `languages/`, named as in HTML's `lang`, has the translations as one object:
{"Sampling steps": "迭代步数", "step {0} of {1}": "第 {0} 步，共 {1} 步"}. Prompts, file names and parameters are not
translated: their elements have HTML's attribute `translate="no"`. The values that the page sends stay English.
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent

NAMES = {"en": "English", "zh-CN": "简体中文"}
"""The languages, each with its own name for itself."""

ON_LOAD = """const list = element.querySelector("select");
list.value = inpaintLanguage.current;
list.addEventListener("change", () => inpaintLanguage.choose(list.value));"""


def script() -> str:
    """The script with all translations. It runs before Gradio's scripts, so that no English text flashes up."""
    tables = {name: json.loads((HERE / "languages" / f"{name}.json").read_text("utf-8")) for name in NAMES
              if name != "en"}
    said = json.dumps(tables, ensure_ascii=False).replace("<", "\\u003c")
    return (HERE / "language.js").read_text("utf-8").replace("TABLES", said, 1)


def switch() -> gr.HTML:
    """The dropdown of languages. The choice is stored in the browser."""
    options = "".join(f'<option value="{name}" lang="{name}">{shown}</option>' for name, shown in NAMES.items())
    return gr.HTML(f'<select translate="no" aria-label="Language">{options}</select>', js_on_load=ON_LOAD,
                   apply_default_css=False, elem_id="language", elem_classes="language")
