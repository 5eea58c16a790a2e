"""ResNet as four stages, with torchvision's parameter names.

torchvision is imported by who builds one: it brings torch's compiler, two seconds and 200 MB.
"""

from torch import Tensor, nn


class ResNetStages(nn.Module):
    """The four stages of torchvision's ResNet, without its classifier, with the same parameter names.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        import torchvision

        resnet = torchvision.models.get_model(name, weights=None)
        for child, module in resnet.named_children():
            if child not in ("avgpool", "fc"):
                self.add_module(child, module)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the stage maps at strides 4, 8, 16 and 32 of normalised images (B, 3, H, W)."""
        x = image_BCHW
        stages = []
        for name, module in self.named_children():
            x = module(x)
            if name.startswith("layer"):
                stages.append(x)
        return tuple(stages)
