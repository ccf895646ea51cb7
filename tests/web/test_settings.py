"""What the environment tells the API."""

from __future__ import annotations

import pytest

from videojobs import ConfigurationError, Settings


def test_the_environment_sets_the_limits():
    """Each by its name; secrets stay out of the repr."""
    settings = Settings.from_env(
        {
            "VIDEOJOBS_JWT_ISSUER": "https://issuer.example",
            "VIDEOJOBS_WEB_SOURCE_POLICY": "any",
            "VIDEOJOBS_WEB_MAX_UPLOAD_BYTES": "10",
            "VIDEOJOBS_WEB_MAX_BODY_BYTES": "11",
            "VIDEOJOBS_WEB_IDLE_SECONDS": "1.5",
            "VIDEOJOBS_WEB_REQUESTS_PER_MINUTE": "0",
            "VIDEOJOBS_WEB_CORS_ORIGINS": "https://a.example, https://b.example",
            "VIDEOJOBS_WEB_ALLOWED_HOSTS": "a.example",
            "VIDEOJOBS_WEB_METRICS_TOKEN": "scraper's",
            "VIDEOJOBS_WEB_LINK_SECONDS": "60",
            "VIDEOJOBS_WEB_DEADLINE_SECONDS": "2.5",
        }
    )

    web = settings.web
    assert (settings.jwt_issuer, web.source_policy) == ("https://issuer.example", "any")
    assert (web.max_upload_bytes, web.max_body_bytes, web.idle_seconds) == (10, 11, 1.5)
    assert (web.requests_per_minute, web.link_seconds, web.deadline_seconds) == (0, 60, 2.5)
    assert web.cors_origins == ("https://a.example", "https://b.example")
    assert (web.allowed_hosts, web.metrics_token) == (("a.example",), "scraper's")
    assert "scraper's" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VIDEOJOBS_WEB_SOURCE_POLICY", "mine"),
        ("VIDEOJOBS_WEB_MAX_UPLOAD_BYTES", "0"),
        ("VIDEOJOBS_WEB_MAX_BODY_BYTES", "1e6"),
        ("VIDEOJOBS_WEB_IDLE_SECONDS", "0"),
        ("VIDEOJOBS_WEB_REQUESTS_PER_MINUTE", "-1"),
        ("VIDEOJOBS_WEB_LINK_SECONDS", "soon"),
        ("VIDEOJOBS_WEB_DEADLINE_SECONDS", "0"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str):
    """With its variable."""
    with pytest.raises(ConfigurationError, match=f"{name}='{value}'"):
        Settings.from_env({name: value})
