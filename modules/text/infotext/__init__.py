"""The parameters text: what made a picture, in the words and the order of WebUI, written and read back.

It has three parts: the prompt, "Negative prompt: ..." if there is one, and a line of keys and values that ends in the
program's version. Our own keys are `DDIM loop`, `Mask noise`, `Small masks`, `Step cache`, `CFG rescale`,
`Prediction type` and `Remove with`.
"""

from modules.text.infotext.keys import OPTION_KEYS, VERSION, quote, unquote
from modules.text.infotext.read import Changes, Scripts, pairs, parse, to_changes
from modules.text.infotext.write import Sampler, generation_params, write, write_removed

__all__ = ["OPTION_KEYS", "VERSION", "Changes", "Sampler", "Scripts", "generation_params", "pairs", "parse", "quote",
           "to_changes", "unquote", "write", "write_removed"]
