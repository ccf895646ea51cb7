import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type Action, actionsFor, type Job, nameOf, perform } from '@/lib/jobs';
import type { Session } from '@/lib/session';
import { Problem } from './problem';

const LABELS: Record<Action, string> = {
  cancel_video_job: 'Cancel',
  retry_video_job: 'Retry',
  delete_video_job: 'Delete',
};

export function JobCard({ job, session }: { job: Job; session: Session }) {
  const queries = useQueryClient();
  const { mutate, error, isPending } = useMutation({
    mutationFn: (action: Action) => perform(session, action, job.id),
    onSettled: () => queries.invalidateQueries({ queryKey: ['jobs'] }),
  });
  const name = nameOf(job);

  function act(action: Action) {
    if (action !== 'delete_video_job' || confirm(`Delete ${name}, and its history?`)) mutate(action);
  }

  return (
    <article aria-label={name}>
      <div className="bar">
        <strong>{name}</strong>
        <span className={`status ${job.status}`}>
          {job.cancel_requested_at && job.status === 'processing' ? 'cancelling' : job.status}
        </span>
        <div className="actions">
          {actionsFor(job).map((action) => (
            <button
              key={action}
              className="secondary outline"
              aria-label={`${LABELS[action]} ${name}`}
              disabled={isPending}
              onClick={() => act(action)}
            >
              {LABELS[action]}
            </button>
          ))}
        </div>
      </div>
      {job.status === 'processing' && (
        <progress value={job.progress} max={100} aria-label={`Progress of ${name}`} />
      )}
      <small className="quiet">{describe(job)}</small>
      <Problem>{job.status === 'failed' && job.error_message}</Problem>
      <Problem>{error?.message}</Problem>
    </article>
  );
}

function describe(job: Job): string {
  const created = `created ${new Date(job.created_at).toLocaleString()}`;
  if (job.status === 'processing') {
    return `${job.progress} %, attempt ${job.attempt} of ${job.max_attempts}`;
  }
  if (job.status === 'completed' && Array.isArray(job.output_files)) {
    return `${job.output_files.length} files, ${created}`;
  }
  return created;
}
