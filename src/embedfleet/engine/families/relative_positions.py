"""Settings of DeBERTa-v2's relative positions, read from config.json."""

from dataclasses import dataclass

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_CONTENT_TO_POSITION, _POSITION_TO_CONTENT = "c2p", "p2c"


@dataclass(frozen=True, slots=True)
class RelativePositions:
    """Relative positions of disentangled attention (He et al. 2021).

    Attributes:
        is_relative: Whether the model has relative position embeddings.
        has_content_to_position: Whether scores include the products of queries and relative keys.
        has_position_to_content: Whether scores include the products of keys and relative queries.
        are_projections_shared: Whether the projections of token states also make the relative keys and queries.
        has_layer_norm: Whether the relative position embeddings are normalised.
        span: Number of rows of the embeddings for each sign of the distance.
        exact: Distance in tokens from which distances share rows logarithmically; 0 if each distance has its own row.
        farthest: Distance in tokens from which all distances of a sign share the last row.
    """

    is_relative: bool
    has_content_to_position: bool
    has_position_to_content: bool
    are_projections_shared: bool
    has_layer_norm: bool
    span: int
    exact: int
    farthest: int

    @property
    def parts(self) -> int:
        """Number of terms of a score: content to content, and the configured position terms."""
        return 1 + self.has_content_to_position + self.has_position_to_content


def read_relative_positions(config: ModelConfig) -> RelativePositions:
    """Read the relative positions of a config.

    Raises:
        ModelError: A value is not supported; the message names it and its key.
    """
    kinds = _kinds(config)
    farthest = _size(config, "max_relative_positions")
    farthest = config.number("max_position_embeddings", 512) if farthest < 1 else farthest
    buckets = _size(config, "position_buckets")
    is_relative = config.flag("relative_attention", default=False)
    if is_relative and buckets > 0 and not 2 <= buckets // 2 < farthest - 1:
        raise ModelError(
            f"{config.file}: `position_buckets` is {buckets} for distances up to {farthest}",
            "supported: from 4 to less than twice `max_relative_positions`",
        )
    return RelativePositions(
        is_relative,
        _CONTENT_TO_POSITION in kinds,
        _POSITION_TO_CONTENT in kinds,
        config.flag("share_att_key", default=False),
        _has_layer_norm(config),
        buckets if buckets > 0 else farthest,
        buckets // 2 if buckets > 0 else 0,
        farthest,
    )


def _kinds(config: ModelConfig) -> list[str]:
    """Read the position terms of the score, which ``pos_att_type`` lists."""
    stated = config.values.get("pos_att_type")
    kinds = [kind.strip() for kind in stated.lower().split("|")] if isinstance(stated, str) else stated or []
    known = {_CONTENT_TO_POSITION, _POSITION_TO_CONTENT, ""}
    if not isinstance(kinds, list) or not set(map(str, kinds)) <= known:
        raise ModelError(
            f"{config.file}: `pos_att_type` is {stated!r}",
            f"supported: {_CONTENT_TO_POSITION}, {_POSITION_TO_CONTENT}, and both",
        )
    return kinds


def _has_layer_norm(config: ModelConfig) -> bool:
    stated = config.values.get("norm_rel_ebd") or "none"
    kinds = {kind.strip() for kind in stated.lower().split("|")} if isinstance(stated, str) else {""}
    if not kinds <= {"none", "layer_norm"}:
        raise ModelError(f"{config.file}: `norm_rel_ebd` is {stated!r}", "supported: none, layer_norm")
    return "layer_norm" in kinds


def _size(config: ModelConfig, key: str) -> int:
    """Read a whole number; -1 if the key is absent, null or -1."""
    return -1 if config.values.get(key) in (None, -1) else config.number(key)
