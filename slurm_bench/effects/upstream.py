"""The one service that an agent's model is asked at: its URLs, its key, and the way out of a node that has none."""

from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from slurm_bench.effects.keys import Key
from slurm_bench.words.errors import UsageError

_URLS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}
_API_VERSION = "2025-04-01-preview"


@dataclass(frozen=True)
class Upstream:
    maker: str
    """anthropic, openai or azure."""
    base_url: str | None
    """None for the maker's own; Azure has none, but the endpoint of a resource."""
    api_version: str | None
    """Of Azure."""
    key: Key
    models: frozenset[str]
    """What may be asked; on Azure the names of deployments."""
    longest_answer_s: float = 4 * 3600.0
    """More than the largest answers take; what goes on is a service that only says that it is there."""

    def routes(self) -> dict[str, "Route"]:
        """By the target that is asked for inside.

        Raises:
            UsageError: base_url is no URL, or the environment's proxy is of no kind that we know.
        """
        base = self._base_url()
        if self.maker == "anthropic":
            return {
                f"{path}{query}": _route(URL(f"{base}{path}{query}"), is_counted)
                for path, is_counted in (("/v1/messages", True), ("/v1/messages/count_tokens", False))
                for query in ("", "?beta=true")
            }
        url = URL(f"{base}/responses")
        if self.maker == "openai":
            return {"/v1/responses": _route(url)}
        url = url.with_query({"api-version": self.api_version or _API_VERSION})
        return {"/v1/responses": _route(url), f"/openai/responses?{url.raw_query_string}": _route(url)}

    def key_header(self) -> dict[str, str]:
        if self.maker == "openai":
            return {"Authorization": f"Bearer {self.key.reveal()}"}
        return {"x-api-key" if self.maker == "anthropic" else "api-key": self.key.reveal()}

    def _base_url(self) -> str:
        url = (self.base_url or _URLS.get(self.maker, "")).rstrip("/")
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good or parts.query or parts.fragment or parts.username:
            raise UsageError(f"the base_url of an agent's model must be a URL with https:// and a host, got {url!r}")
        is_complete = self.maker != "azure" or "openai" in parts.path.split("/")
        return url if is_complete else f"{url}/openai"


@dataclass(frozen=True)
class Route:
    url: URL
    proxy: URL | None
    """Through which it is reached."""
    is_counted: bool
    """Whether a model answers it."""


def _route(url: URL, is_counted: bool = True) -> Route:
    return Route(url, _way_out(url), is_counted)


def _way_out(url: URL) -> URL | None:
    """The HTTPS_PROXY of the environment."""
    # Not by aiohttp's trust_env, which sends along what ~/.netrc has for a host.
    proxy = getproxies().get(url.scheme)
    if not proxy or proxy_bypass(url.host or ""):
        return None
    found = URL(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme not in ("http", "https") or not found.host:
        raise UsageError(f"the environment variable {url.scheme}_proxy must be the URL of an HTTP proxy")
    return found
