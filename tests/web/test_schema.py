"""Every route against its own description: no fault of ours, and no answer that is not told of."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from videojobs import AsyncVideoJobManager, VideoJobManager
from videojobs.settings import WebSettings
from videojobs.web import create_app

ADA = UUID("00000000-0000-4000-8000-000000000ada")
EXAMPLES = 12
"""Of each route. More find more, and take longer; 120 were tried when this was written."""
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
# A stream has no end to wait for; it has tests of its own.
_WITHOUT_END = "/api/v1/user/jobs/live"
_DESCRIBED = create_app(AsyncVideoJobManager.from_env, settings=WebSettings()).openapi()
OPERATIONS = {
    operation.label: operation
    for each in schemathesis.openapi.from_dict(_DESCRIBED).get_all_operations()
    if (operation := each.ok()).path != _WITHOUT_END
}


@pytest.fixture(scope="module")
def job_ids(stack) -> list[str]:
    """Jobs in every status but completed, whose ids some questions use."""
    with VideoJobManager.from_url(stack.database_url) as service:
        jobs = [
            service.create_job(user_id=ADA, resource_type="film", resource_id="f") for _ in range(4)
        ]
        service.cancel_job(jobs[1].id)
        service.start_processing(jobs[2].id)
        service.start_processing(jobs[3].id)
        service.fail_job(jobs[3].id, "broken", retryable=False)
    return [str(job.id) for job in jobs]


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_described(label, stack, urls, job_ids):
    """Asked by an admin, so that the questions reach the database."""
    token = stack.user_token(ADA, app_metadata={"role": "admin"})

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[label].as_strategy(), job_id=st.sampled_from([None, *job_ids]))
    def ask(case: Any, job_id: str | None) -> None:
        if job_id and "job_id" in (case.path_parameters or {}):
            case.path_parameters["job_id"] = job_id
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
        response = case.call(base_url=urls["postgres"], timeout=20)
        case.validate_response(response, checks=CHECKS)

    ask()
