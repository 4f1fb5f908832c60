"""The engine as a library: python -m examples.library photo.png mask.png "a red apple" out.png"""

import sys

from PIL import Image

from modules.engine.engine import Engine
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.settings import Settings

photo, mask, prompt, out = sys.argv[1:5]
request = Inpaint(prompt=prompt, init_images=(Image.open(photo).convert("RGB"),), mask=Image.open(mask), seed=1,
                  width=128, height=128)
Engine(Settings()).generate(request, NullJob()).images[0].image.save(out)
