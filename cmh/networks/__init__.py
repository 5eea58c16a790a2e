"""Networks: image backbones, text networks, CLIP, heads on top of them, weight files and frozen features."""
