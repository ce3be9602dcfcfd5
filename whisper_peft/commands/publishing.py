"""`push`: a run on the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.flags import parse_command
from whisper_peft.reporting.figures import count
from whisper_peft.terminal import show

if TYPE_CHECKING:
    from whisper_peft.deploy.publishing import PushResult


@dataclass(frozen=True)
class Push:
    """Push a run's adapter, merged model or both to the Hugging Face Hub, with its card, in one commit."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder."""
    repo: str
    """Repository, OWNER/NAME; made if it is not there."""
    what: Literal["auto", "adapter", "merged", "both"] = "auto"
    """auto: adapter, and merged after full fine-tuning. both: merged at the top, the adapter in adapter/."""
    private: bool = False
    """Make the repository private, and refuse one that is public."""
    dry_run: bool = False
    """Show exactly what would go up; no token and no network is needed."""
    license: str | None = None
    """Identifier of the licence of the weights, such as apache-2.0."""
    base_model: str | None = None
    """The base's name on the Hub. None: the run's model.name, where that is one."""
    into_existing: bool = False
    """Push into a repository that holds other files, which stay."""
    json: Path | None = None
    """File to write the list to."""


def run_push(words: list[str]) -> None:
    """Push a run to the Hugging Face Hub, or show what would go up."""
    command, _ = parse_command(Push(MISSING, repo=MISSING), words, prog="whisper-peft push")
    if command.json is not None:
        refuse_unwritable(command.json)
    result = whisper_peft.push(
        command.run,
        repo=command.repo,
        what=None if command.what == "auto" else command.what,
        private=command.private,
        dry_run=command.dry_run,
        license=command.license,
        base_model=command.base_model,
        into_existing=command.into_existing,
    )
    show(push_text(result))
    if command.json is not None:
        write_json(command.json, result.to_dict())


def push_text(push: PushResult) -> str:
    """Return what went up, or would, a line for each file, and the card's metadata."""
    goes = "would go" if push.commit_url is None else "went"
    seen = "private" if push.private else "public, if it is new"
    total = sum(one.size_bytes for one in push.files)
    lines = [f"{push.what} {goes} to {push.repo} ({seen}): {len(push.files)} files, {count(total)} bytes", ""]
    width = max(len(one.path) for one in push.files)
    lines += [f"{one.path:<{width}}  {count(one.size_bytes):>15}  {one.sha256}" for one in push.files]
    lines += ["", "README.md says to the Hub:", yaml.safe_dump(push.card, sort_keys=False).strip()]
    lines += [f"note: {note}" for note in push.notes]
    return "\n".join([*lines, *([push.commit_url] if push.commit_url else [])])
