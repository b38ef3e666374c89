"""Hugging Face's hub, or a mirror of it: what a data set holds, and downloads that go on where they broke off.

huggingface_hub's own hf_hub_download resumes within one call only: it writes to a file of a random name, and removes
that when it fails. So the file is ours here, and the library's http_get, which resumes from any file, fills it.
"""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

# Read once, when the library is imported: without it a list of agent programs is fetched into HOME for statistics.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, but not in __all__
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from slurm_bench.effects.sources import Offer, Offered, no_link
from slurm_bench.pure.plain import one_line
from slurm_bench.words.errors import BenchError, InfrastructureError, UsageError

T = TypeVar("T")

_FAILURES = (httpx2.HTTPError, OSError, ValueError)
"""What the library raises; an answer that is not JSON is a ValueError."""
_LIST_TIMEOUT_S = 30


@dataclass(frozen=True)
class Patience:
    tries: int = 5
    first_wait_s: float = 2.0
    """Longest first back-off; each further one doubles it."""
    longest_wait_s: float = 60.0


class Hub:
    """
    Args:
        endpoint: None is HF_ENDPOINT, or huggingface.co; HF_TOKEN is sent there.
    """

    def __init__(self, endpoint: str | None, repo: str, patience: Patience | None = None) -> None:
        self._api = HfApi(endpoint=endpoint.rstrip("/") if endpoint else None)
        self._repo = repo
        self._patience = patience or Patience()

    @property
    def _endpoint(self) -> str:
        return str(self._api.endpoint)

    def offer(self, names: Sequence[str], revision: str | None) -> Offer:
        # This question, unlike a download, the library asks only once.
        info = self._patiently(
            lambda: self._api.dataset_info(self._repo, revision=revision, files_metadata=True, timeout=_LIST_TIMEOUT_S),
            is_passing=lambda error: _status(error) in (408, 429) or _may_pass(error),
        )
        files = {
            each.rfilename: Offered(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None, info.sha)
            for each in info.siblings or ()
            if each.rfilename in names
        }
        return Offer(self._endpoint, "hub", files)

    def fetch(self, file: Offered, into: Path) -> None:
        url = hf_hub_url(self._repo, file.name, repo_type="dataset", revision=file.revision, endpoint=self._endpoint)
        # A compressed answer could not be resumed by the file's own bytes.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}

        def go_on() -> None:
            with _Bounded(io.FileIO(into, "ab", opener=no_link), file.size) as stream:
                http_get(
                    url,
                    stream,
                    resume_size=stream.tell(),
                    headers=headers,
                    expected_size=file.size,
                    displayed_filename=file.name,
                )

        self._patiently(go_on, is_passing=_may_pass)

    def _patiently(self, what: Callable[[], T], is_passing: Callable[[BaseException], bool]) -> T:
        patience = self._patience
        retrying = Retrying(
            retry=retry_if_exception(is_passing),
            stop=stop_after_attempt(patience.tries),
            wait=wait_random_exponential(patience.first_wait_s, patience.longest_wait_s),
            reraise=True,
        )
        try:
            return retrying(what)
        except _FAILURES as error:
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> BenchError:
        match error:
            case RevisionNotFoundError():
                return UsageError(f"command.revision: {self._repo} at {self._endpoint} has no such revision")
            case EntryNotFoundError():
                return UsageError(f"command.repo: {self._repo} at {self._endpoint} lacks a file that it lists")
            case RepositoryNotFoundError():
                return UsageError(
                    f"command.repo: no data set {self._repo} at {self._endpoint}, or it asks for a token (HF_TOKEN)"
                )
            case HFValidationError():
                return UsageError(f"command.repo: {one_line(str(error))}")
        said = one_line(str(error).partition("\n")[0]) or type(error).__name__
        remedy = "the same command goes on with what has come, and source= names a mirror or a folder"
        return InfrastructureError(f"{self._endpoint}: {said}; {remedy}")


class _Bounded(io.BufferedWriter):
    """Takes so many bytes and no more: http_get looks at the size only when an answer is over."""

    def __init__(self, raw: io.FileIO, most: int) -> None:
        super().__init__(raw)
        self._most = most

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._most:
            raise OSError(f"more comes than the {self._most:,} bytes that it lists")
        return super().write(data)


def _may_pass(error: BaseException) -> bool:
    """Whether another try may bring what this one did not, and the library itself has not tried again."""
    status = _status(error)
    return status >= 500 if status else isinstance(error, httpx2.NetworkError)


def _status(error: BaseException) -> int:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0
