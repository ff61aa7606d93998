"""What goes wrong with the Hub, in sentences: who refused, why, and what to do. The waiting itself is `hub.patience`'s business."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

from tunelab.errors import HubError, ModelError, StorageError, TunelabError
from tunelab.hub.patience import LATER

_LOGIN = "hf auth login"


def refusal(error: Exception, name: str = "") -> TunelabError:
    """The sentence for an error of huggingface_hub. `name`: the model that was asked for, "" for a listing. Unknown models: see `unknown`."""
    from huggingface_hub.errors import DisabledRepoError, GatedRepoError, OfflineModeIsEnabled

    if isinstance(error, TunelabError):
        return error
    what = name or "the list of models"
    if isinstance(error, GatedRepoError):
        return ModelError(f"{name} is gated: its owner gives access to those who accept its terms.",
                          next_step=f"Accept them at https://huggingface.co/{name}, then: {_LOGIN}")
    if isinstance(error, DisabledRepoError):
        return ModelError(f"The Hub has taken {name} down.", next_step="Choose another: tunelab hub find --task TASK")
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"HF_HUB_OFFLINE forbids to ask the Hub for {what}.", next_step="Unset HF_HUB_OFFLINE, or ask for what was seen before: --offline")
    response = getattr(error, "response", None)
    if response is not None:
        return _status(response, what)
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"What the Hub told of {what} could not be stored: {error.strerror}.", where=str(error.filename or "the Hub's cache"),
                            next_step="Free some disk space, or set HF_HOME to a folder with room.")
    return HubError(f"The Hub at {endpoint()} answered what is no description of {what} ({type(error).__name__}).",
                    next_step="Look at HF_ENDPOINT: is that a hub? Else try again later; what was seen before is there with --offline.")


def is_wrong_token(error: Exception) -> bool:
    """Whether the Hub refused the token itself (it answers 401 for models that do not exist as well)."""
    response = getattr(error, "response", None)
    if response is None or response.status_code != 401:
        return False
    said = " ".join((response.headers.get("x-error-message", ""), getattr(error, "server_message", None) or "")).lower()
    return "credentials" in said or "token" in said or "username or password" in said


def unknown(name: str, similar: Iterable[str]) -> ModelError:
    """There is no such model; or it is private."""
    near = nearest(name, similar)
    guess = f" Did you mean {' or '.join(near)}?" if near else ""
    return ModelError(f"The Hub knows no model {name[:120]}, or it is private.{guess}",
                      next_step=f"Check the spelling (ORG/NAME); for a private model: {_LOGIN}")


def nearest(name: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names most like one: as a whole, or behind the slash."""
    wanted = name.lower()
    scored = {one: max(SequenceMatcher(None, wanted, one.lower()).ratio(),
                       0.95 * SequenceMatcher(None, wanted.rpartition("/")[2], one.lower().rpartition("/")[2]).ratio()) for one in names}
    best = sorted((one for one in scored if scored[one] >= 0.75), key=lambda one: -scored[one])
    return best[:most]


def endpoint() -> str:
    """The Hub's address (HF_ENDPOINT)."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _status(response: Any, what: str) -> TunelabError:
    status = response.status_code
    if status == 401 and "authorization" not in response.request.headers:
        return HubError(f"The Hub wants to know who you are before it tells of {what} (401).", next_step=f"Log in: {_LOGIN}")
    if status == 401:
        return HubError(f"The Hub refused your token when asked for {what} (401).",
                        next_step=f"Log in again ({_LOGIN}), or remove the wrong one: HF_TOKEN in the environment, hf auth logout.")
    if status == 403:
        said = response.headers.get("x-error-message", "")[:200].rstrip(".")
        return HubError(f"The Hub does not let you see {what} (403{': ' + said if said else ''}).",
                        next_step=f"Use a token that may read it (fine-grained tokens name what they may): {_LOGIN}")
    if status == 404:
        return HubError(f"{endpoint()} has no such page for {what} (404).", next_step="Look at HF_ENDPOINT: is that a hub?")
    return HubError(f"The Hub answered {status} when asked for {what}.", next_step=LATER)
