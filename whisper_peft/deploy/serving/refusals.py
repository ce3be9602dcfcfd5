"""Errors as OpenAI's API gives them, with the status that tells whose they are."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse


class RefusalError(Exception):
    """A request that is not served.

    Args:
        status: HTTP status.
        message: What is wrong, and what to do.
        code: A short, stable name of the reason.
        param: The field of the request that is wrong, if it is one.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    @property
    def plain(self) -> dict[str, dict[str, str | None]]:
        """The JSON body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, kind)
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }

    def response(self) -> JSONResponse:
        """Return the answer.

        Example:
            >>> RefusalError(404, "no such model", code="model_not_found").response().status_code
            404
        """
        return JSONResponse(self.plain, status_code=self.status, headers=self.headers)
