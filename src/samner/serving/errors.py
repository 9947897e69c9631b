"""How everything that goes wrong is said: a status, one line, and the field that it is about."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from samner.errors import SamnerError

log = logging.getLogger(__name__)


class ApiError(Exception):
    """An answer that is no success.

    Args:
        status: Of HTTP.
        message: One line that says what is wrong and what would be right.
        field: Of the request, as ``texts[3]``; none if it is about none.
        retry_after: Seconds after which the same request may succeed.
        headers: More of the answer's headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        field: str | None = None,
        *,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.headers = dict(headers or {}) | ({} if retry_after is None else {"Retry-After": str(retry_after)})

    def body(self) -> dict[str, Any]:
        """What is answered."""
        return {"error": {"message": self.message, "field": self.field}}

    def response(self) -> JSONResponse:
        """The same, as ASGI wants it."""
        return JSONResponse(self.body(), self.status, self.headers)


def install(app: FastAPI) -> None:
    """Make every error of an application one of these."""

    @app.exception_handler(ApiError)
    def _(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    def _(_: Request, error: RequestValidationError) -> JSONResponse:
        first = max(error.errors(), key=lambda one: len(one["loc"]))  # of a choice, what was nearest to be meant
        if first["type"] == "json_invalid":
            return ApiError(422, f"the body is not valid JSON ({first.get('ctx', {}).get('error', '')})").response()
        if first["loc"] == ("body",):
            return ApiError(422, "the body must be a JSON object, sent as Content-Type: application/json").response()
        if first["type"] == "extra_forbidden":
            return ApiError(422, "there is no such field; see /openapi.json", _field(first["loc"])).response()
        field = _field(first["loc"])
        choices = [e for e in error.errors() if (len(e["loc"]), _field(e["loc"])) == (len(first["loc"]), field)]
        said = dict.fromkeys(_line(one["msg"].removeprefix("Value error, ")) for one in choices)
        return ApiError(422, ", or ".join(said), field).response()

    @app.exception_handler(SamnerError)
    def _(_: Request, error: SamnerError) -> JSONResponse:
        return as_api_error(error).response()

    @app.exception_handler(HTTPException)
    def _(_: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's, of a body whose parser failed
            return ApiError(422, "the body is not usable JSON; it must be UTF-8, and not compressed").response()
        headers = dict(error.headers or {})
        said = str(error.detail)  # by default the status in words
        message = _SAID.get(said) or _line(said)
        return ApiError(error.status_code, message, headers=headers).response()

    @app.exception_handler(Exception)
    def _(_: Request, error: Exception) -> JSONResponse:  # starlette logs the traceback
        return as_api_error(error).response()


def as_api_error(error: Exception) -> ApiError:
    """What is answered where an error came up: of a fault in samner only that there is one."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, SamnerError):
        return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault in samner; the server's log has it")


def _field(location: tuple[int | str, ...]) -> str | None:
    """The place in the body or the query, as it would be written in JavaScript; choices of a union are left out."""
    parts = [part for part in location[1:] if isinstance(part, int) or (part.isidentifier() and part not in _CHOICES)]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".") or None


_SAID = {
    HTTPStatus.NOT_FOUND.phrase: "there is nothing at this path; see /openapi.json",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: "this path takes other methods",
}
_CHOICES = {"str", "int", "Label"}


def _line(message: str) -> str:
    message = " ".join(message.split())
    return message[:1].lower() + message[1:]
