import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { type Job, listJobs, nameOf } from '@/lib/jobs';
import { listen } from '@/lib/live';
import type { Session } from '@/lib/session';
import { JobCard } from './job-card';
import { Problem } from './problem';

/** The session's jobs, as they are: read once, moved by each change that is heard of. */
export function JobList({ session, local }: { session: Session; local: boolean }) {
  const queries = useQueryClient();
  const [news, setNews] = useState('');
  const { data: jobs, error } = useQuery({ queryKey: ['jobs'], queryFn: () => listJobs(session) });

  useEffect(() => {
    const readAgain = () => void queries.invalidateQueries({ queryKey: ['jobs'] });
    return listen(session, local, {
      missed: readAgain,
      changed({ id, status, progress }) {
        const known = queries.getQueryData<Job[]>(['jobs'])?.find((job) => job.id === id);
        queries.setQueryData<Job[]>(['jobs'], (jobs) =>
          jobs?.map((job) => (job.id === id ? { ...job, status, progress } : job)),
        );
        if (known?.status === status) return; // only the bar moved
        if (known) setNews(`${nameOf(known)} is ${status}`);
        readAgain();
      },
    });
  }, [session, local, queries]);

  return (
    <section aria-label="Your jobs">
      <p className="for-screen-readers" role="status">
        {news}
      </p>
      <Problem>{error?.message}</Problem>
      {!jobs && !error && <p aria-busy="true">Reading your jobs…</p>}
      {jobs?.length === 0 && <p className="quiet">No jobs yet. Upload a video above.</p>}
      {jobs?.map((job) => <JobCard key={job.id} job={job} session={session} />)}
    </section>
  );
}
