"""Buttons on a task's page that lead to our own pages."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.definitions.xcom_arg import XComArg

from orchestration.backtests import BACKTEST_LINK, PAGES
from orchestration.sessions import session_of


class QualityReportLink(BaseOperatorLink):
    """Leads to the report of a check, whether it passed or not.

    The worker resolves it when the task ends, however it ends, and keeps it as an XCom; the web
    server needs nothing of this module.
    """

    name = "Quality report"
    xcom_key = "quality_report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the address of the report, below Airflow's own."""
        return f"/alpaca/quality/{session_of(ti_key.get_template_context())}"


class ModelLink(BaseOperatorLink):
    """Leads to the page of the model that a task is about."""

    name = "Model"
    xcom_key = "model_page"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the address of the page; of all models where the task came to none."""
        found = ti_key.xcom_pull(task_ids="evaluate") or {}
        return f"/alpaca/models/{found.get('model', '')}"


class BacktestLink(BaseOperatorLink):
    """Leads to the page of the backtest that a task made."""

    name = "Backtest report"
    xcom_key = BACKTEST_LINK

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the address of all backtests: `lead_to_backtest` says which one."""
        return PAGES


def with_backtest_page(output: XComArg) -> XComArg:
    """Give the task behind that output the button, and return the output."""
    output.operator.operator_extra_links = (BacktestLink(),)
    return output


def with_model_page(output: XComArg) -> XComArg:
    """Give the task behind that output the button, and return the output."""
    output.operator.operator_extra_links = (ModelLink(),)
    return output


def with_quality_report(output: XComArg) -> XComArg:
    """Give the task behind that output the button, and return the output."""
    output.operator.operator_extra_links = (QualityReportLink(),)
    return output
