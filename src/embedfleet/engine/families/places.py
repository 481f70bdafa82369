"""How a config.json of DeBERTa-v2 states what attention is told of places."""

from dataclasses import dataclass

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_TO_PLACE, _TO_CONTENT = "c2p", "p2c"


@dataclass(frozen=True, slots=True)
class Places:
    """See the module.

    Attributes:
        is_relative: whether there is a table of distances at all.
        to_place: whether queries are held against it.
        to_content: whether keys are.
        are_shared: whether the layers that make queries and keys of words make them of distances too.
        are_normed: whether the table is normalised.
        span: rows of the table on each side.
        exact: from here on distances share rows by their logarithm; 0 where each has its own.
        farthest: where the logarithms end.
    """

    is_relative: bool
    to_place: bool
    to_content: bool
    are_shared: bool
    are_normed: bool
    span: int
    exact: int
    farthest: int

    @property
    def parts(self) -> int:
        """Of a score: content to content, and the others that are asked for."""
        return 1 + self.to_place + self.to_content


def read_places(config: ModelConfig) -> Places:
    """What a config states.

    Raises:
        ModelError: naming the key and the value, of what is not supported.
    """
    kinds = _kinds(config)
    farthest = _size(config, "max_relative_positions")
    farthest = config.number("max_position_embeddings", 512) if farthest < 1 else farthest
    buckets = _size(config, "position_buckets")
    is_relative = config.flag("relative_attention", default=False)
    if is_relative and buckets > 0 and not 2 <= buckets // 2 < farthest - 1:
        raise ModelError(
            f"{config.file}: `position_buckets` is {buckets}, of distances to {farthest}",
            "supported: from 4 to less than twice `max_relative_positions`",
        )
    return Places(
        is_relative,
        _TO_PLACE in kinds,
        _TO_CONTENT in kinds,
        config.flag("share_att_key", default=False),
        _is_normed(config),
        buckets if buckets > 0 else farthest,
        buckets // 2 if buckets > 0 else 0,
        farthest,
    )


def _kinds(config: ModelConfig) -> list[str]:
    stated = config.values.get("pos_att_type")
    kinds = [kind.strip() for kind in stated.lower().split("|")] if isinstance(stated, str) else stated or []
    if not isinstance(kinds, list) or not set(map(str, kinds)) <= {_TO_PLACE, _TO_CONTENT, ""}:
        raise ModelError(
            f"{config.file}: `pos_att_type` is {stated!r}", f"supported: {_TO_PLACE}, {_TO_CONTENT}, and both"
        )
    return kinds


def _is_normed(config: ModelConfig) -> bool:
    stated = config.values.get("norm_rel_ebd") or "none"
    kinds = {kind.strip() for kind in stated.lower().split("|")} if isinstance(stated, str) else {""}
    if not kinds <= {"none", "layer_norm"}:
        raise ModelError(f"{config.file}: `norm_rel_ebd` is {stated!r}", "supported: none, layer_norm")
    return "layer_norm" in kinds


def _size(config: ModelConfig, key: str) -> int:
    """A whole number, -1 where there is none."""
    return -1 if config.values.get(key) in (None, -1) else config.number(key)
