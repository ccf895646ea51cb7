"""What a source may be called: every reader has to take the path for the same one."""

from __future__ import annotations

import pytest

from videojobs.errors import ProcessingError
from videojobs.storage.paths import lies_below, object_path

ROOT = "s3://videos/app"
TENANT = "aaaaaaaa-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("source_url", "path"),
    [
        ("in.mp4", "in.mp4"),
        ("s3://videos/app/uploads/in.mp4", "uploads/in.mp4"),
        ("a b/100%.mp4", "a b/100%.mp4"),
        ("..hidden/in..mp4", "..hidden/in..mp4"),
        ("a%2Fb.mp4", "a%2Fb.mp4"),
    ],
)
def test_a_source_is_a_path_or_a_url_of_the_storage(source_url: str, path: str):
    """A URL is shortened; nothing is unescaped, for keys may hold percent signs."""
    assert object_path(source_url, ROOT) == path


@pytest.mark.parametrize(
    "source_url",
    [
        "",
        "/in.mp4",
        "//in.mp4",
        "a//in.mp4",
        "folder/",
        ".",
        "./in.mp4",
        "../in.mp4",
        "a/../../in.mp4",
        "a/%2e%2e/%2E%2e/in.mp4",
        "%2e%2e%2fother/in.mp4",
        "%252e%252e/in.mp4",
        "a\\..\\in.mp4",
        "a%5c..%5cin.mp4",
        "a\nb.mp4",
        "a%00.mp4",
        "s3://videos/application/in.mp4",
        "s3://videos/app/../in.mp4",
        "s3://videos/app",
        "S3://videos/app/in.mp4",
        "simplecache::s3://other/in.mp4",
        "https://host/s3://videos/app/in.mp4",
    ],
)
def test_what_could_lead_elsewhere_is_refused(source_url: str):
    """Dots, plain and in any number of escapes; other roots that begin the same; chained URLs."""
    with pytest.raises(ProcessingError) as refused:
        object_path(source_url, ROOT)

    assert (refused.value.code, refused.value.retryable) == ("source_refused", False)


@pytest.mark.parametrize(
    ("source_url", "is_own"),
    [
        (f"{TENANT}/in.mp4", True),
        (f"{TENANT}/a/b.mp4", True),
        (f"{TENANT}", False),
        (f"{TENANT}x/in.mp4", False),
        (f"{TENANT}/../other/in.mp4", False),
        (f"{TENANT}/%2e%2e/other/in.mp4", False),
        (f"s3://videos/app/{TENANT}/in.mp4", False),
        (f"/{TENANT}/in.mp4", False),
        (f"uploads/{TENANT}/in.mp4", False),
    ],
)
def test_a_tenants_own_source_lies_below_its_id(source_url: str, is_own: bool):
    """As a plain path that begins with it."""
    assert lies_below(source_url, TENANT) is is_own
