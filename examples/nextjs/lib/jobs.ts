import type { Database } from '@videojobs/database';
import type { Session } from './session';

export type JobStatus = Database['public']['Enums']['video_job_status'];
/** A job, whole: a row of the database, and the JSON of the Python API. */
export type VideoJob = Database['public']['Tables']['video_jobs']['Row'];
/** What the list shows of one. */
export type Job = Awaited<ReturnType<typeof listJobs>>[number];

/** The session's own latest jobs. Row-level security would show their teams' jobs as well. */
export async function listJobs({ supabase, userId }: Session) {
  const { data, error } = await supabase
    .from('video_jobs')
    .select(
      'id, original_filename, source_url, status, progress, attempt, max_attempts, created_at, error_message, output_files, cancel_requested_at',
    )
    .eq('user_id', userId)
    .is('parent_job_id', null) // segments of long films are jobs, too
    .order('created_at', { ascending: false })
    .order('seq', { ascending: false })
    .limit(50);
  if (error) throw error;
  return data;
}

/** What a person may do to a job: functions of the database, which decides whether they may. */
export type Action = 'cancel_video_job' | 'retry_video_job' | 'delete_video_job';

export async function perform({ supabase }: Session, action: Action, jobId: string): Promise<void> {
  const { error } = await supabase.rpc(action, { job_id: jobId });
  if (error) throw error;
}

const ACTIONS: Record<JobStatus, Action[]> = {
  queued: ['cancel_video_job'],
  processing: ['cancel_video_job'],
  completed: ['delete_video_job'],
  failed: ['retry_video_job', 'delete_video_job'],
  cancelled: ['retry_video_job', 'delete_video_job'],
};

export function actionsFor(job: Job): Action[] {
  return job.cancel_requested_at && job.status === 'processing' ? [] : ACTIONS[job.status];
}

export function nameOf(job: Job): string {
  return job.original_filename ?? job.source_url ?? job.id;
}
