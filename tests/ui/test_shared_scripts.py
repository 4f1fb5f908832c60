"""Scripts that several components have are sent once."""

from __future__ import annotations

import gradio as gr

from modules.ui.page.shared_scripts import PARAMETERS, share


def test_a_script_of_two_components_becomes_a_function_that_both_call() -> None:
    with gr.Blocks() as demo:
        first, alone, second = (gr.HTML("", js_on_load=script) for script in ("say(1);", "say(2);", "say(1);"))
        gr.HTML("", js_on_load=None)
    script = share(demo)
    assert script.count("say(1);") == 1
    assert "say(2);" not in script
    assert alone.js_on_load == "say(2);"
    assert first.js_on_load == second.js_on_load == f"inpaintPage.onLoad[0]({PARAMETERS});"
    sent = [one["props"].get("js_on_load") for one in demo.get_config_file()["components"] if one["type"] == "html"]
    assert sent == [first.js_on_load, "say(2);", first.js_on_load, None]
