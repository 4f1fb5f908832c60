"""The rarer controls are behind More, which is remembered, and those that cannot matter now are not shown."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import set_number, tab


def test_more_is_remembered_and_says_what_is_changed(web: Page, page_app: PageApp) -> None:
    web.evaluate("localStorage.setItem('inpaint-webui:more', 'false')")
    open_page(web, page_app.url)
    for name in ("inpaint", "txt2img"):
        tab(web, name)
        for first in ("prompt", "steps", "seed", "width"):
            expect(web.locator(f"#{name}_{first}")).to_be_visible()
        for rare in ("batch_size", "scheduler"):
            expect(web.locator(f"#{name}_{rare}")).to_be_hidden()
    more = web.locator('.more-open[data-tab="txt2img"]')
    expect(more).to_have_attribute("aria-expanded", "false")
    more.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    set_number(web, "txt2img_batch_size", 2)
    expect(more).to_contain_text("1 changed")
    open_page(web, page_app.url)
    tab(web, "txt2img")
    expect(web.locator("#txt2img_batch_size")).to_be_visible()
    expect(more).to_contain_text("1 changed")
    expect(web.locator('.more-open[data-tab="inpaint"]')).not_to_contain_text("changed")


def test_what_cannot_matter_is_not_shown(web: Page) -> None:
    """The eta, or gamma, of the sampler, and the weight of the mask for checkpoints that read one alone."""
    tab(web, "inpaint")
    web.get_by_role("button", name="Advanced").locator("visible=true").click()
    sliders = {name: web.locator(f"#inpaint_{name}") for name in ("eta_ddim", "eta_ancestral", "tcd_gamma")}
    for sampler, shown in (("Euler a", "eta_ancestral"), ("TCD", "tcd_gamma"), ("DDIM", "eta_ddim")):
        box = web.locator("#inpaint_sampling input")
        box.fill(sampler)
        box.press("Enter")
        expect(sliders[shown]).to_be_visible()
        for name in sliders.keys() - {shown}:
            expect(sliders[name]).to_be_hidden()
    expect(web.locator("#inpaint_mask_noise")).to_be_visible()
    expect(web.locator("#inpaint_inpainting_mask_weight")).to_be_hidden()
    expect(web.locator("#inpaint_refiner")).to_be_visible()
