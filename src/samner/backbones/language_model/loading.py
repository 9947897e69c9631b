"""Loading a causal language model: tokenizer, weights, the layers that experts adapt, and a digest of it all."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from samner.display import reason
from samner.errors import ModelError, SamnerError
from samner.files import read_json
from samner.precision import fastest_dtype

if TYPE_CHECKING:
    import torch
    from torch import nn

    from samner.backbones.language_model.base_card import BaseCard

TRUST = "SAMNER_TRUST_REMOTE_CODE"
"""The environment variable that, set to 1, allows a model that is made of code of its own to run that."""

# of config.json, what says by whom and how it was saved, not what the model answers
_PASSING = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}


def trusted() -> bool:
    """Whether the user allows code that comes with a model to run."""
    return os.environ.get(TRUST) == "1"


def with_model_errors(model: str, load: Any, **arguments: Any) -> Any:
    """``load(model, **arguments)``, what goes wrong in transformers told in one line.

    Raises:
        ModelError: If anything does.
    """
    try:
        return load(model, trust_remote_code=trusted(), **arguments)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SamnerError) as error:
        why = reason(error)
        if "trust_remote_code" in str(error):
            why = f"it brings code of its own; if you trust that, set {TRUST}=1"
        raise ModelError(f"{model}: cannot be loaded as a causal language model ({why})") from error


def load_tokenizer(reference: str) -> Any:
    """The tokenizer of a model, which tells its tokens' places in a text and has a token that ends an answer.

    Raises:
        ModelError: If it cannot be read, or is not such a tokenizer.
    """
    from transformers import AutoTokenizer

    tokenizer = with_model_errors(reference, AutoTokenizer.from_pretrained)
    if not tokenizer.is_fast:
        raise ModelError(
            f"{reference}: its tokenizer is not of the tokenizers library (tokenizer.json), which is needed"
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{reference}: its tokenizer has no token that ends an answer (eos_token)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(reference: str, card: BaseCard, device: torch.device, tokenizer: Any) -> Any:
    """The model as its card says, to be read only.

    Raises:
        ModelError: If it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    cpu = device.type == "cpu"
    arguments: dict[str, Any] = {
        "dtype": fastest_dtype() if card.dtype == "auto" and cpu else card.dtype,
        "device_map": str(device) if cpu or card.device_map is None else card.device_map,
        "use_safetensors": True,
    }
    if card.four_bit and not cpu:
        compute = torch.bfloat16 if card.dtype == "auto" else getattr(torch, card.dtype)
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
        )
    model, told = with_model_errors(
        reference, AutoModelForCausalLM.from_pretrained, output_loading_info=True, **arguments
    )
    model = complete(model, told, reference).eval()
    model.requires_grad_(False)
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    # of the model's own settings only what ends an answer: greedy decoding has no temperature and no penalties
    model.generation_config = GenerationConfig(
        eos_token_id=sorted({*ends, tokenizer.eos_token_id}), pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def complete(model: Any, loading: Any, reference: str) -> Any:
    """The model, if transformers found all of its weights; those that it did not find it would make up at random.

    Raises:
        ModelError: If some are missing.
    """
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(f"{reference}: has no weights of {missing[0]}, and lacks {len(missing)} in all")
    return model


def load_shapes(reference: str) -> Any:
    """The model without its weights, which tells the shapes of its modules.

    Raises:
        ModelError: If its configuration cannot be read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def load(model: str, **arguments: Any) -> Any:
        config = AutoConfig.from_pretrained(model, **arguments)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, **arguments)

    return with_model_errors(reference, load)


def linear_layers(model: Any) -> dict[str, nn.Linear]:
    """The linear layers that an adapter goes on, by name: all but the output layer.

    Raises:
        ModelError: If the model has none, as those of GPT-2's kind, whose layers are transposed.
    """
    from torch import nn

    head = model.get_output_embeddings()
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head}
    if not layers:
        raise ModelError(f"{type(model).__name__} has no linear layers of torch's kind for an adapter to go on")
    return layers


def check_weights(folder: Path) -> None:
    """Check that a folder's weights in safetensors are whole: no tensor is read.

    Raises:
        ModelError: If there are none, or a file is damaged or cut off.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: holds no weights in safetensors; save the model so first")
    for path in files:
        try:
            with safe_open(path, framework="pt"):  # checks that header and length agree
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: damaged or cut off ({reason(error)})") from error


def checkpoint_digest(folder: Path) -> str:
    """SHA-256 of a model's tensors and configuration, whoever saved them and over how many files.

    So a GGUF has one digest, wherever it lies and whenever it was dequantised.
    """
    tensors = [
        tensor
        for path in folder.glob("*.safetensors")
        for tensor in _tensor_digests(path, path.stat().st_size, path.stat().st_mtime_ns)
    ]
    config = read_json(folder / "config.json")
    told = {key: value for key, value in config.items() if key not in _PASSING}
    return hashlib.sha256(json.dumps([sorted(tensors), told], sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=256)
def _tensor_digests(path: Path, size: int, changed: int) -> list[tuple[str, str]]:
    """Name and digest of each tensor in a file that was loaded before, once for each state of it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path}: not a complete safetensors file ({error})") from error
        header.pop("__metadata__", None)
        digests = []
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            digest = hashlib.sha256(json.dumps([entry["dtype"], entry["shape"]]).encode())
            while begin < end:
                block = file.read(min(end - begin, 1 << 22))
                digest.update(block)
                begin += len(block) or end
            digests.append((name, digest.hexdigest()))
    return digests
