"""What of a run goes to the Hugging Face Hub, and its way there: one commit, of files named one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from huggingface_hub import CommitOperationAdd, HfApi, get_token, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from whisper_peft.errors import PublishingError
from whisper_peft.model.adapters.folders import CONFIG_FILE, PICKLE_FILE, SAFE_FILE
from whisper_peft.model.checkpoints.hub import COMPANION_FILES, missing_shards, weight_files
from whisper_peft.training.checkpoints import file_digest

Published: TypeAlias = Literal["adapter", "merged", "both"]
"""What goes up. Of both, the merged model lies at the top of the repository and the adapter in `adapter/`."""

ADAPTER_FILES = (SAFE_FILE, CONFIG_FILE)

MODEL_FILES = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json")
"""Without one of these, transformers' pipeline does not load a Whisper."""

_HTTP_ERROR = cast(type[Exception], HfHubHTTPError.__mro__[1])
"""What the Hub's HTTP client raises where nobody answers: httpx's or httpx2's, as the version has it."""

_OWN_FILES = frozenset({".gitattributes", "README.md"})
"""What the Hub itself puts into a new repository."""


@dataclass(frozen=True, slots=True)
class PushedFile:
    """One file of a push.

    Attributes:
        path: Its place in the repository.
        size_bytes: Its size.
        sha256: Its digest in hex.
        source: The file here, or the content of one that is written for the repository.
    """

    path: str
    size_bytes: int
    sha256: str
    source: Path | bytes = field(repr=False)

    @classmethod
    def of(cls, path: str, source: Path | bytes) -> PushedFile:
        """Measure a file.

        Example:
            >>> PushedFile.of("README.md", b"# card").size_bytes
            6
        """
        if isinstance(source, bytes):
            return cls(path, len(source), hashlib.sha256(source).hexdigest(), source)
        return cls(path, source.stat().st_size, file_digest(source), source)


@dataclass(frozen=True, slots=True)
class PushResult:
    """What went up, or would go up.

    Attributes:
        repo: Name of the repository.
        what: adapter, merged or both.
        private: Whether only its owners see it.
        files: Each file, with its size and digest.
        card: Metadata of the card, as the Hub reads it.
        notes: What the card lacks, and what to do about it.
        commit_url: Where to see it. None after a dry run.
    """

    repo: str
    what: Published
    private: bool
    files: tuple[PushedFile, ...]
    card: dict[str, Any]
    notes: tuple[str, ...]
    commit_url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        files = [{"path": one.path, "size_bytes": one.size_bytes, "sha256": one.sha256} for one in self.files]
        return {**asdict(self), "files": files}


def check_repo(repo: str) -> str:
    """Return the name of a repository, `OWNER/NAME`.

    Raises:
        PublishingError: If it is none.

    Example:
        >>> check_repo("me/whisper-base-fr")
        'me/whisper-base-fr'
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        why = str(error).splitlines()[0]
        raise PublishingError(f"--repo {repo} is no repository", why, "write it as OWNER/NAME") from None
    if repo.count("/") != 1:
        raise PublishingError(f"--repo {repo} has no owner", "it would be guessed", "write it as OWNER/NAME")
    return repo


def adapter_files(folder: Path, place: str = "") -> list[tuple[str, Path]]:
    """Return an adapter's files by their place in the repository.

    Raises:
        PublishingError: If it has no safetensors, or no configuration.
    """
    if missing := [name for name in ADAPTER_FILES if not (folder / name).is_file()]:
        todo = "finish the run, or push --what merged"
        if (folder / PICKLE_FILE).is_file():
            todo = f"save it as safetensors: whisper-peft adapters combine {folder} --output-dir FOLDER"
        raise PublishingError(
            f"{folder} is no adapter to push", f"it has no {' and no '.join(missing)}", todo
        )
    return [(place + name, folder / name) for name in ADAPTER_FILES]


def model_files(folder: Path, extra: Sequence[str] = ()) -> list[tuple[str, Path]]:
    """Return the files of a whole model, weights first; what else lies there stays.

    Args:
        folder: A model folder as transformers reads it.
        extra: Names of further files to take where they are there.

    Raises:
        PublishingError: If it is incomplete.
    """
    names = sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    weights = [name for name in weight_files(names) if ".safetensors" in name]
    missing = [] if weights else ["model.safetensors"]
    missing += missing_shards(folder, weights) if weights else []
    missing += [name for name in MODEL_FILES if name not in names]
    if missing:
        why = f"it lacks {', '.join(missing)}" if names else "there is no such folder"
        todo = f"make it: whisper-peft merge {folder.parent} --output-dir {folder}"
        raise PublishingError(f"{folder} is no whole model to push", why, todo)
    companions = [name for name in names if COMPANION_FILES.fullmatch(name) or name in extra]
    return [(name, folder / name) for name in dict.fromkeys([*weights, *companions])]


def upload(push: PushResult, *, into_existing: bool, api: HfApi | None = None) -> str:
    """Put the files into the repository in one commit, and return where to see it.

    Args:
        push: What goes up.
        into_existing: Whether a repository with other files is taken; those stay.
        api: The Hub. None: the one that HF_ENDPOINT names, with the token of HF_TOKEN or of the login.

    Raises:
        PublishingError: If there is no token, no network, or the Hub refuses.
    """
    if is_offline_mode():
        todo = "unset it, or look at what would go up with --dry-run"
        raise PublishingError(f"{push.repo} cannot be pushed", "HF_HUB_OFFLINE switches the Hub off", todo)
    hub = api or HfApi()
    if not (hub.token or get_token()):
        todo = "set HF_TOKEN to a token that may write, or log in: hf auth login"
        raise PublishingError(f"{push.repo} cannot be pushed", "there is no token for the Hub", todo)
    with _refusals(push.repo):
        _check_existing(hub, push, into_existing)
        # None: as its owner's default is, which may be private
        hub.create_repo(push.repo, private=push.private or None, exist_ok=True)
        commit = hub.create_commit(
            push.repo,
            [CommitOperationAdd(one.path, one.source) for one in push.files],
            commit_message=f"{push.what} of a whisper-peft run",
        )
    return str(commit.commit_url)


def _check_existing(hub: HfApi, push: PushResult, into_existing: bool) -> None:
    """Refuse a repository that is seen by more people than asked for, or that holds something else."""
    try:
        info = hub.model_info(push.repo)
    except RepositoryNotFoundError:
        return
    if push.private and not info.private:
        todo = "make it private on the Hub, or give another --repo"
        raise PublishingError(f"{push.repo} is public", "--private was asked for", todo)
    there = {sibling.rfilename for sibling in info.siblings or ()}
    other = sorted(there - _OWN_FILES - {one.path for one in push.files})
    if other and not into_existing:
        why = f"it holds {len(other)} other files, such as {other[0]}"
        todo = "give another --repo, or --into-existing to leave them beside"
        raise PublishingError(f"{push.repo} is in use", why, todo)


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    """Say in a sentence what the Hub, or the way there, objects to."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = (error.server_message or str(error)).strip().splitlines()[0]
        reasons = {
            401: ("the Hub does not know the token", "set HF_TOKEN anew, or hf auth login"),
            403: ("the token may not write there", "give it the permission to write, or another --repo"),
        }
        reason, todo = reasons.get(status, (f"the Hub answered {status}", "mend that, then push again"))
        raise PublishingError(f"{repo} was not pushed", f"{reason}: {why}", todo) from None
    except (_HTTP_ERROR, OSError, RuntimeError) as error:  # a RuntimeError: an upload of a file that failed
        cause = (error.__cause__ or error) if isinstance(error, RuntimeError) else error
        fault = (
            "the Hub cannot be reached" if isinstance(cause, _HTTP_ERROR | OSError) else "an upload failed"
        )
        why = f"{fault}: {(str(cause) or type(cause).__name__).splitlines()[0]}"
        raise PublishingError(f"{repo} was not pushed", why, "try again; nothing is half pushed") from None
    except ValueError as error:  # the Hub's own judgement of the card, before anything is sent
        why = " ".join(str(error).split())
        raise PublishingError(f"{repo} was not pushed", why, "mend the run's recipe or language") from None
