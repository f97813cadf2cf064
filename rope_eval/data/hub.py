"""Whether the hub has a model: asked once, where the hub's library would ask for a minute."""

from __future__ import annotations

from pathlib import Path

HUB_SECONDS = 10.0


def why_not_had(name: str) -> str:
    """Return why a model cannot be had from the hub or its cache; empty where it can be tried.

    The library tries a hub that it cannot reach six times for each file, and says so each time.

    Args:
        name: of a model, which is no directory.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url, utils

    try:
        utils.validate_repo_id(name)
        if _is_cached(name):
            return ""
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_SECONDS)
    except errors.HFValidationError:
        return "the hub has no such names"
    except errors.GatedRepoError:
        return (
            "the hub gives it to those whom its owners have let in: ask on its page, and log in "
            "with `hf auth login`"
        )
    except errors.RepositoryNotFoundError:
        return "the hub has none of that name, or not for you: `hf auth login` opens private ones"
    except errors.OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE keeps the hub from being asked; its cache has no such model"
    except errors.HfHubHTTPError:  # another file may be there, or the library tries again
        return ""
    except Exception as error:  # what a network raises is of the client that the library has taken
        reason = str(error).strip() or type(error).__name__
        return f"the hub cannot be reached ({reason.splitlines()[0]}); its cache has no such model"
    return ""


def config_folder(name: str) -> Path:
    """Return the folder in the hub's cache with a model's config.json, which is fetched.

    Raises:
        OSError: where it cannot be fetched.
    """
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(name, "config.json")).parent


def _is_cached(name: str) -> bool:
    """Tell whether any revision of a model is in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=name, repo_type="model")
    return any(Path(constants.HF_HUB_CACHE, folder, "snapshots").glob("*/*"))
