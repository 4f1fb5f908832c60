"""The page in Chinese: chosen by the browser or by hand, complete, and only what the page itself says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modules import ui
from modules.annotate.registry import TYPES as CONTROL_TYPES
from modules.annotate.registry import preprocessors
from modules.text.styles import load_styles
from modules.ui.page.language import HERE
from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import CHINESE_EXAMPLES, EXAMPLES, PageApp, Visitors, open_page, wait_ready
from tests.browser.page_driver import generate, set_number, settle

COLLECT = """async () => {
    const kept = "[translate=no], .token, .caption-label, .examples, .tokens ol";
    const value = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").get;
    const found = new Set();
    const add = (text) => text && /[a-z]/i.test(text) && found.add(text.trim().replace(/\\s+/g, " "));
    const collect = () => {
        for (const one of document.body.querySelectorAll("*")) {
            if (one.closest(kept)) continue;
            for (const name of ["placeholder", "title", "aria-label", "alt"]) add(one.getAttribute(name));
            if (one.matches("input[role=combobox]")) add(value.call(one));
            if (one.closest("script, style, textarea")) continue;
            for (const node of one.childNodes) if (node.nodeType === Node.TEXT_NODE) add(node.data);
        }
    };
    collect();
    for (const list of document.querySelectorAll("input[role=combobox]")) {
        if (!list.checkVisibility()) continue;
        list.focus();
        await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
        collect();
        list.blur();
    }
    return [...found];
}"""
"""What stands on the page with Latin letters in it, hidden parts and the entries of every dropdown included."""

NAMES = """txt2img img2img inpaint WebUI Inpaint Stable Diffusion SD PNG CFG VAE LoRA CPU GPU NV alpha beta rho Rho
    sigma Sigma DDIM DPM++ SDE DPM2 Euler Heun UniPC Karras Lanczos Haar Clip Eta k-diffusion ENSD Tiling
    Refiner alphas_cumprod model_ema fp16 float16 safetensors pth models outputs extensions ESRGAN SwinIR DAT GFPGAN
    spandrel torchvision torch pip install bh1 bh2 vary_coeff time_uniform time_quadratic logSNR webui-1.10 mk2
    X/Y/Z Ctrl Enter Shift Alt Space Esc Delete English SDXL SGM SNR Zero Terminal LaMa MAT PatchMatch inpaint
    EXIF GPS JPEG TIFF WebP None Latent No norm first second pass both passes classic fresh auto strong original fill
    latent noise surroundings lora Lora name wildcards txt embeddings hypernetworks
    ControlNet Multi-ControlNet inpaint_only API eps
    ADetailer BLIP WD14 captioners taggers transformers sam subject grounding
    Segment Anything Grounding DINO OWLv2 CLIPSeg
    loha dora adamw prodigy lion fp32 bf16 LoHa DoRA LoCon AdamW Prodigy Lion Alpha EMA Min-SNR min-SNR gamma UNet
    mid_block up_blocks Clip skip
    SEP SKIP PROMPT ONNX OpenCV CenterFace RGB CLIP OpenRaster Krita GIMP"""
"""Names, units and keys that are the same in Chinese, beside those of samplers, schedules and files."""

TABS = ("inpaint", "txt2img", "img2img", "pnginfo", "extras", "merger", "train", "history", "extensions", "settings")


@pytest.fixture(scope="module")
def chinese_page(visitors: Visitors, page_app: PageApp) -> Iterator[Page]:
    with visitors.page(page_app.url, {"viewport": {"width": 1280, "height": 900}, "locale": "zh-CN"}) as page:
        open_page(page, page_app.url)
        yield page


@pytest.fixture
def chinese(chinese_page: Page, page_app: PageApp) -> Page:
    """The page as a Chinese browser gets it. Loading it takes long, so the tests share it as long as it is Chinese."""
    if chinese_page.evaluate("document.documentElement.lang") != "zh-CN":
        open_page(chinese_page, f"{page_app.url}?lang=zh-CN")
    return chinese_page


def show(page: Page, name: str) -> None:
    page.locator(f"#tab_{name}-button").click()
    settle(page)


def everything(page: Page, picture: Path) -> Iterator[str]:
    """Every text of every tab, with what opens opened and each script chosen in turn."""
    for name in TABS:
        show(page, name)
        expect(page.locator(f"#tab_{name} :is(button, input)").first).to_be_attached()
        if name in ("inpaint", "img2img"):
            Canvas(page, [], {"inpaint": "#inpaint_canvas", "img2img": "#img2img_image"}[name]).open(picture)
        if name == "train":
            expect(page.locator("#train_go")).to_be_visible()
        if name == "settings":
            page.wait_for_selector(".st-row")
        for closed in ("button.label-wrap:not(.open):visible", ".switch-head input:not(:checked):visible",
                       ".sf-switch input:not(:checked):visible"):
            page.locator(closed).evaluate_all("(all) => all.forEach((one) => one.click())")
        yield from page.evaluate(COLLECT)
        if name in ("txt2img", "img2img"):
            scripts = page.locator(f"#{name}_script .sf-dropdown select").first
            expect(scripts).to_be_visible()
            for title in scripts.locator("option").evaluate_all("(all) => all.map((one) => one.value)"):
                scripts.select_option(title)
                yield from page.evaluate(COLLECT)


def test_what_is_sent_and_written_is_english(chinese: Page) -> None:
    page, sent = chinese, list[str]()
    page.on("request", lambda request: sent.append(request.post_data or ""))
    show(page, "txt2img")
    page.fill("#txt2img_prompt textarea", "Settings")
    set_number(page, "txt2img_steps", 2)
    page.locator("#txt2img_enable_hr input").check()
    page.locator("#txt2img_hr_upscaler input").click()
    page.get_by_role("option", name="潜变量（最近邻）").click()
    page.locator("#txt2img_script .sf-dropdown select").first.select_option(label="提示词矩阵")
    text = generate(page, "txt2img")
    assert text.startswith("Settings\nSteps: 2, Sampler: DDIM, Schedule type: Automatic")
    assert "Hires upscaler: Latent (nearest)," in text
    assert "Script: Prompt matrix" in text
    show(page, "inpaint")
    remove = page.locator('#inpaint_canvas [data-act="remove"]')
    if remove.is_enabled():
        remove.click()
    page.locator("#inpaint_fill").get_by_label("填充").check()
    page.locator("#inpaint_generate").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("请先选择一张图片")
    assert any("Latent (nearest)" in body for body in sent)
    assert not [body for body in sent if re.search(r"[\u3400-\u9fff]", body)]


def test_no_english_is_left(chinese: Page, page_app: PageApp, tmp_path: Path) -> None:
    engine = page_app.engine
    choices = ui.list_choices(engine)
    own = [*(name for file in engine.catalog.checkpoints() for name in (file.name, file.title)),
           *(extension.name for extension in engine.extensions.extensions),
           *(style.name for style in load_styles(engine.settings.styles_file)),
           *(name for item in preprocessors() for name in (item.name, item.title) if name != "none"),
           *(name for name in CONTROL_TYPES if name not in ("All", "Inpaint"))]
    names = sorted({*NAMES.split(), *choices["sampler"], *choices["scheduler"], *own} - {"Automatic"},
                   key=len, reverse=True)
    foreign = re.compile(r"#[0-9a-f]{6}|\S+\.png|An extension of the tests.|RuntimeError: the moon is full|"
                         r"(?<![A-Za-z])(" + "|".join(map(re.escape, names)) + r")(?![A-Za-z])")
    left = {text for text in everything(chinese, photo(tmp_path / "photo.png", (256, 256)))
            if re.search(r"[A-Za-z]{2,}", foreign.sub("", text))}
    assert not left, "\n".join(sorted(left))


SAID = {
    "Interrupted. The mask is empty, so nothing was painted.": "已中止。 蒙版为空，没有重绘任何内容。",
    "a.ckpt is empty. first stays in use.": "a.ckpt 是空文件。 first 仍在使用中。",
    "a.png: Choose a picture first. b.png: There is no upscaler called 'x'.":
        "a.png: 请先选择一张图片。 b.png: 没有名为 'x' 的放大算法。",
    "steps must be at least 1, not 0.": "steps 必须不小于 1，不能是 0。",
    "Not taken over: There is no sampler called 'x'. · CFG Scale: 40 (here 30)":
        "未采用：没有名为 'x' 的采样方法。 · 提示词相关性 (CFG)：40（此处为 30）",
    "a.pt is a VAE file; choose it in the VAE dropdown, not as a checkpoint.":
        "a.pt 是 VAE 文件；请在 VAE 下拉列表中选择它，而不是作为模型。",
    "a. b. c": "a. b. c",
}


def test_sentences_are_said_one_by_one_and_in_parts(chinese: Page) -> None:
    said = chinese.evaluate("(texts) => texts.map(inpaintLanguage.say)", list(SAID))
    assert dict(zip(SAID, said, strict=True)) == SAID


def test_example_prompts_are_those_of_the_language(chinese: Page) -> None:
    page, prompt = chinese, chinese.locator("#txt2img_prompt textarea")
    show(page, "txt2img")
    shown = page.locator("#txt2img_examples button:visible")
    expect(shown).to_have_text([*CHINESE_EXAMPLES, "船"])
    for chip, said in zip(shown.all(), (CHINESE_EXAMPLES[0], f"{CHINESE_EXAMPLES[0]} 船"), strict=True):
        chip.click()
        expect(prompt).to_have_value(said)


def test_the_browser_chooses_and_the_choice_is_kept(chinese: Page) -> None:
    page = chinese
    show(page, "txt2img")
    expect(page.get_by_role("button", name="生成", exact=True)).to_be_visible()
    expect(page.get_by_role("slider", name="迭代步数的滑块", exact=True)).to_be_visible()
    page.locator("#language select").select_option("en")  # which loads the page again
    wait_ready(page, "en")
    show(page, "txt2img")
    expect(page.get_by_role("button", name="Generate", exact=True)).to_be_visible()
    expect(page.get_by_role("slider", name="range slider for Sampling steps", exact=True)).to_be_visible()
    expect(page.locator("#txt2img_examples button:visible")).to_have_text(["Surprise me", *EXAMPLES, "boat"])
    assert page.evaluate("localStorage.getItem('inpaint-webui:language')") == "en"


@pytest.mark.parametrize(("spoken", "chosen", "shown"), [
    ("zh-CN", "en", "Drop Image Here"), ("en", "zh-CN", "将图像拖放到此处"), ("de", "", "Drop Image Here")])
def test_gradio_speaks_the_same_language(visitors: Visitors, page_app: PageApp, spoken: str, chosen: str,
                                         shown: str) -> None:
    """What was chosen before, else English where the page does not speak that of the browser."""
    with visitors.page(page_app.url, {"locale": spoken}) as page:
        page.add_init_script(f"localStorage.setItem('inpaint-webui:language', '{chosen}')")
        open_page(page, page_app.url)
        expect(page.locator("html")).to_have_attribute("lang", chosen or "en")
        show(page, "pnginfo")
        expect(page.get_by_text(shown).locator("visible=true")).to_be_visible()


def test_a_browser_that_keeps_nothing_shows_what_is_chosen(visitors: Visitors, page_app: PageApp) -> None:
    with visitors.page(page_app.url, {"locale": "zh-CN"}) as page:
        page.add_init_script("Storage.prototype.setItem = () => {}")
        page.goto(page_app.url)
        wait_ready(page, "zh-CN")
        page.evaluate("inpaintLanguage.choose('en')")
        expect(page.locator("html")).to_have_attribute("lang", "en")


def test_every_sentence_is_there_once_with_its_places() -> None:
    for file in (HERE / "languages").glob("*.json"):
        pairs = json.loads(file.read_text("utf-8"), object_pairs_hook=list)
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys))
        for key, said in pairs:
            assert sorted(re.findall(r"\{\d\}", key)) == sorted(re.findall(r"\{\d\}", said)), key
