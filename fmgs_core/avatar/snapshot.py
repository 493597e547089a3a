"""A frozen copy of an avatar, and its file: safetensors with JSON metadata, never pickle."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fmgs_core.atomic import replacing
from fmgs_core.avatar.fields import FieldConfig
from fmgs_core.avatar.model import Avatar
from fmgs_core.body.subdivision import subdivided
from fmgs_core.body.template import BodyModel

FORMAT = "fmgs-avatar/1"
_LOGITS = ("field.logits", "field.semantics.layers.biases.1")
"""Tensors whose last axis are the classes; one is in every file."""


@dataclass(frozen=True)
class AvatarSnapshot:
    """Everything needed to draw the avatar or to go on training it. Tensors are detached copies on the CPU that nobody
    writes."""

    body_name: str
    """Which body model the Gaussians sit on."""
    tensors: dict[str, Tensor]
    """State of field and light, plus "betas" (B,) and "observed" (K,)."""
    iterations: int
    """Training iterations behind it."""
    frames_seen: int
    """Frames of the stream behind it."""
    fields: FieldConfig = field(default_factory=FieldConfig)
    """How the attributes are stored."""

    @staticmethod
    def of(avatar: Avatar, iterations: int, frames_seen: int) -> "AvatarSnapshot":
        """Copies, because Adam writes in place and a reader must never see half a step."""
        tensors = {name: value.detach().to("cpu", copy=True) for name, value in avatar.state_dict().items()}
        tensors["betas"] = torch.from_numpy(avatar.betas.copy())
        return AvatarSnapshot(avatar.body.name, tensors, iterations, frames_seen, avatar.fields)

    def avatar(self, body: BodyModel, device: str | torch.device = "cpu") -> Avatar:
        """A new avatar in this state. A body of fewer faces is subdivided to the snapshot's number of Gaussians.

        Raises:
            ValueError: the body is another one than the snapshot was made on, or a tensor does not fit it.
        """
        if body.name != self.body_name:
            raise ValueError(f"avatar body: expected '{self.body_name}' as the snapshot says, got '{body.name}'")
        if "observed" in self.tensors and (gaussians := len(self.tensors["observed"])) > len(body.kept_faces):
            body = subdivided(body, gaussians).body
        avatar = Avatar(body, self.tensors["betas"].numpy(), _num_classes(self.tensors), device, self.fields)
        fields = {name: value for name, value in self.tensors.items() if name != "betas"}
        fields.setdefault("light.coefficients", avatar.light.coefficients.detach())  # files from before there was a light
        expected = {name: tuple(value.shape) for name, value in avatar.state_dict().items()}
        got = {name: tuple(value.shape) for name, value in fields.items()}
        if expected != got:
            raise ValueError(f"avatar tensors: expected {expected}, got {got}")
        avatar.load_state_dict(fields)
        return avatar


def save_avatar(path: Path, snapshot: AvatarSnapshot) -> None:
    """Replaces the file in one step: an interrupted save never destroys the previous avatar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = to_bytes(snapshot)
    with replacing(path) as part:
        part.write_bytes(content)


def load_avatar(path: Path) -> AvatarSnapshot:
    """Reads what save_avatar wrote.

    Raises:
        ValueError: no such file, or what from_bytes refuses.
    """
    if not path.is_file():
        raise ValueError(f"avatar file: expected an existing file, got {path}")
    return from_bytes(path.read_bytes(), f"avatar file {path}")


def to_bytes(snapshot: AvatarSnapshot) -> bytes:
    """The content of its file: equal snapshots give equal bytes, so that a hash names one."""
    metadata = {
        "format": FORMAT,
        "body": snapshot.body_name,
        "iterations": str(snapshot.iterations),
        "frames_seen": str(snapshot.frames_seen),
        "fields": json.dumps(asdict(snapshot.fields)),
    }
    return _in_order(save({name: value.contiguous() for name, value in snapshot.tensors.items()}, metadata))


def from_bytes(content: bytes, source: str = "avatar snapshot") -> AvatarSnapshot:
    """Reads what to_bytes made; `source` names it in errors.

    Raises:
        ValueError: not safetensors, another format, a missing field, or a value that is not finite.
    """
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"{source}: expected a whole safetensors file, got one that says: {error}") from error
    except KeyError as error:  # safetensors' torch reader looks number types up in a table
        raise ValueError(f"{source}: expected float32 tensors, got {error}") from error
    metadata = _metadata(content)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{source}: expected format {FORMAT}, got {metadata.get('format')!r}")
    counts = [metadata.get(name, "") for name in ("iterations", "frames_seen")]
    if "body" not in metadata or not all(count.isdecimal() for count in counts):
        raise ValueError(f"{source}: expected metadata body, iterations and frames_seen, got {metadata}")
    _check_tensors(source, tensors)
    return AvatarSnapshot(metadata["body"], tensors, int(counts[0]), int(counts[1]), _fields(source, metadata))


def _in_order(content: bytes) -> bytes:
    """The same file with sorted metadata: safetensors writes it in random order, and equal avatars should be equal files."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = {"__metadata__": dict(sorted(header.pop("__metadata__").items()))}
    text = json.dumps(metadata | header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= length, (len(text), length)
    return content[:8] + text.ljust(length) + content[8 + length :]


def _metadata(content: bytes) -> dict[str, str]:
    """Of a file that safetensors has accepted, so that its header is whole JSON."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _fields(source: str, metadata: dict[str, str]) -> FieldConfig:
    """Files from before there was a choice say nothing, and are free."""
    try:
        return FieldConfig(**json.loads(metadata.get("fields", "{}")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}: expected metadata fields of {FieldConfig()}, got {metadata['fields']!r}") from error


def _num_classes(tensors: dict[str, Tensor]) -> int:
    return next(tensors[name].shape[-1] for name in _LOGITS if name in tensors)


def _check_tensors(source: str, tensors: dict[str, Tensor]) -> None:
    logits = [
        tensors[name] for name, axes in zip(_LOGITS, (2, 1), strict=True) if name in tensors and tensors[name].ndim == axes
    ]
    if "betas" not in tensors or not logits:
        got = {name: tuple(value.shape) for name, value in tensors.items()}
        raise ValueError(f"{source}: expected the tensors betas and field.*, got {got}")
    foreign = {name: value.dtype for name, value in tensors.items() if value.dtype != torch.float32}
    if foreign:
        raise ValueError(f"{source}: expected float32 tensors, got {foreign}")
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"{source}: expected finite values, got NaN or infinity in {broken}")
