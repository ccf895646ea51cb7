"""Outputs that lie elsewhere than in a folder."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from browsing import Person
from videojobs import AsyncVideoJobManager, VideoJobManager
from videojobs.dashboard.files import Files
from videojobs.local import LocalStack
from videojobs.storage.fsspec import FsspecStorage
from videojobs.storage.local import LocalStorage


async def test_a_store_without_addresses_says_so(
    stack: LocalStack, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """Nothing is passed through the dashboard by stealth: 501, with the reason."""
    job_id = create(ada)
    manager.complete_job(manager.start_processing(job_id), ["a/clip.mp4"])
    files = Files(lambda: FsspecStorage("memory://bucket"))

    async with AsyncVideoJobManager.from_url(stack.database_url) as everybody:
        answer = await files.answer(everybody, str(job_id), 0, download=False)

    assert answer.status_code == 501


async def test_a_path_that_leaves_the_folder_is_not_found(
    stack: LocalStack, create: Callable[..., UUID], ada: Person, manager: VideoJobManager, tmp_path
):
    """A pipeline of one's own may call its outputs anything; only files of the storage are served."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    job_id = create(ada)
    names = ["../secret", str(tmp_path / "secret"), "link", "none"]
    manager.complete_job(manager.start_processing(job_id), names)
    files = Files(lambda: LocalStorage(root))

    async with AsyncVideoJobManager.from_url(stack.database_url) as everybody:
        answers = [
            await files.answer(everybody, str(job_id), number, download=False)
            for number in range(len(names))
        ]

    assert [answer.status_code for answer in answers] == [404] * 4
