"""Language models in llama.cpp's file format, GGUF, as bases: dequantised once, kept as safetensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samner.backbones.language_model.loading import complete
from samner.display import reason
from samner.errors import ModelError
from samner.files import made_once, sha256, user_folder, user_path, write_json, writing_tensors
from samner.quiet import quiet

# the architectures of Llama's kind, linear layers throughout, that transformers reads from a GGUF as well
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")

_MAGIC = b"GGUF"
_SAID = ("general.architecture", "split.no", "split.count")
# What decides a model's answers. The rest of a configuration differs between versions of transformers, and with it
# would the digest of one and the same model.
_CONFIG = (
    *("model_type", "architectures", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings"),
    *("rms_norm_eps", "rope_parameters", "sliding_window", "tie_word_embeddings", "attention_bias"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "dtype"),
)


def is_gguf(reference: str) -> bool:
    """Whether a reference to a model means a GGUF file: by its suffix, or because it is a file at all."""
    return reference.lower().endswith(".gguf") or user_path(reference).is_file()


def base_from_gguf(path: Path, cache: Path | None = None) -> Path:
    """The folder (safetensors, configuration, tokenizer) that a GGUF is dequantised into.

    It is made once for each content and then found by the file's SHA-256. The weights are float32, which holds what
    the file says exactly.

    Args:
        path: The file.
        cache: Where such folders are kept; by default in the user's folder.

    Raises:
        ModelError: If the file is missing, damaged or cut short, of an architecture that is not supported, or the
            packages that read it are.
    """
    path = user_path(path)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if magic != _MAGIC:
        raise ModelError(f"{path}: is no GGUF file; give one of those, or a folder with a model in safetensors")
    folder = (cache or user_folder()) / "gguf" / sha256(path)
    if folder.is_dir():
        return folder
    _check(path)
    return made_once(folder, lambda temporary: _dequantise(path, temporary))


def _check(path: Path) -> None:
    """Refuse what is cut short, damaged, or of another architecture, before transformers fails somewhere within."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(f"{path}: reading it needs the package gguf: pip install gguf") from error
    try:
        reader = GGUFReader(path)  # maps the file: a tensor beyond its end cannot be made
        said = {name: field.contents() for name, field in reader.fields.items() if name in _SAID}
    except Exception as error:  # the reader checks little: damage shows as any error of NumPy's or Python's
        raise ModelError(f"{path}: is damaged or cut short; fetch it again") from error
    if said.get("split.count", 1) != 1:
        raise ModelError(
            f"{path}: is part {said.get('split.no', 0) + 1} of {said['split.count']} of a model; make one file of "
            "them with llama.cpp: llama-gguf-split --merge FIRST_PART WHOLE"
        )
    architecture = said.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{path}: its architecture is {str(architecture)[:40]!r}; those that can be a base are "
            f"{', '.join(ARCHITECTURES)}"
        )
    if not reader.tensors or "tokenizer.ggml.tokens" not in reader.fields:
        raise ModelError(f"{path}: holds no {'tokenizer' if reader.tensors else 'weights'}, so it is no whole model")


@contextmanager
def _without_bar() -> Iterator[None]:
    """While transformers reads a GGUF, for which it shows a bar of tqdm's that no setting hides."""
    from transformers import modeling_gguf_pytorch_utils as reading

    with quiet():  # which one thread at a time is
        bar = getattr(reading, "tqdm", None)
        reading.tqdm = lambda items, **_: items
        try:
            yield
        finally:
            reading.tqdm = bar


def _dequantise(path: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        with _without_bar():
            model, told = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(**place)
    except Exception as error:  # as above
        raise ModelError(f"{path}: cannot be read as a language model ({reason(error)})") from error
    model = complete(model, told, str(path))
    # as the file says: some versions of transformers end a turn with what begins one
    for role in ("bos", "eos", "pad"):
        number = getattr(model.config, f"{role}_token_id", None)
        if isinstance(number, int):
            setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(number))
    # transformers takes the model for a quantised one, which it would not save
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    with writing_tensors(folder / "model.safetensors"):
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    write_json(folder / "config.json", {key: config[key] for key in _CONFIG if config.get(key) is not None})
