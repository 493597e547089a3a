"""How much each loss counts, and how fast each parameter learns."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class LossWeights:
    """Of the routed losses and the regularisers. A loss of weight 0 is not computed (method.md: the paper does not print those
    of depth, normal and label)."""

    color: float = 1.0
    mask: float = 0.1
    depth: float = 0.0
    """The paper's form, off: tanh is 1 from 0.2 m on only, so that pairs in the right order are pushed apart further. Beside
    colour and mask alone, 0.05 takes the depth of gt/dressed_a from 8.0 to 8.8 mm (docs/ablation.md)."""
    depth_order: float = 0.05
    """Of the pairs in the wrong order only. Takes the depth of a skirt, far from the body, from 34.0 to 29.8 mm, and does
    nothing where clothes are tight; 0.5 costs 0.2 dB (docs/ablation.md)."""
    normal: float = 0.2
    """With true maps 0.05 gives 6.5 degrees and 0.2 gives 4.9, for 0.14 dB; with maps off by 13 degrees, still 8.3."""
    self_normal: float = 0.0
    """Of the drawn normals against those of the drawn depth. Off: 0.05 costs 0.6 dB and, with true maps, a degree; with maps
    off by 13 degrees it gains 0.6 degrees for 0.4 dB. `surface` asks for the same without a picture (docs/ablation.md)."""
    normal_variation: float = 0.0
    """Off: 0.05 costs 0.4 degrees with true maps and 0.1 with maps off by 13 degrees (docs/ablation.md)."""
    label: float = 0.05
    label_spread: float = 0.0
    """Of the class scores around the mean of their class. Off: 0.001 takes mIoU from 0.73 to 0.70 where boundaries
    are off by 3 px, 0.03 takes it from 0.86 to 0.82 where they are right (docs/ablation.md)."""
    isometry: float = 0.0
    """Of the distances to the neighbours, posed against at rest. Off: 0.01 changes nothing, 0.1 costs 0.2 dB of new poses,
    where it should help (docs/ablation.md)."""
    covariance_isometry: float = 0.0
    """The same of how neighbours overlap. Off: 0.1 changes nothing, 10 costs 0.15 dB and 0.3 degrees (docs/ablation.md)."""
    offset_smoothness: float = 200.0
    """On normal_offset against its neighbours, per m^2."""
    surface: float = 100.0
    """On steps between neighbours that their rotations do not ask for, per m^2: positions and normals tell of one surface."""
    scale_decay: float = 1e-3
    rotation_decay: float = 1e-2
    skinning: float = 10.0
    """Pull of a skinning field towards the template's weights, until the schedule frees it."""
    skinning_later: float = 0.1
    light_unseen: float = 0.1
    """Pull towards even light where no camera looks; from 0.1 to 1 the figures differ by 0.1 dB."""
    light_decay: float = 1e-3
    """Pull towards even light everywhere."""

    def __post_init__(self):
        _check_sizes(self)


@dataclass(frozen=True)
class LearningRates:
    """Adam's step sizes at full evidence, in each parameter's own unit."""

    normal_offset: float = 1e-3
    tangent_offset: float = 1e-3
    rotation: float = 5e-3
    log_scale: float = 1e-2
    opacity_logit: float = 3e-2
    color_logit: float = 5e-2
    logits: float = 5e-2
    grid: float = 1e-2
    """Of the tables of hashed fields (Instant-NGP). 1e-3 loses 1.8 dB of novel view in the geometry, 0.3 dB in the colours."""
    geometry: float = 1e-3
    """Of a hashed field's network (3DGS-Avatar), as the three below."""
    appearance: float = 1e-3
    semantics: float = 1e-3
    pose_encoder: float = 1e-3
    skinning: float = 1e-4
    light: float = 5e-3
    """0 keeps the light even: colours are then as seen, averaged over all views."""
    pose: float = 5e-3
    transl: float = 1e-3

    def __post_init__(self):
        _check_sizes(self)


def _check_sizes(config: LossWeights | LearningRates) -> None:
    for name in (f.name for f in fields(config)):
        if not 0 <= getattr(config, name) < float("inf"):
            raise ValueError(f"{type(config).__name__}.{name}: expected zero or more, got {getattr(config, name)}")
