"""What is put around each call of the network: control units, and inside of these the extensions' `wrap_predict`."""

from __future__ import annotations

from modules.hooks.in_job import Hooks
from modules.request import Inpaint, Txt2Img
from modules.sampling.guidance import Wrapper
from modules.sampling.types import RowPredict, SDModel

WITHOUT_SAVINGS = "With ControlNet, small masks and the step cache are off."
WITHOUT_SAVINGS_BY_HOOK = ("With an extension that wraps each call of the network, small masks and the step cache are "
                           "off.")

WITHOUT_SAVINGS_BY_NETWORK = "With {name} small masks and the step cache are off: its network is no UNet."


def wrapper(control: Wrapper | None, hooks: Hooks, request: Txt2Img) -> Wrapper | None:
    """`control` and the extensions of `hooks` in one. None where nothing is put around the network."""
    if not hooks.wraps_predict:
        return control

    def wrap(predict: RowPredict, model: SDModel) -> RowPredict:
        inner = hooks.predict(predict, model, request)
        return control.wrap(inner, model) if control else inner

    return Wrapper(wrap, both=control is not None and control.both)


def warnings(request: Txt2Img, hooks: Hooks, model: SDModel) -> tuple[str, ...]:
    """What the person should be told about savings of time that were asked for and are not made with `model`."""
    options = request.options
    if options.step_cache <= 1 and not (isinstance(request, Inpaint) and options.small_mask != "off"):
        return ()
    if request.control_units:
        return (WITHOUT_SAVINGS,)
    if model.deep_cache() is None:
        return (WITHOUT_SAVINGS_BY_NETWORK.format(name=model.name),)
    return (WITHOUT_SAVINGS_BY_HOOK,) if hooks.wraps_predict else ()
