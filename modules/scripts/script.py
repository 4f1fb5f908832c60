"""Re-exports the forms of `modules.hooks.forms` under the path from which extensions import them."""

from modules.hooks.forms import Controls, Input, Script

__all__ = ["Controls", "Input", "Script"]
