"""The console: sessions, their data, models, backtests and the trader, as web pages.

The pages are whole in themselves: no script, no outside reference. The report of a backtest, which
was made elsewhere, runs its own scripts, shut off from everything else. Whoever mounts the
application passes the dependencies that decide who may see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse

from alpaca_strategy import errors
from alpaca_strategy.console.pages import render
from alpaca_strategy.jobs import backtest_pages, model_pages, trader_pages
from alpaca_strategy.jobs import console as jobs

log = structlog.get_logger(__name__)

#: Ours: styles and nothing else; shown in Airflow's own frame.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
#: A report shows words that came from outside. Airflow's frame is of the same origin as its API,
#: so a page in it could act as its reader; in a sandbox it has no origin and runs no scripts.
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
#: The report of a backtest is interactive. It says itself, by their hashes, which scripts may run;
#: in its sandbox they have no origin, and can neither load nor send anything.
BACKTEST_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
#: Most specific first: status, and what the page says before the error's own sentence.
_FAULTS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.NotASessionError, 404, "Not a session"),
    (errors.CalendarRangeError, 404, "Not in the calendar"),
    (errors.NotPublishedError, 404, "Nothing to show yet"),
    (errors.DamagedFileError, 404, "The report is gone"),
    (errors.ServiceUnavailableError, 503, "The data cannot be reached"),
    (errors.SettingsError, 503, "The settings are not usable"),
    (errors.UserError, 404, "Not found"),
    (errors.AlpacaStrategyError, 500, "This page cannot be shown"),
)

SessionDay = Annotated[date, Path(description="A day of the exchange.")]
_DAY_AND_HASH = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{8}$"
ModelId = Annotated[str, Path(description="A model.", pattern=_DAY_AND_HASH)]
BacktestId = Annotated[str, Path(description="A backtest.", pattern=_DAY_AND_HASH)]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Account = Annotated[str, Path(description="A trading account.", pattern=_NAME)]
Strategy = Annotated[str, Path(description="The first part of order ids.", pattern=_NAME)]
OrderId = Annotated[str, Path(description="A client order id.", pattern=_NAME)]
Minute = Annotated[int, Path(description="Of a session, from 0.", ge=0, le=1_000)]


def create_app(dependencies: Sequence[Any] = ()) -> FastAPI:
    """Return the application.

    Args:
        dependencies: FastAPI dependencies of every page, such as those that check a login.
    """
    app = FastAPI(
        title="Alpaca Strategy",
        dependencies=list(dependencies),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.add_exception_handler(errors.AlpacaStrategyError, _explain)
    app.add_exception_handler(RequestValidationError, _not_found)

    for add in (_add_sessions, _add_models, _add_backtests, _add_traders, _add_trading):
        add(app)
    return app


def _add_sessions(app: FastAPI) -> None:
    @app.get("/", response_class=HTMLResponse)
    def index(request: Request, until: Annotated[date | None, Query()] = None) -> Response:
        """Show a quarter of sessions."""
        return page(request, "index.html", overview=jobs.overview(until))

    @app.get("/sessions/{day}", response_class=HTMLResponse)
    def session(request: Request, day: SessionDay) -> Response:
        """Show one session, symbol by symbol."""
        return page(request, "session.html", page=jobs.session_page(day))

    @app.get("/quality/{day}", response_class=HTMLResponse)
    def quality(day: SessionDay, check: Annotated[int | None, Query(ge=1)] = None) -> Response:
        """Show the report of a check as it was stored."""
        headers = {**_HEADERS, "Content-Security-Policy": REPORT_POLICY}
        return HTMLResponse(jobs.quality_report(day, check), headers=headers)


def _add_models(app: FastAPI) -> None:
    @app.get("/models", response_class=HTMLResponse)
    @app.get("/models/", response_class=HTMLResponse)
    def models(request: Request) -> Response:
        """Show all models, and which one is in service."""
        return page(request, "models.html", page=model_pages.models_page())

    @app.get("/models/{model_id}", response_class=HTMLResponse)
    def model(request: Request, model_id: ModelId) -> Response:
        """Show one model: what was decided, how good it is, what it came from."""
        about = model_pages.model_page(model_id)
        lines = backtest_pages.backtests_of(model_id)
        return page(request, "model.html", page=about, backtests=lines)


def _add_backtests(app: FastAPI) -> None:
    @app.get("/backtests", response_class=HTMLResponse)
    @app.get("/backtests/", response_class=HTMLResponse)
    def backtests(request: Request) -> Response:
        """Show all backtests."""
        return page(request, "backtests.html", page=backtest_pages.backtests_page())

    @app.get("/backtests/{backtest_id}", response_class=HTMLResponse)
    def backtest(request: Request, backtest_id: BacktestId) -> Response:
        """Show one backtest, with its report in a frame."""
        about = backtest_pages.backtest_page(backtest_id)
        return page(request, "backtest.html", framing=True, page=about)

    @app.get("/backtests/{backtest_id}/report", response_class=HTMLResponse)
    def report(backtest_id: BacktestId) -> Response:
        """Show the report of a backtest as it was stored."""
        headers = {**_HEADERS, "Content-Security-Policy": BACKTEST_POLICY}
        return HTMLResponse(backtest_pages.backtest_report(backtest_id), headers=headers)

    @app.get("/backtests/{backtest_id}/trades.csv", response_class=Response)
    def trades(backtest_id: BacktestId) -> Response:
        """Hand out the trades of a backtest as a table."""
        name = f"backtest-{backtest_id}-trades.csv"
        headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        table = backtest_pages.backtest_trades(backtest_id)
        return Response(table, media_type="text/csv; charset=utf-8", headers=headers)


def _add_traders(app: FastAPI) -> None:
    @app.get("/trader", response_class=HTMLResponse)
    @app.get("/trader/", response_class=HTMLResponse)
    def traders(request: Request) -> Response:
        """Show the trader that was heard of last, and all others."""
        return page(request, "traders.html", all=trader_pages.traders_page())

    @app.get("/trader/{account}/{strategy}", response_class=HTMLResponse)
    def trader(request: Request, account: Account, strategy: Strategy) -> Response:
        """Show one trader: how it is, what holds it back, what it holds."""
        return page(request, "trader.html", page=trader_pages.trader_page(account, strategy))

    @app.get("/trader/{account}/{strategy}/history", response_class=HTMLResponse)
    def history(request: Request, account: Account, strategy: Strategy) -> Response:
        """Show what did not agree, who turned the switch, and what else happened."""
        about = trader_pages.history_page(account, strategy)
        return page(request, "trader_history.html", page=about)


def _add_trading(app: FastAPI) -> None:
    root = "/trader/{account}/{strategy}/{day}"

    @app.get(f"{root}/orders", response_class=HTMLResponse)
    def orders(request: Request, account: Account, strategy: Strategy, day: SessionDay) -> Response:
        """Show the orders of a session."""
        about = trader_pages.session_page(account, strategy, day)
        return page(request, "trader_orders.html", page=about)

    @app.get(f"{root}/orders/{{order}}", response_class=HTMLResponse)
    def order(
        request: Request, account: Account, strategy: Strategy, day: SessionDay, order: OrderId
    ) -> Response:
        """Show one order, and what it came from."""
        about = trader_pages.order_page(account, strategy, day, order)
        return page(request, "trader_order.html", page=about)

    @app.get(f"{root}/decisions", response_class=HTMLResponse)
    def decisions(
        request: Request, account: Account, strategy: Strategy, day: SessionDay
    ) -> Response:
        """Show the decisions of a session."""
        about = trader_pages.session_page(account, strategy, day)
        return page(request, "trader_decisions.html", page=about)

    @app.get(f"{root}/decisions/{{minute}}", response_class=HTMLResponse)
    def decision(
        request: Request, account: Account, strategy: Strategy, day: SessionDay, minute: Minute
    ) -> Response:
        """Show one decision, name by name."""
        about = trader_pages.decision_page(account, strategy, day, minute)
        return page(request, "trader_decision.html", page=about)


def page(
    request: Request, template: str, status: int = 200, *, framing: bool = False, **values: Any
) -> HTMLResponse:
    """Return one of our pages; its links stay below where the application is mounted.

    Args:
        request: The request.
        template: Its name.
        status: Of the answer.
        framing: Whether the page shows another of ours in a frame.
        values: What the template is about.
    """
    base = request.scope.get("root_path", "").rstrip("/")
    policy = f"{PAGE_POLICY}; frame-src 'self'" if framing else PAGE_POLICY
    return HTMLResponse(
        render(template, base=base, **values),
        status_code=status,
        headers={**_HEADERS, "Content-Security-Policy": policy},
    )


def _explain(request: Request, error: Exception) -> HTMLResponse:
    status, title = next((s, title) for kind, s, title in _FAULTS if isinstance(error, kind))
    if status >= 500:
        log.error("page_failed", path=request.url.path, reason=str(error))
    return page(request, "error.html", status, title=title, sentence=str(error))


def _not_found(request: Request, error: Exception) -> HTMLResponse:  # noqa: ARG001 - its interface
    sentence = (
        "There is no such page; a session is written as YYYY-MM-DD, a model and a backtest as "
        "YYYY-MM-DD-01234567."
    )
    return page(request, "error.html", 404, title="Not found", sentence=sentence)
