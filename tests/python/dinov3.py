"""Writes crates/vssl/tests/data/dinov3.json: passes of tiny networks of DINOv3 as timm builds them, in double precision.

python tests/python/dinov3.py > crates/vssl/tests/data/dinov3.json     (timm 1.0)

Weights and images are made by a formula of the place of a number and rounded to single precision, so that the file has none of them. Of the gradient of each
parameter it has two sums: of its squares, and of its products with another such pattern.
"""
import json
import math

import timm
import torch

torch.set_default_dtype(torch.float64)


def pattern(count, phase):
    """A number between -1 and 1 for each place."""
    return torch.sin(torch.arange(count, dtype=torch.float64) * 0.7351 + phase) * torch.cos(
        torch.arange(count, dtype=torch.float64) * 0.0193 + 2.0 * phase
    )


def weight(index, shape):
    """The parameter of this index in the order of the names: scaled by its rows, and around 1 where it is one number wide."""
    count = math.prod(shape)
    values = pattern(count, 0.37 * (index + 1)).reshape(shape)
    return values * (1.5 / math.sqrt(count / shape[0])) if len(shape) > 1 else 0.6 * values + 0.5


def network(gated, biased, pool):
    net = timm.models.eva.Eva(
        img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=0, global_pool=pool,
        qkv_bias=biased, init_values=1e-5, rope_type="dinov3", rope_temperature=100, rope_rotate_half=True,
        use_rot_pos_emb=True, use_abs_pos_emb=False, swiglu_mlp=gated, swiglu_align_to=8 if gated else 0,
        num_reg_tokens=3, use_fc_norm=False, dynamic_img_size=True,
        norm_layer=lambda width, **more: torch.nn.LayerNorm(width, eps=1e-5, **more),
    )
    # The periods and the coordinates of timm are in single precision.
    rope = net.rope
    rope.register_buffer("periods", 100.0 ** (2.0 * torch.arange(2) / 4), persistent=False)

    def embed(shape, no_aug=False):
        rows, columns = [2 * (torch.arange(n) + 0.5) / n - 1 for n in shape]
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
        return torch.cat(rope._get_pos_embed_from_coords(grid), -1)

    rope._create_embed = embed
    net = net.double().eval()
    for index, (name, parameter) in enumerate(sorted(net.named_parameters())):
        parameter.data = weight(index, list(parameter.shape)).float().double()
    return net


def case(gated, biased, pool, batch, rows, columns):
    net = network(gated, biased, pool)
    images = pattern(batch * 3 * rows * columns, 0.11).float().double().reshape(batch, 3, rows, columns)
    tokens = net.forward_features(images)
    features = net.forward_head(tokens)
    loss = (features**2).sum() + (tokens[:, 4:] * pattern(24, 0.5)).sum()
    loss.backward()
    gradients = {}
    for name, parameter in sorted(net.named_parameters()):
        flat = parameter.grad.flatten()
        product = float((flat * pattern(len(flat), 0.91)).sum())
        gradients[name] = [float((flat**2).sum()), product]
    return {
        "gated": gated, "biased": biased, "pool": pool, "images": [batch, 3, rows, columns],
        "features": features.flatten().tolist(), "loss": loss.item(), "gradients": gradients,
        "tokens": [float((tokens * pattern(tokens.numel(), 0.23).reshape(tokens.shape)).sum())],
    }


cases = [
    case(False, False, "token", 2, 16, 16),
    case(False, True, "token", 1, 8, 20),
    case(True, True, "avg", 2, 24, 12),
    case(True, False, "token", 1, 4, 4),
]


def described(name):
    """The sizes of a network, and the shapes of its parameters outside of the blocks and in the first block."""
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=0, global_pool="token")
    shapes = {key: list(value.shape) for key, value in sorted(net.named_parameters())}
    first = {key: shape for key, shape in shapes.items() if not key.startswith("blocks.") or key.startswith("blocks.0.")}
    return {"depth": len(net.blocks), "heads": net.blocks[0].attn.num_heads, "parameters": len(shapes), "first": first}


sizes = ["small", "small_plus", "base", "large", "huge_plus"]
names = [f"vit_{size}_patch16_dinov3{bias}" for size in sizes for bias in ("", "_qkvb")]
print(json.dumps({"cases": cases, "networks": {name: described(name) for name in names}}))
