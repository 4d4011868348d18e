"""Layers of a timm network as Keras counts them, so that "the top 50 layers" means what a Keras paper means.

Checked against keras.applications 3 (include_top=False): MobileNetV2 154, EfficientNetB0 237, MobileNetV3Small 157 and
MobileNetV3Large 187 layers. timm fuses BatchNorm with its activation and has no layers for padding, adding and
multiplying; Keras counts each of them.
"""

from collections.abc import Iterator

from torch import nn

from fer_lab.errors import FerLabError
from fer_lab.models.lean_timm import BatchNormAct2d, EfficientNet, MobileNetV3, SqueezeExcite

Layer = tuple[str, nn.Module | None]  # a name, and the module whose parameters the layer holds


def keras_layers(body: nn.Module) -> list[Layer]:
    """Layers from input to output; those without parameters have no module.

    Args:
        body: a timm EfficientNet (which includes MobileNetV2) or MobileNetV3.

    Raises:
        FerLabError: another architecture, which keras.applications builds differently.
    """
    if not isinstance(body, EfficientNet | MobileNetV3):
        raise FerLabError(
            f"schedule.top_layers counts layers as Keras does, which is not defined for {type(body).__name__}; "
            "use schedule.top_fraction or schedule.from_block."
        )
    return list(_walk(body))


def _walk(body: EfficientNet | MobileNetV3) -> Iterator[Layer]:
    mobilenet3 = isinstance(body, MobileNetV3)
    efficientnet = not mobilenet3 and any(isinstance(m, SqueezeExcite) for m in body.modules())
    yield "input", None
    if mobilenet3 or efficientnet:
        yield "rescaling", None
    if efficientnet:
        yield "normalization", None
        yield "conv_stem.pad", None
    yield "conv_stem", body.conv_stem
    yield from _norm("bn1", body.bn1)
    for name, block in body.blocks.named_modules():
        if name.count(".") == 1:
            yield from _block(f"blocks.{name}", block, efficientnet)
    if not mobilenet3:
        yield "conv_head", body.conv_head
        yield from _norm("bn2", body.bn2)


def _block(prefix: str, block: nn.Module, efficientnet: bool) -> Iterator[Layer]:
    for name, child in block.named_children():
        where = f"{prefix}.{name}"
        if isinstance(child, nn.Conv2d):
            if child.groups > 1 and child.stride[0] == 2:
                yield f"{where}.pad", None
            yield where, child
        elif isinstance(child, BatchNormAct2d):
            yield from _norm(where, child)
        elif isinstance(child, SqueezeExcite):
            yield from _squeeze_excite(where, child, efficientnet)
    if getattr(block, "has_skip", False):
        if efficientnet:
            yield f"{prefix}.drop", None
        yield f"{prefix}.add", None


def _norm(name: str, norm: BatchNormAct2d) -> Iterator[Layer]:
    yield name, norm
    if not isinstance(norm.act, nn.Identity):
        yield f"{name}.act", None


def _squeeze_excite(name: str, se: SqueezeExcite, efficientnet: bool) -> Iterator[Layer]:
    yield f"{name}.pool", None
    if efficientnet:  # reshapes, and keeps the activations inside the convolutions
        yield f"{name}.reshape", None
        yield f"{name}.conv_reduce", se.conv_reduce
        yield f"{name}.conv_expand", se.conv_expand
    else:
        yield f"{name}.conv_reduce", se.conv_reduce
        yield f"{name}.act1", None
        yield f"{name}.conv_expand", se.conv_expand
        yield f"{name}.gate", None
    yield f"{name}.multiply", None
