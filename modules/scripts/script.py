"""The forms of `modules.hooks.forms` under the path that extensions import them from."""

from modules.hooks.forms import Controls, Input, Script

__all__ = ["Controls", "Input", "Script"]
