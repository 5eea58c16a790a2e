"""Networks: backbones, text networks, CLIP, layers on top of them, weights, frozen features."""
