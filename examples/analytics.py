"""What a notebook asks of the jobs: counts, times, throughput, and what fails most.

Run it:  pip install 'videojobs[postgres]'
         SUPABASE_DB_URL=... python analytics.py
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from videojobs import JobFilter, JobStatus, VideoJobManager


def main() -> None:
    """Print the figures of the last 30 days."""
    month = JobFilter(created_from=datetime.now(UTC) - timedelta(days=30))
    with VideoJobManager.from_env() as manager:
        stats = manager.get_job_stats(month, group_by="platform_target")
        failed = month.model_copy(update={"status": (JobStatus.FAILED,)})
        reasons = Counter(job.error_code for job in manager.iter_jobs(failed))

    print(f"{stats.total} jobs:", {str(k): n for k, n in stats.by_status.items() if n})
    if stats.success_rate is not None:
        print(f"success rate {stats.success_rate:.0%}")
    if stats.median_processing_seconds is not None:
        print(f"median {stats.median_processing_seconds:.1f} s,", end=" ")
        print(f"95th percentile {stats.p95_processing_seconds:.1f} s")
    for day in stats.by_day:
        print(
            f"{day.day}  created {day.created:4}  completed {day.completed:4}  failed {day.failed:4}"
        )
    for group in stats.groups:
        print(f"{group.key or 'no platform':16} {group.total:5} jobs")
    for code, count in reasons.most_common(5):
        print(f"failed with {code}: {count}")


if __name__ == "__main__":
    main()
