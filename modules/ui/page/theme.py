"""The Gradio theme: colours and fonts. The layout is in `style.css`."""

from __future__ import annotations

from gradio.themes import Base
from gradio.themes.utils import colors, sizes

SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

GREY = colors.Color("#fafafa", "#f4f4f5", "#e6e6e9", "#d4d4d8", "#9d9da6", "#6b6b75", "#4a4a53", "#34343b", "#26262b",
                    "#1b1b1f", "#131316", name="grey")


def theme() -> Base:
    """Greys and one blue, with the system's fonts."""
    return Base(
        primary_hue=colors.blue, neutral_hue=GREY, font=SYSTEM, font_mono=MONO, spacing_size=sizes.spacing_sm,
        radius_size=sizes.radius_md, text_size=sizes.text_sm,
    ).set(
        body_background_fill="*neutral_100", body_background_fill_dark="*neutral_950",
        block_background_fill="white", block_background_fill_dark="*neutral_900",
        block_border_width="1px", block_border_color="*neutral_200", block_border_color_dark="*neutral_800",
        border_color_primary="*neutral_200", border_color_primary_dark="*neutral_800",
        background_fill_secondary="*neutral_50", background_fill_secondary_dark="#16161a",
        body_text_color="*neutral_900", body_text_color_dark="#e9e9ec",
        body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400",
        block_label_background_fill="transparent", block_label_background_fill_dark="transparent",
        block_label_border_width="0px", block_shadow="none",
        block_label_text_color="*neutral_600", block_label_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_600", block_title_text_color_dark="*neutral_400",
        block_title_text_weight="500", block_label_text_weight="500",
        input_background_fill="*neutral_50", input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_200", input_border_color_dark="*neutral_800", input_border_width="1px",
        input_border_color_focus="*primary_500", input_border_color_focus_dark="*primary_500",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_500",
        button_primary_background_fill_dark="*primary_600", button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white", button_primary_text_color_dark="white",
        button_secondary_background_fill="white", button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_200", button_secondary_border_color_dark="*neutral_700",
        button_border_width="1px", button_large_text_weight="600",
        color_accent="*primary_600", color_accent_soft="*primary_50", color_accent_soft_dark="#1c2b4a",
        slider_color="*primary_600", checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_600",
    )
