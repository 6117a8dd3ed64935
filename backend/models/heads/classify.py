"""Heads that name a whole scene, from its feature or from the mean of its map."""

from __future__ import annotations

from torch import Tensor, nn

# Of the weights (smarties.md, 8.3; He et al. 2022): small, so that fine-tuning starts from even scores.
FINE_TUNING_STD = 2e-5


class SceneClassifier(nn.Linear):
    """A linear layer on the feature of a scene, or on the mean of its map.

    Serves classification with one label (softmax) and with several (sigmoid) of one date or, on the fused map of a
    series, of several dates (skysense-v2.md, 11.1). As `head` of a model its tensors are head.weight and head.bias as
    in the published fine-tuned files (smarties.md, 10.2).

    Args:
        channels: numbers per feature.
        classes: number of classes.
        std: of the initial weights.
    """

    def __init__(self, channels: int, classes: int, std: float = FINE_TUNING_STD) -> None:
        self.std = std  # before the parent's constructor, which calls `reset_parameters`
        super().__init__(channels, classes)

    def reset_parameters(self) -> None:
        """Truncated normal; bias 0."""
        nn.init.trunc_normal_(self.weight, std=self.std)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Feature B x C, or map B x C x h x w whose mean is taken -> logits B x classes, float32."""
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        return super().forward(features).float()


def scene_probabilities(logits: Tensor, several: bool) -> Tensor:
    """B x classes -> probabilities B x classes, summing to 1 unless a scene may have several labels."""
    logits = logits.float()
    return logits.sigmoid() if several else logits.softmax(dim=1)
