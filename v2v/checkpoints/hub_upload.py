"""Folders uploaded to the Hugging Face Hub: models and adapters, with their cards.

saved_model.py, adapter_release.py -> **hub_upload**
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from v2v.checkpoints.hub_client import HubName, endpoint, explained_errors, parse_hub_name
from v2v.errors import InputError


def check_name(repository: str) -> HubName:
    """Return a repository's name; raise InputError for anything but ORG/NAME."""
    name = parse_hub_name(repository)
    if name is None or name.file or name.revision:
        raise InputError(f"{repository}: expected ORG/NAME, the repository to upload to")
    return name


def push_folder(
    folder: Path, repository: str, *, private: bool = False, progress: bool = False, message: str = ""
) -> str:
    """Upload the files of a folder as one commit; files of the repository that it doesn't hold stay.

    Args:
      folder: the folder.
      repository: ORG/NAME, which is made where there is none.
      private: make it private; one that exists stays as it is.
      progress: show bars.
      message: of the commit; "" for one that names v2v.

    Returns:
      the address of the repository.

    Raises:
      InputError: no folder or an empty one, no such organization, a token that may not write, or no connection.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    name = check_name(repository)
    if not folder.is_dir() or not any(path.is_file() for path in folder.rglob("*")):
        raise InputError(f"{folder}: expected a folder with files to upload, found none")
    (enable_progress_bars if progress else disable_progress_bars)()
    with _explained_refusals(name), explained_errors(name):
        api = HfApi(endpoint=endpoint(), library_name="v2v-edit")
        api.create_repo(name.repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name.repository, folder_path=folder, commit_message=message or "Upload with v2v"
        )
    return f"{endpoint()}/{name.repository}"


@contextlib.contextmanager
def _explained_refusals(name: HubName) -> Iterator[None]:
    """Say what a refused upload needs, which differs from a refused download."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except InputError as error:
        cause = error.__cause__
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
        if status in (401, 403) or not get_token():
            raise InputError(
                f"{name}: uploading needs HF_TOKEN, a token that may write to {name.repository.partition('/')[0]};"
                f" make one at {endpoint()}/settings/tokens"
            ) from error
        raise
