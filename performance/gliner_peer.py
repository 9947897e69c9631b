"""GLiNER with random weights, timed in an environment of its own, without samner; performance/extraction.py calls it.

python gliner_peer.py JSON, with the shape of the encoder, its tokenizer.json, texts and lists of labels; prints JSON.
Speed does not depend on what the weights are, but for what is found: the threshold leaves nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ENCODERS = {
    # microsoft/deberta-v3-small, over which gliner_small-v2.1 is
    "small": {
        "model_type": "deberta-v2",
        "vocab_size": 128100,
        "hidden_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    # all-MiniLM-L6-v2, over which the built-in pool is
    "minilm": {
        "model_type": "bert",
        "vocab_size": 30522,
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "max_position_embeddings": 512,
    },
}
NOTHING = 0.999999


def main() -> None:
    warnings.filterwarnings("ignore")
    given = json.loads(sys.argv[1])
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = made(ENCODERS[given["encoder"]], Path(given["tokenizer"]))
    answer: dict[str, Any] = {"seconds": {}, "memory": {}}
    for texts, labels in given["asked"]:
        model.inference(texts[:1], labels, threshold=NOTHING)
        start = time.process_time()
        model.inference(texts, labels, threshold=NOTHING, batch_size=8 if len(labels) < 100 else 1)
        answer["seconds"][len(labels)] = (time.process_time() - start) / len(texts)
        answer["memory"][len(labels)] = peak()
    print(json.dumps(answer))


def peak() -> int:
    """The most memory that this process held, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def made(encoder: dict[str, Any], tokenizer: Path) -> Any:
    """A model as GLiNER's small ones are (spans of up to 12 words, an LSTM above), with another's tokenizer."""
    from gliner.model import UniEncoderSpanGLiNER

    with tempfile.TemporaryDirectory() as name:
        shutil.copy(tokenizer, name)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        settings |= {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
        (Path(name) / "tokenizer_config.json").write_text(json.dumps(settings))
        (Path(name) / "config.json").write_text(json.dumps(encoder))
        config = {"model_name": name, "encoder_config": encoder, "hidden_size": 512, "max_width": 12, "max_len": 384}
        return UniEncoderSpanGLiNER.load_from_config(config, backbone_from_pretrained=False)


if __name__ == "__main__":
    main()
